package caddymodule

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
)

// stream is an open event stream of the dashboard.
type stream struct {
	t      testing.TB
	body   io.Closer
	events chan string // closed when the stream has ended
}

func (s *scene) openStream() *stream {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	s.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.site+"/hooks/live", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Close = true
	var response *http.Response
	// After a reload Caddy's old listener may still be there for a moment, and what it has not accepted is cut off as it goes.
	eventually(s.t, "a stream", func() bool {
		response, err = http.DefaultTransport.RoundTrip(request)
		return err == nil
	})
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
		s.t.Fatalf("status %d, %s", response.StatusCode, got)
	}
	st := &stream{t: s.t, body: response.Body, events: make(chan string, 100)}
	go func() {
		defer close(st.events)
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			if lines.Text() != "" {
				st.events <- lines.Text()
			}
		}
	}()
	st.next("retry: 1000")
	return st
}

// next waits for a line.
func (st *stream) next(want string) {
	st.t.Helper()
	select {
	case got, ok := <-st.events:
		if !ok || got != want {
			st.t.Fatalf("got %q, %v; want %q", got, ok, want)
		}
	case <-time.After(20 * time.Second):
		st.t.Fatalf("no %q came", want)
	}
}

// ended waits for the end.
func (st *stream) ended() {
	st.t.Helper()
	for end := time.After(20 * time.Second); ; {
		select {
		case _, ok := <-st.events:
			if !ok {
				return
			}
		case <-end:
			st.t.Fatal("the stream does not end")
		}
	}
}

func TestStreamTellsOfChanges(t *testing.T) {
	s := newDashboardScene(t, false)
	st := s.openStream()
	for name, change := range map[string]func(){
		"a webhook": func() { s.subscribe("ticket") },
		"an event":  func() { s.post() },
		"a state":   func() { s.core().enter(stateFailed, io.EOF) },
	} {
		change()
		st.next("event: change")
		st.next("data:")
		t.Log(name)
	}
	if err := st.body.Close(); err != nil {
		t.Error(err)
	}
}

// A stream has no end of its own, and grace_period may be endless: neither a reload nor the end may wait for one.
func TestStreamEndsWithItsConfiguration(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := newDashboardScene(t, false)
	endless := func(n string) string {
		return strings.Replace(s.caddyfile("retention "+n, openDashboard), "grace_period 5s", "", 1)
	}
	s.mustLoad(endless("1h"))
	var goroutines int
	for i, n := range []string{"2h", "3h", "4h", "5h", "6h"} {
		st, other := s.openStream(), s.openStream()
		s.mustLoad(endless(n))
		st.ended()
		other.ended()
		if i == 1 {
			goroutines = settledGoroutines()
		}
	}
	if after := settledGoroutines(); after > goroutines+5 {
		t.Errorf("%d goroutines after the last reload, %d after the second", after, goroutines)
	}
	st := s.openStream()
	stopped := make(chan error, 1)
	go func() { stopped <- caddy.Stop() }()
	st.ended()
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Caddy does not stop")
	}
	s.api.Close()
	goleak.VerifyNone(t, before, goleak.IgnoreTopFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"))
}

// A configuration that is refused after its handlers were made leaves nothing behind, and the running one goes on.
func TestStreamOutlivesAReloadThatFails(t *testing.T) {
	s := newDashboardScene(t, false)
	st := s.openStream()
	bad := s.caddyfile("retention 2h", openDashboard) + strings.Replace(s.api.URL, "127.0.0.1", "localhost", 1) + " {\n\tbind 127.0.0.1\n\trespond ok\n}\n"
	if err := s.load(bad); err == nil {
		t.Fatal("the reload succeeded")
	}
	s.subscribe("ticket")
	st.next("event: change")
}
