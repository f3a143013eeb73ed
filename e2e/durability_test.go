package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPendingDeliverySurvivesTheProcess(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*proxy){"SIGTERM": (*proxy).stop, "SIGKILL": (*proxy).kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, rc := newUpstream(t), newReceiver(t)
			p := site(t, up, config{delivery: "retry 1s 1s 1s 1s"})
			w := p.register("ticket", rc.url("/"))
			rc.down()
			p.ticket()
			var failed delivery
			eventually(t, "a failed attempt", func() bool {
				list, _ := p.page(w, "")
				if len(list) != 1 || len(list[0].Attempts) == 0 {
					return false
				}
				failed = list[0]
				return true
			})
			end(p)
			rc.up()
			p.start()
			got := rc.next()
			got.check(t, w.secret)
			if got.id() != failed.ID || got.body != string(failed.Event) || got.attempt() < 2 {
				t.Errorf("after the restart came attempt %d of %s: %s", got.attempt(), got.id(), got.body)
			}
			if d := p.settled(w, "delivered"); len(d.Attempts) != got.attempt() {
				t.Errorf("%d attempts are listed, want %d", len(d.Attempts), got.attempt())
			}
			if now := p.get(w); now.Item != "ticket" || now.URL != rc.url("/") {
				t.Errorf("the webhook is now %+v", now)
			}
			rc.none()
		})
	}
}

// A process that dies in the middle of an attempt cannot know whether it arrived, so it is repeated.
func TestAttemptCutOffByAKillIsRepeated(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("ticket", rc.url("/"))
	rc.answer(rc.hang)
	p.ticket()
	first := rc.next()
	p.kill()
	rc.answer(nil)
	p.start()
	if again := rc.next(); again.id() != first.id() || again.body != first.body {
		t.Errorf("got %s: %s, want %s: %s", again.id(), again.body, first.id(), first.body)
	}
}

// Shutting down waits for attempts in flight, so that receivers are not troubled twice.
func TestAttemptInFlightEndsBeforeTheProcess(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{global: "grace_period 10s"})
	w := p.register("ticket", rc.url("/"))
	answer := make(chan struct{})
	rc.answer(func(http.ResponseWriter, *post) { <-answer })
	p.ticket()
	rc.next()
	offset := p.output.len()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stop()
	}()
	if !p.output.await(offset, "shutting down apps", p.done) {
		t.Error("no sign of shutting down")
	}
	close(answer)
	<-stopped
	p.start()
	if d := p.settled(w, "delivered"); len(d.Attempts) != 1 {
		t.Errorf("%d attempts, want 1", len(d.Attempts))
	}
	rc.none()
}

func TestClientThatHangsUpDoesNotLoseTheEvent(t *testing.T) {
	t.Parallel()
	for _, durability := range []string{"sync", "async"} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			up, rc := newUpstream(t), newReceiver(t)
			p := site(t, up, config{handler: "durability " + durability})
			p.register("ticket", rc.url("/"))
			forwarded, gone := make(chan struct{}), make(chan struct{})
			up.answer(func(w http.ResponseWriter, r *http.Request) {
				close(forwarded)
				<-gone
				select { // the proxy must not hang up either
				case <-r.Context().Done():
					t.Error("the proxy hung up on the API")
				case <-time.After(200 * time.Millisecond):
				}
				up.usual(w, r)
			})
			ctx, hangUp := context.WithCancel(t.Context())
			go func() {
				<-forwarded
				hangUp()
			}()
			if _, err := p.do(ctx, http.MethodPost, "/tickets", `{}`); err == nil {
				t.Error("the client did not hang up")
			}
			close(gone)
			if got := rc.next(); !strings.HasPrefix(got.body, `{"id":1,"item":"ticket"`) {
				t.Errorf("got %s", got.body)
			}
		})
	}
}

// The site goes on while the store cannot be opened, and what happened meanwhile is delivered when it can.
func TestStoreThatCannotBeOpenedDoesNotStopTheSite(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	w := p.register("ticket", rc.url("/"))
	p.stop()
	restore := block(t, p.data)
	p.start()
	p.ticket()
	p.call(http.MethodGet, "/v1/webhooks", "").checkError(t, http.StatusServiceUnavailable, "")
	got := p.call(http.MethodPost, "/v1/webhooks", registration("ticket", rc.url("/x"), p.newSecret()))
	got.checkError(t, http.StatusServiceUnavailable, "")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	restore()
	if got := rc.next(); !strings.HasPrefix(got.body, `{"id":1,`) {
		t.Errorf("got %s", got.body)
	}
	p.settled(w, "delivered")
}

func TestStoreFailureRejectsBeforeForwardingIfSoConfigured(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := newProxy(t, up, config{handler: "on_store_failure reject"})
	block(t, p.data)
	p.start()
	got := p.call(http.MethodPost, "/v1/tickets", `{}`)
	got.checkError(t, http.StatusServiceUnavailable, "")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if calls := up.seen(); len(calls) != 0 {
		t.Errorf("the API got %+v", calls)
	}
	p.must(http.StatusOK, http.MethodGet, "/v1/tickets", "")
}
