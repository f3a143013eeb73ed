package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bentihooks/bentihooks/matcher"
)

// exchange is a call and its answer, as "caddy benti explain" is given them.
type exchange struct {
	method string
	url    string // absolute
	header http.Header
	body   []byte
	status int
	answer http.Header
	result []byte // the answer's body
	ticket []byte // what the API shows of the ticket when it is read, or nil
	// values are those of placeholders that a running server would know, such as http.auth.user.id.
	values map[string]string
}

// explanation says what becomes of an exchange, and why.
type explanation struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Host   string `json:"host,omitempty"` // of the config, tried as none was given
	Status int    `json:"status"`
	// Outcome is one of the outcome constants.
	Outcome string `json:"outcome"`
	// Reason says in words why there is no event.
	Reason  string          `json:"reason,omitempty"`
	Source  string          `json:"source,omitempty"`
	Project string          `json:"project,omitempty"`
	Row     *explainedRow   `json:"row,omitempty"`
	Looks   []explainedLook `json:"looks,omitempty"`
	Events  []explainedItem `json:"events,omitempty"`
	// Webhooks are those that would get it, if a server was asked.
	Webhooks []listedWebhook `json:"webhooks,omitempty"`
	asked    bool            // a server was
}

const (
	outcomeEvent       = "event"
	outcomeUnreached   = "unreached"
	outcomeAPI         = "webhooks_api"
	outcomeNoRow       = "no_row"
	outcomeAmbiguous   = "ambiguous"
	outcomeNoChange    = "no_change"
	outcomeUnchanged   = "condition"
	outcomeUnderivable = "underivable"
)

type explainedRow struct {
	Method string   `json:"method"`
	Path   string   `json:"path"`
	Item   string   `json:"item"`
	Action string   `json:"action"`
	Events []string `json:"events,omitempty"` // instance events that it may make
}

// explainedLook is a place that was looked at; the one that has something found is the one that counts.
type explainedLook struct {
	For    string `json:"for"`
	In     string `json:"in,omitempty"`
	Source string `json:"source"`
	Found  string `json:"found,omitempty"`
}

// explainedItem is an event.
type explainedItem struct {
	Name    string          `json:"name"` // what webhooks subscribe to: an item, or an instance event
	Action  string          `json:"action"`
	Payload json.RawMessage `json:"payload"`
}

// explain runs an exchange through the same code as a request that is wanted: the handler's table, its writer
// and the derivation. Only the ends are others: what stands for the API gives the answer of the exchange, and
// events are told instead of stored.
func (h *Handler) explain(x *exchange, r *http.Request) *explanation {
	e := &explanation{Method: x.method, URL: x.url, Status: x.status, Source: h.Source, Project: h.project(r)}
	path, encoded := matcher.WirePath(r.URL)
	match, ok := h.table.Match(r.Method, path, encoded)
	if !ok {
		e.Outcome, e.Reason = outcomeNoRow, "no row of the table matches; the call is forwarded untouched"
		if base, rest, ok := h.table.Base(path, encoded); ok && !h.DisableWebhooksAPI {
			if _, ok := belowWebhooks(rest, encoded); ok {
				e.Outcome, e.Reason = outcomeAPI, fmt.Sprintf("the subscription API at %s/webhooks answers it", base)
			}
		}
		return e
	}
	wanted := []string{match.Row.Item}
	e.Row = &explainedRow{match.Row.Method, match.Row.Path, match.Row.Item, match.Row.Action, nil}
	if h.rules != nil {
		wanted = h.rules.Events(&match)
		e.Row.Events = wanted
	}
	if name := repeatedIdentity(r.Header); name != "" {
		e.Outcome, e.Reason = outcomeAmbiguous, "the header "+name+" is given twice, so it is not clear who makes the call"
		return e
	}
	o := &observation{
		handler: h, core: &core{metrics: newMetrics()}, project: e.Project, wanted: wanted, next: x.upstream(),
		derived: e.derived, looked: e.looked,
	}
	if err := o.run(newRecorder(0), r, match); err != nil {
		e.Outcome, e.Reason = outcomeNoChange, err.Error()
	}
	if e.Outcome == "" { // nothing was looked at
		e.Outcome, e.Reason = outcomeNoChange, fmt.Sprintf("status %d is not 2xx", x.status)
	}
	return e
}

// upstream stands for the API.
func (x *exchange) upstream() caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet { // the ticket is read; calls that change something are no GETs
			w.Header().Set("Content-Type", "application/json")
			if x.ticket == nil {
				w.WriteHeader(http.StatusNotFound)
			}
			_, err := w.Write(x.ticket)
			return err
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return err
		}
		for name, values := range x.answer {
			w.Header()[name] = values
		}
		w.WriteHeader(x.status)
		_, err := io.Copy(w, bytes.NewReader(x.result))
		return err
	})
}

// looked keeps looks for one thing in one place together: between those for a list come those for the parts of what is in it.
func (e *explanation) looked(l matcher.Look) {
	look := explainedLook{l.For, l.In, l.Source.String(), l.Found}
	at := len(e.Looks)
	for i, former := range e.Looks {
		if former == look {
			return // instance events read some fields more than once
		}
		if former.For == look.For && former.In == look.In {
			at = i + 1
		}
	}
	e.Looks = slices.Insert(e.Looks, at, look)
}

func (e *explanation) derived(events []event, errs []error) {
	for i := range events {
		e.Events = append(e.Events, explainedItem{events[i].Item, events[i].Action, events[i].Payload})
	}
	e.Outcome = outcomeEvent
	if len(events) > 0 {
		return
	}
	e.Outcome, e.Reason = outcomeUnchanged, "the conditions of its events do not hold"
	for _, err := range errs {
		if underivable, ok := errors.AsType[*matcher.Underivable](err); ok {
			e.Outcome, e.Reason = outcomeUnderivable, underivableText(underivable)
			return
		}
		e.Outcome, e.Reason = outcomeNoChange, "the answer is an error object"
	}
}

func underivableText(u *matcher.Underivable) string {
	why := map[string]string{
		matcher.ReasonNoID:        "no id was found at any of the places",
		matcher.ReasonUndecodable: "the content encoding is unknown or broken",
		matcher.ReasonInvalid:     "a body is not what its type says",
		matcher.ReasonTooLong:     "what is needed stands behind body_limit",
	}[u.Reason]
	return fmt.Sprintf("%s: %s (%s)", u.Item, why, u.Reason)
}
