package caddymodule

import (
	"errors"
	"net/http"
	"strings"

	"github.com/bentihooks/bentihooks/store"
)

// adminCall is one call of the admin endpoint.
type adminCall struct {
	w     http.ResponseWriter
	r     *http.Request
	cores []*core // all that run
}

// route finds the action for the segments below /benti/.
func (c *adminCall) route(segments []string) error {
	what := segments[0]
	switch len(segments) {
	case 1:
		switch what {
		case "status":
			return c.only(http.MethodGet, c.status)
		case "webhooks":
			return c.only(http.MethodGet, c.webhooks)
		case "deliveries":
			return c.only(http.MethodGet, c.deliveries)
		case "in-doubt":
			return c.only(http.MethodGet, c.inDoubt)
		}
	case 2:
		id := segments[1]
		switch {
		case what == "webhooks":
			return c.only(http.MethodGet, func() error { return c.webhook(id) })
		case what == "deliveries" && id == "replay":
			return c.only(http.MethodPost, c.replayMany)
		case what == "deliveries":
			return c.only(http.MethodGet, func() error { return c.delivery(id) })
		}
	case 3:
		id := segments[1]
		switch what + " " + segments[2] {
		case "webhooks enable":
			return c.only(http.MethodPost, func() error { return c.enable(id, true) })
		case "webhooks disable":
			return c.only(http.MethodPost, func() error { return c.enable(id, false) })
		case "webhooks ping":
			return c.only(http.MethodPost, func() error { return c.ping(id) })
		case "deliveries replay":
			return c.only(http.MethodPost, func() error { return c.replay(id) })
		case "in-doubt acknowledge":
			return c.only(http.MethodPost, func() error { return c.acknowledge(id) })
		}
	}
	return problem{Code: http.StatusNotFound, Message: "no such resource"}
}

// only serves one method.
func (c *adminCall) only(method string, serve func() error) error {
	if c.r.Method == method {
		return serve()
	}
	c.w.Header().Set("Allow", method)
	return problem{Code: http.StatusMethodNotAllowed, Message: "allowed here: " + method}
}

// fail answers with an error.
func (c *adminCall) fail(err error) error {
	if p, ok := errors.AsType[problem](err); ok {
		return writeError(c.w, p)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return writeError(c.w, problem{Code: http.StatusNotFound, Message: "no such webhook or delivery"})
	case errors.Is(err, store.ErrCursor):
		return writeError(c.w, problem{Code: http.StatusBadRequest, Field: "cursor", Message: "cursor must be the next of an earlier answer"})
	case errors.Is(err, store.ErrClosed):
		c.w.Header().Set("Retry-After", "5")
		return writeError(c.w, problem{Code: http.StatusServiceUnavailable, Message: "the store is not open; GET /benti/status says why"})
	}
	for _, core := range c.cores[:min(1, len(c.cores))] {
		core.logger().Sugar().Errorf("serving the admin endpoint: %v", err)
	}
	c.w.Header().Set("Retry-After", "5")
	return writeError(c.w, problem{Code: http.StatusServiceUnavailable, Message: "the store does not answer at the moment; the log says why"})
}

// one returns the core that a call is about: the only one there is, or the one named by the parameter store.
func (c *adminCall) one(name string) (*core, error) {
	var names []string
	for _, core := range c.cores {
		if core.identity == name || name == "" && len(c.cores) == 1 {
			return core, nil
		}
		names = append(names, core.identity)
	}
	if len(names) == 0 {
		return nil, store.ErrClosed
	}
	return nil, problem{Code: http.StatusBadRequest, Field: "store", Message: "store must be one of " + strings.Join(names, ", ")}
}

// each calls do for one core after the other until one finds what it is about. A store that is not open may have it.
func (c *adminCall) each(do func(*core) error) error {
	result := store.ErrNotFound
	if len(c.cores) == 0 {
		result = store.ErrClosed
	}
	for _, core := range c.cores {
		err := do(core)
		if errors.Is(err, store.ErrClosed) {
			result = err
			continue
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return result
}
