package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	trace "go.opentelemetry.io/proto/otlp/trace/v1"
)

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "00-" + callersTrace + "-b7ad6b7169203331-01"
	callersState = "congo=t61rcWkgMzE,tenant@vendor=1"
)

func TestAttemptsAreSpansOfTheTraceOfTheCall(t *testing.T) {
	t.Parallel()
	up, rc, otlp := newUpstream(t), newReceiver(t), newCollector(t)
	p := newProxy(t, up, config{delivery: quickRetries, site: "tracing {\nspan call\n}"})
	p.env = otlp.environment()
	p.start()
	w := p.register("ticket", rc.url("/hook?token=confidential"))
	rc.answer(statuses(503, 200))
	p.ticket("Traceparent", callersSpan)
	posts := []*post{rc.next(), rc.next()}

	attempts := otlp.await("benti attempt", 2)
	call := callOf(t, otlp, "call")
	for i, attempt := range attempts[:2] {
		if got := hex.EncodeToString(attempt.TraceId); got != callersTrace {
			t.Errorf("attempt %d belongs to trace %s, want that of the caller", i+1, got)
		}
		if !bytes.Equal(attempt.ParentSpanId, call.SpanId) {
			t.Errorf("attempt %d is no child of the call", i+1)
		}
		if got := posts[i].header.Get("Traceparent"); got != sent(attempt) {
			t.Errorf("attempt %d went out under %s, want its own %s", i+1, got, sent(attempt))
		}
		if attempt.Kind != trace.Span_SPAN_KIND_CLIENT {
			t.Errorf("attempt %d is of kind %v", i+1, attempt.Kind)
		}
		got := attributes(attempt)
		for name, want := range map[string]string{
			"benti.webhook": w.UUID, "benti.delivery": posts[i].id(), "benti.attempt": fmt.Sprint(i + 1), "benti.events": "1",
			"server.address": "127.0.0.1", "http.request.method": "POST",
			"http.response.status_code": fmt.Sprint([]int{503, 200}[i]), "benti.result": []string{"status", "delivered"}[i],
		} {
			if got[name] != want {
				t.Errorf("attempt %d: %s is %q, want %q", i+1, name, got[name], want)
			}
		}
		if text := attempt.String(); strings.Contains(text, "confidential") || strings.Contains(text, w.secret) {
			t.Errorf("the span tells what is confidential: %s", text)
		}
	}
	if attempts[0].Status.GetCode() != trace.Status_STATUS_CODE_ERROR || attempts[1].Status.GetCode() == trace.Status_STATUS_CODE_ERROR {
		t.Errorf("status: %v, %v", attempts[0].Status, attempts[1].Status)
	}
}

// callOf returns the span of the call that creates a ticket: registering the webhook makes others.
func callOf(t *testing.T, otlp *collector, name string) *trace.Span {
	t.Helper()
	var call *trace.Span
	eventually(t, "the span of the call", func() bool {
		for _, s := range otlp.await(name, 1) {
			if hex.EncodeToString(s.TraceId) == callersTrace {
				call = s
			}
		}
		return call != nil
	})
	return call
}

func TestEventsThatShareAnAttemptAreLinkedToIt(t *testing.T) {
	t.Parallel()
	up, rc, otlp := newUpstream(t), newReceiver(t), newCollector(t)
	p := newProxy(t, up, config{handler: "source instance", delivery: "max_per_webhook 1", site: "tracing"})
	p.env = otlp.environment()
	p.start()
	all := make(chan struct{})
	rc.answer(func(http.ResponseWriter, *post) { <-all }) // so that the second waits for the third
	body := fmt.Sprintf(`{"url":%q,"secret":%q,"events":["create-ticket"]}`, rc.url("/"), p.newSecret())
	p.must(http.StatusCreated, http.MethodPost, "/v1/webhooks/app", body)
	for i := range 3 {
		p.ticket("Traceparent", fmt.Sprintf("00-0af7651916cd43dd8448eb211c80319%d-b7ad6b7169203331-01", i))
	}
	close(all)
	var shared *trace.Span
	eventually(t, "a span with links", func() bool {
		for _, s := range otlp.await("benti attempt", 1) {
			if len(s.Links) > 1 {
				shared = s
			}
		}
		return shared != nil
	})
	if n := attributes(shared)["benti.events"]; n != fmt.Sprint(len(shared.Links)) {
		t.Errorf("%s events, %d links", n, len(shared.Links))
	}
	for _, link := range shared.Links {
		if bytes.Equal(link.TraceId, shared.TraceId) {
			t.Error("the attempt stands in the trace of one of its events")
		}
	}
}

