package emitter

import (
	"slices"

	"github.com/bentihooks/bentihooks/store"
)

// Span is an attempt that begins, as a trace tells of it.
type Span struct {
	// ID is what the attempt is sent under as X-Hook-Delivery, Attempt its number.
	ID      string
	Attempt int
	// Size is how many deliveries share the attempt.
	Size int
	// Webhook is the webhook's id, Host the receiver's host and port.
	Webhook string
	Host    string
	// TraceContexts are the W3C trace contexts of the requests that made the events, each once. Unknown ones are left out.
	TraceContexts []string
}

// Tracer begins the span of an attempt. It returns the W3C trace context to send to the receiver, or "" to send that
// of the request as it is, and what ends the span. It is called from many goroutines at once and must not block.
type Tracer func(Span) (traceContext string, end func(*Result))

// startSpan begins the span of an attempt. What ends it is never nil.
func (c *Client) startSpan(w *store.Webhook, m *message) func(*Result) {
	if c.cfg.Trace == nil {
		return func(*Result) {}
	}
	traceContext, end := c.cfg.Trace(Span{
		ID: m.id, Attempt: m.attempt, Size: m.size, Webhook: w.ID, Host: w.Host(), TraceContexts: m.traceContexts,
	})
	if traceContext != "" {
		m.traceContext = traceContext
	}
	return end
}

// traceContexts returns the trace contexts of deliveries, and the one that all of them have, if they have.
func traceContexts(ds []store.Delivery) (all []string, common string) {
	common = ds[0].TraceContext
	for i := range ds {
		text := ds[i].TraceContext
		if text != common {
			common = "" // there can be only one, and it would be wrong for the others
		}
		if text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all, common
}
