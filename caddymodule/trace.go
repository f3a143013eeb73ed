package caddymodule

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/bentihooks/bentihooks/emitter"
)

// tracing makes the spans of attempts with the tracer provider of Caddy's directive tracing. That provider is
// private to the directive, and shut down with the last configuration that has it. So it is taken from the spans of
// requests, the latest of which has the one that is alive, and never kept alive by us: one that is shut down
// makes spans that record nothing. Before the first request that was traced, attempts have no span.
type tracing struct {
	provider atomic.Pointer[trace.TracerProvider]
}

// observe remembers the provider of a request that is traced, and returns the request's trace context in the form of
// the header traceparent, or "" if it has none.
func (t *tracing) observe(r *http.Request) string {
	span := trace.SpanFromContext(r.Context())
	if !span.SpanContext().IsValid() {
		return traceParent(r.Header)
	}
	provider := span.TracerProvider()
	if former := t.provider.Load(); former == nil || *former != provider {
		t.provider.Store(&provider)
	}
	return formatTraceParent(trace.ContextWithSpan(context.Background(), span))
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
	for _, text := range s.TraceParents {
		parent := parseTraceParent(text)
		if len(s.TraceParents) == 1 {
			ctx = parent
			break
		}
		options = append(options, trace.WithLinks(trace.LinkFromContext(parent)))
	}
	ctx, span := (*provider).Tracer(modulePath, trace.WithInstrumentationVersion(Version())).Start(ctx, "benti attempt", options...)
	return formatTraceParent(ctx), func(r *emitter.Result) { endSpan(span, r) }
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

// formatTraceParent returns the trace context of ctx in the form of the header traceparent, or "" if it has none.
func formatTraceParent(ctx context.Context) string {
	carrier := make(propagation.MapCarrier)
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

func parseTraceParent(text string) context.Context {
	return propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": text})
}

// traceParent returns the W3C trace context of a request that Caddy does not trace, if it has one.
func traceParent(h http.Header) string {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	value := h.Get("Traceparent")
	if len(value) != length || strings.Trim(value, "0123456789abcdef-") != "" {
		return ""
	}
	return value
}