func TestWithoutTracingTheCallersTraceGoesOutAsItIs(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("ticket", rc.url("/"))
	for _, c := range []struct{ parent, state, wantParent, wantState string }{
		{callersSpan, "", callersSpan, ""},
		{callersSpan, callersState, callersSpan, callersState},
		{callersSpan, "not a list", callersSpan, ""},
		{callersSpan, "long=" + strings.Repeat("x", 250) + ",longer=" + strings.Repeat("x", 256), callersSpan, ""},
		{"none", callersState, "", ""},
	} {
		p.ticket("Traceparent", c.parent, "Tracestate", c.state)
		header := rc.next().header
		if parent, state := header.Get("Traceparent"), header.Get("Tracestate"); parent != c.wantParent || state != c.wantState {
			t.Errorf("%+v: traceparent %q, tracestate %q", c, parent, state)
		}
	}
}

// A delivery belongs to the trace of its call also after a restart, before any other call came.
func TestAttemptsAfterARestartAreSpansOfTheTraceOfTheCall(t *testing.T) {
	t.Parallel()
	const handlers = "tracing {\nspan call\n}\nbenti_webhooks\nreverse_proxy UPSTREAM\n"
	global, _, _ := strings.Cut(standardCaddyfile, "http://")
	for name, site := range map[string]string{
		"in the site":      "http://:PORT {\n" + handlers + "}\n",
		"in a group":       "http://:PORT {\nhandle /never {\nrespond 404\n}\nhandle /v1/* {\nroute {\n" + handlers + "}\n}\n}\n",
		"in a named route": "&(api) {\nroute {\n" + handlers + "}\n}\nhttp://:PORT {\ninvoke api\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, rc, otlp := newUpstream(t), newReceiver(t), newCollector(t)
			p := newProxy(t, up, config{delivery: patientRetry, caddyfile: global + site})
			p.env = otlp.environment()
			p.start()
			p.register("ticket", rc.url("/"))
			rc.answer(statuses(503))
			p.ticket("Traceparent", callersSpan, "Tracestate", callersState)
			if got := rc.next().header.Get("Tracestate"); got != callersState {
				t.Errorf("tracestate %q", got)
			}
			p.stop() // which sends all spans
			call, before := callOf(t, otlp, "call"), len(otlp.await("benti attempt", 1))
			newArrivals(rc).rest()
			rc.answer(nil)
			p.start()
			got := rc.next().header
			attempt := otlp.await("benti attempt", before+1)[before]
			if !bytes.Equal(attempt.TraceId, call.TraceId) || !bytes.Equal(attempt.ParentSpanId, call.SpanId) || attempt.TraceState != callersState {
				t.Errorf("the attempt is %v, no child of the call %v", attempt, call)
			}
			if got.Get("Traceparent") != sent(attempt) || got.Get("Tracestate") != callersState {
				t.Errorf("traceparent %q went out, tracestate %q; the span is %s", got.Get("Traceparent"), got.Get("Tracestate"), sent(attempt))
			}
			if n := len(otlp.await("call", 2)); n != 2 {
				t.Errorf("%d spans, of which only the registration's and the ticket's were asked for", n)
			}
		})
	}
}

func TestTracingCanBeSwitchedOffAndOnByReloads(t *testing.T) {
	t.Parallel()
	up, rc, otlp := newUpstream(t), newReceiver(t), newCollector(t)
	traced := config{site: "tracing"}
	p := newProxy(t, up, traced)
	p.env = otlp.environment()
	p.start()
	p.register("ticket", rc.url("/"))
	for n := 1; n <= 3; n++ {
		p.ticket("Traceparent", callersSpan)
		if got := rc.next().header.Get("Traceparent"); got == callersSpan || !strings.Contains(got, callersTrace) {
			t.Errorf("traced: traceparent %q", got)
		}
		otlp.await("benti attempt", n)
		p.reload(config{})
		p.ticket("Traceparent", callersSpan)
		if got := rc.next().header.Get("Traceparent"); got != callersSpan {
			t.Errorf("not traced: traceparent %q", got)
		}
		p.reload(traced)
	}
	if n := len(otlp.await("benti attempt", 3)); n != 3 {
		t.Errorf("%d attempts were traced, want 3", n)
	}
}
