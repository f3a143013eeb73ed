package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/journal"
	"github.com/bentihooks/bentihooks/matcher"
)

// observedKey is, in the context of a request, for whether it is being observed, an *atomic.Bool. The context stays with
// the request when it no longer is, and it may come by again then: on its way through handle_errors.
type observedKey struct{}

// observation is one request on its way through.
type observation struct {
	handler  *Handler
	core     *core
	project  string
	wanted   []string // the item, or the instance events, that webhooks of the project want
	next     caddyhttp.Handler
	exchange matcher.Exchange
	request  *http.Request
	original *http.Request // as it came: what comes behind us may change the other. Of source instance only
	tee      *bodyTee
	answered bool // the exchange's bodies are there
	token    journal.Token
	kept     bool // an event came of it, with which the note of the request ends
	later    bool // the core is still needed after the request
	// derived, if not nil, gets what was derived instead of the core.
	derived func([]event, []error)
	looked  func(matcher.Look) // see [matcher.Exchange]
}

// run forwards the request and keeps the event that comes of it.
func (o *observation) run(w http.ResponseWriter, r *http.Request, match matcher.Match) error {
	// In place: the placeholders of the request look at this one, and what handlers behind us do to it shows in them.
	ctx, rejoin := detach(r.Context(), afterClient)
	defer rejoin()
	under := new(atomic.Bool)
	under.Store(true)
	defer under.Store(false)
	*r = *r.WithContext(context.WithValue(ctx, observedKey{}, under))
	o.begin(r, match)
	if rules := o.handler.rules; rules != nil && rules.NeedsBefore(&match, o.wanted) {
		o.exchange.Ticket = o.readTicket()
	}
	writer := &capture{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		limit:                 o.handler.BodyLimit,
		hold:                  o.handler.Durability == "sync",
	}
	writer.seen = func() { o.end(writer) }
	// The proxy panics with http.ErrAbortHandler when the API breaks off in the middle of its answer. The
	// change was made all the same, and the client gets as much as it would without us.
	whole := false
	defer func() { writer.finish(!whole) }()
	err := o.next.ServeHTTP(writer, r)
	whole = true
	return err
}

func (o *observation) begin(r *http.Request, match matcher.Match) {
	o.request = r
	if o.handler.rules != nil {
		o.original = r.Clone(r.Context())
	}
	o.token = o.core.inFlight.begin(journal.Entry{
		Time: time.Now(), Method: r.Method, Path: r.URL.Path, Project: o.project, Item: strings.Join(o.wanted, ","),
	})
	o.exchange = matcher.Exchange{
		Match:         match,
		Authorization: r.Header.Get("Authorization"),
		Limit:         int(o.handler.BodyLimit),
		Looked:        o.looked,
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(o.placeholder)
		o.exchange.External = externalLookup(repl)
	}
	if r.Body != nil && r.Body != http.NoBody {
		o.tee = &bodyTee{ReadCloser: r.Body, limit: o.handler.BodyLimit}
		r.Body = o.tee
	}
}

// end derives the event and keeps it. It is called once, when what will be seen of a success was seen.
func (o *observation) end(c *capture) {
	now := time.Now()
	x := &o.exchange
	x.Time = now
	x.Status = c.status
	x.Header = c.Header()
	x.Response = matcher.Body{
		Type: x.Header.Get("Content-Type"), Encoding: strings.Join(x.Header.Values("Content-Encoding"), ","), Bytes: c.body, Cut: c.cut,
	}
	if o.tee != nil {
		header := o.request.Header
		body, cut := o.tee.seen(o.request.ContentLength)
		x.Request = matcher.Body{
			Type: header.Get("Content-Type"), Encoding: strings.Join(header.Values("Content-Encoding"), ","), Bytes: body, Cut: cut,
		}
	}
	o.answered = true
	events, errs := o.derive()
	if o.derived != nil {
		o.derived(events, errs)
		return
	}
	for _, err := range errs {
		o.underivable(err)
	}
	if len(events) == 0 {
		return
	}
	var unkept *atomic.Int32
	if len(events) > 1 {
		unkept = new(atomic.Int32)
		unkept.Store(int32(len(events))) //nolint:gosec // a handful
	}
	for i := range events {
		ev := &events[i]
		ev.Project, ev.TraceContext, ev.At = o.project, o.core.tracing.observe(o.request), now
		ev.token, ev.unkept = o.token, unkept
		ev.ID = uuid.Must(uuid.NewV7()) // the system's randomness does not fail: crypto/rand would have ended the process
	}
	o.core.derived(events)
	o.kept = true
	if c.hold || !o.core.keepLater(events) {
		o.core.keep(events)
		return
	}
	o.later = true
}

// derive makes the events of the exchange. It runs within the API's answer to the client, who must not pay for a bug of ours.
func (o *observation) derive() (events []event, errs []error) {
	defer func() {
		if p := recover(); p != nil {
			events, errs = nil, []error{&derivationPanic{value: p, stack: debug.Stack()}}
		}
	}()
	if o.handler.rules != nil {
		return o.deriveInstance()
	}
	derived, err := o.exchange.Derive(o.handler.actor)
	if err != nil {
		return nil, []error{err}
	}
	return []event{{Item: derived.Item, Action: derived.Action, Payload: derived.AppendJSON(nil)}}, nil
}

// leave ends the note of a request of which no event came, and gives back the core unless an event is still
// on its way into it.
func (o *observation) leave() {
	if !o.kept {
		o.core.inFlight.end(o.token)
	}
	if !o.later {
		o.core.releaseLogged()
	}
}

// derivationPanic is a bug of ours.
type derivationPanic struct {
	value any
	stack []byte
}

// Error leaves out what the panic says, which may quote the exchange.
func (p *derivationPanic) Error() string { return fmt.Sprintf("panic of type %T", p.value) }

func (o *observation) underivable(err error) {
	if errors.Is(err, matcher.ErrNoChange) {
		return
	}
	if p, ok := errors.AsType[*derivationPanic](err); ok {
		for _, item := range o.wanted {
			o.core.metrics.underivable.WithLabelValues(item, "bug").Inc()
		}
		o.handler.logger.Error("no event could be derived from a successful call, for a bug of this plugin; please report it",
			zap.Error(err), zap.ByteString("stack", p.stack), zap.String("method", o.request.Method), zap.String("project", o.project))
		return
	}
	underivable, ok := errors.AsType[*matcher.Underivable](err)
	if !ok {
		o.handler.logger.Error("deriving an event", zap.Error(err), zap.String("method", o.request.Method), zap.String("project", o.project))
		return
	}
	o.core.metrics.underivable.WithLabelValues(underivable.Item, underivable.Reason).Inc()
	id, _ := o.exchange.External("{http.request.uuid}")
	o.handler.logger.Warn("no event could be derived from a successful call",
		zap.String("item", underivable.Item), zap.String("reason", underivable.Reason), zap.String("request_id", id),
		zap.String("method", o.request.Method), zap.String("project", o.project))
}
