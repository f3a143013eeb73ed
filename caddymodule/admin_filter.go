package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
)

// listingStates are the states of a listing; replayStates those that a replay of many can be for.
var (
	listingStates = []store.State{store.Pending, store.Delivering, store.Delivered, store.Dead}
	replayStates  = []store.State{store.Dead, store.Delivered, store.Pending, anyFinal}
)

// deliveryFilters are the parameters that choose deliveries.
var deliveryFilters = []string{"state", "project", "webhook", "item", "since", "until", "store", "cursor"}

func badFilter(name, format string, args ...any) error {
	return problem{Code: http.StatusBadRequest, Field: name, Message: name + " " + fmt.Sprintf(format, args...)}
}

// parameters are those of a query, or of a JSON object with the same names. Each may be given once.
type parameters map[string]string

func queryParameters(query url.Values, allowed ...string) (parameters, error) {
	p := make(parameters)
	for name, values := range query {
		if !slices.Contains(allowed, name) {
			return nil, badFilter(name, "is no parameter; allowed are %s", strings.Join(allowed, ", "))
		}
		if len(values) > 1 {
			return nil, badFilter(name, "is given twice")
		}
		p[name] = values[0]
	}
	return p, nil
}

func (c *adminCall) bodyParameters(allowed ...string) (parameters, error) {
	body, err := io.ReadAll(c.r.Body)
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		return nil, problem{Code: http.StatusRequestEntityTooLarge, Message: "the body is longer than 64 KiB"}
	}
	if err != nil {
		return nil, problem{Code: http.StatusBadRequest, Message: "the body could not be read"}
	}
	var p parameters
	if err := json.Unmarshal(body, &p); err != nil || p == nil {
		return nil, problem{Code: http.StatusBadRequest, Message: "the body must be a JSON object whose values are strings, such as {\"state\":\"dead\"}"}
	}
	for name := range p {
		if !slices.Contains(allowed, name) {
			return nil, badFilter(name, "is no parameter; allowed are %s", strings.Join(allowed, ", "))
		}
	}
	return p, nil
}

func (p parameters) filter(states []store.State) (store.Filter, error) {
	f := store.Filter{State: store.State(p["state"]), Project: p["project"], Webhook: p["webhook"], Item: p["item"]}
	if f.State != "" && !slices.Contains(states, f.State) {
		return f, badFilter("state", "must be one of %s", joinStates(states))
	}
	if f.Webhook != "" && uuid.Validate(f.Webhook) != nil {
		return f, badFilter("webhook", "must be the uuid of a webhook")
	}
	var err error
	if f.Since, err = p.moment("since"); err != nil {
		return f, err
	}
	if f.Until, err = p.moment("until"); err != nil {
		return f, err
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return f, badFilter("until", "must be after since")
	}
	return f, nil
}

func joinStates[S ~string](states []S) string {
	var names []string
	for _, s := range states {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// moment reads a time, or how long ago it was.
func (p parameters) moment(name string) (time.Time, error) {
	text := p[name]
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return time.Now().Add(-ago), nil
	}
	return time.Time{}, badFilter(name, "must be a time such as 2026-03-01T12:00:00Z, or how long ago, such as 90m")
}

func (p parameters) limit() (int, error) {
	text, given := p["limit"]
	if !given {
		return defaultPage, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxPage {
		return 0, badFilter("limit", "must be a whole number from 1 to %d", maxPage)
	}
	return limit, nil
}
