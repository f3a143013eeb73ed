package caddymodule

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	caddytracing "github.com/caddyserver/caddy/v2/modules/caddyhttp/tracing"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/bentihooks/bentihooks/emitter"
)

// tracing makes the spans of attempts with the tracer provider of Caddy's directive tracing. That provider is
// private to the directive, and shut down with the last configuration that has it. So it is taken from the spans of
// requests, the latest of which has the one that is alive, and never kept alive by us: one that is shut down
// makes spans that record nothing. The first is a request of ours, see [tracing.find].
type tracing struct {
	provider atomic.Pointer[trace.TracerProvider]
}

// observe remembers the provider of a request that is traced, and returns the request's trace context in the form of
// [store.Delivery], or "" if it has none.
func (t *tracing) observe(r *http.Request) string {
	span := trace.SpanFromContext(r.Context())
	if !span.SpanContext().IsValid() {
		return traceContext(r.Header)
	}
	provider := span.TracerProvider()
	if former := t.provider.Load(); former == nil || *former != provider {
		t.provider.Store(&provider)
	}
	return formatTraceContext(trace.ContextWithSpan(context.Background(), span))
}

// start begins the span of an attempt: a child of the request's, or one with links to the requests of all
// events that share the attempt. It serves [emitter.Config.Trace].
func (t *tracing) start(s emitter.Span) (string, func(*emitter.Result)) {
	provider := t.provider.Load()
	if provider == nil {
		return "", func(*emitter.Result) {}
	}
	host, port, err := net.SplitHostPort(s.Host)
	if err != nil {
		host, port = s.Host, "443"
	}
	portNumber, _ := strconv.Atoi(port) // of a URL that was accepted
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(
			attribute.String("http.request.method", http.MethodPost),
			attribute.String("server.address", host),
			attribute.Int("server.port", portNumber),
			attribute.String("benti.webhook", s.Webhook),
			attribute.String("benti.delivery", s.ID),
			attribute.Int("benti.attempt", s.Attempt),
			attribute.Int("benti.events", s.Size),
		),
	}
	ctx := context.Background()
	for _, text := range s.TraceContexts {
		parent := parseTraceContext(text)
		if len(s.TraceContexts) == 1 {
			ctx = parent
			break
		}
		options = append(options, trace.WithLinks(trace.LinkFromContext(parent)))
	}
	ctx, span := (*provider).Tracer(modulePath, trace.WithInstrumentationVersion(Version())).Start(ctx, "benti attempt", options...)
	return formatTraceContext(ctx), func(r *emitter.Result) { endSpan(span, r) }
}

func endSpan(span trace.Span, r *emitter.Result) {
	span.SetAttributes(attribute.String("benti.result", r.Class))
	if r.Attempt.Status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", r.Attempt.Status))
	}
	if r.Class != emitter.ClassDelivered {
		span.SetAttributes(attribute.String("error.type", r.Class))
		span.SetStatus(codes.Error, r.Attempt.Error)
	}
	span.End()
}

// maxTraceState is the longest tracestate that is kept: what the specification wants passed on at least. It is stored with each delivery.
const maxTraceState = 512

// formatTraceContext returns the trace context of ctx in the form of [store.Delivery], or "" if it has none.
func formatTraceContext(ctx context.Context) string {
	carrier := make(propagation.MapCarrier)
	propagation.TraceContext{}.Inject(ctx, carrier)
	return joinTraceContext(carrier["traceparent"], carrier["tracestate"])
}

func joinTraceContext(parent, state string) string {
	if parent == "" || state == "" || len(state) > maxTraceState {
		return parent
	}
	return parent + " " + state
}

func parseTraceContext(text string) context.Context {
	parent, state, _ := strings.Cut(text, " ")
	carrier := propagation.MapCarrier{"traceparent": parent, "tracestate": state}
	return propagation.TraceContext{}.Extract(context.Background(), carrier)
}

// traceContext returns the W3C trace context of a request that Caddy does not trace, if it has one.
func traceContext(h http.Header) string {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	parent := h.Get("Traceparent")
	if len(parent) != length || strings.Trim(parent, "0123456789abcdef-") != "" {
		return ""
	}
	state, err := trace.ParseTraceState(strings.Join(h.Values("Tracestate"), ","))
	if err != nil { // to be left out then, says the specification
		return parent
	}
	return joinTraceContext(parent, state.String())
}

// find takes the provider from a directive tracing of a configuration that starts, so that attempts left over from before
// are traced too. To get at it a call is made through the directive, which goes nowhere and is marked as not sampled.
func (t *tracing) find(app *caddyhttp.App) {
	for _, server := range app.Servers {
		for _, route := range server.NamedRoutes {
			if t.probe(server, route.Handlers) {
				return
			}
		}
		if t.findIn(server, server.Routes) {
			return
		}
	}
}

func (t *tracing) findIn(server *caddyhttp.Server, routes caddyhttp.RouteList) bool {
	for i := range routes {
		if t.probe(server, routes[i].Handlers) {
			return true
		}
	}
	return false
}

func (t *tracing) probe(server *caddyhttp.Server, handlers []caddyhttp.MiddlewareHandler) bool {
	for _, handler := range handlers {
		if group, ok := handler.(*caddyhttp.Subroute); ok && t.findIn(server, group.Routes) {
			return true
		}
		directive, ok := handler.(*caddytracing.Tracing)
		if !ok {
			continue
		}
		r := &http.Request{
			Method: http.MethodGet, URL: new(url.URL), Body: http.NoBody,
			Header: http.Header{"Traceparent": {"00-00000000000000000000000000000001-0000000000000001-00"}},
		}
		w := newRecorder(0)
		// It fails for nobody: what is next returns no error.
		_ = directive.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, server), caddyhttp.HandlerFunc(
			func(_ http.ResponseWriter, r *http.Request) error {
				t.observe(r)
				return nil
			}))
		return true
	}
	return false
}
