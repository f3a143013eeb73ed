package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const quickRetries = "retry 100ms 100ms"

func TestFailedAttemptsAreRetriedWithTheSameIdAndBody(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: quickRetries})
	w := p.register("ticket", rc.url("/"))
	rc.answer(statuses(500, 500, 200))
	p.ticket()
	var first *post
	for n := 1; n <= 3; n++ {
		got := rc.next()
		got.check(t, w.secret)
		if n == 1 {
			first = got
		}
		if got.attempt() != n || got.id() != first.id() || got.body != first.body {
			t.Errorf("attempt %d is number %d of %s: %s; want of %s: %s", n, got.attempt(), got.id(), got.body, first.id(), first.body)
		}
		if since := got.at.Sub(first.at); since < time.Duration(n-1)*80*time.Millisecond {
			t.Errorf("attempt %d comes after only %v", n, since)
		}
	}
	d := p.settled(w, "delivered")
	var told []string
	for _, a := range d.Attempts {
		told = append(told, fmt.Sprint(a.N, *a.Status))
	}
	if got := strings.Join(told, ", "); got != "1 500, 2 500, 3 200" || d.ID != first.id() || d.NextAttemptAt != nil || string(d.Event) != first.body {
		t.Errorf("listed: %s of %+v", got, d)
	}
	p.becomes(w, "active")
	rc.none()
}

func TestDeliveryIsDeadAfterTheLastRetryAndCanBeReplayed(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: quickRetries})
	w := p.register("ticket", rc.url("/"))
	rc.answer(statuses(500))
	p.ticket()
	first := rc.next()
	d := p.settled(w, "dead")
	if len(d.Attempts) != 3 {
		t.Errorf("dead after %d attempts, want 3", len(d.Attempts))
	}
	ids := []string{`"delivery":"` + d.ID + `"`, `"webhook":"` + w.UUID + `"`, `"item":"ticket"`, `"result":"status"`, `"status":500`}
	for n := 1; n <= 3; n++ {
		p.logged(0, append(ids, `"level":"warn"`, `"msg":"attempt failed"`, fmt.Sprintf(`"attempt":%d,`, n))...)
	}
	p.logged(0, append(ids, `"level":"error"`, `"msg":"delivery is dead"`, `"attempt":3,`)...)
	p.becomes(w, "failing")
	rc.next()
	rc.next()
	rc.none()

	rc.answer(statuses(503, 200))
	p.must(http.StatusAccepted, http.MethodPost, w.path()+"/deliveries/"+d.ID+"/redeliver", "")
	for n := 4; n <= 5; n++ { // it has its retries again
		if got := rc.next(); got.id() != d.ID || got.attempt() != n || got.body != first.body {
			t.Errorf("got attempt %d of %s: %s", got.attempt(), got.id(), got.body)
		}
	}
	if d := p.settled(w, "delivered"); len(d.Attempts) != 5 {
		t.Errorf("%d attempts are listed, want 5", len(d.Attempts))
	}
	p.becomes(w, "active")
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := site(t, up, config{delivery: "retry 50ms"})
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		rc := newReceiver(t)
		p.register("ticket", rc.url("/"))
		rc.answer(func(w http.ResponseWriter, got *post) {
			if got.attempt() == 1 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(status)
			}
		})
		p.ticket()
		if wait := -rc.next().at.Sub(rc.next().at); wait < time.Second {
			t.Errorf("status %d: attempted again after %v", status, wait)
		}
	}
	// Other statuses have no say in it.
	rc := newReceiver(t)
	w := p.register("queue", rc.url("/"))
	rc.answer(func(w http.ResponseWriter, _ *post) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusInternalServerError)
	})
	p.must(http.StatusCreated, http.MethodPost, "/queues", `{}`)
	rc.next()
	rc.next()
	p.settled(w, "dead")
}

func TestGoneReceiverGetsNothingUntilItIsRevived(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 1h\nmax_per_webhook 1"})
	w := p.register("ticket", rc.url("/"))
	rc.answer(statuses(500, 410))
	p.ticket()
	waiting := rc.next()
	p.settled(w, "pending")
	p.ticket()
	gone := rc.next()
	p.becomes(w, "gone")
	eventually(t, "dead deliveries", func() bool {
		list, _ := p.page(w, "")
		return len(list) == 2 && list[0].State == "dead" && list[1].State == "dead"
	})
	p.logged(0, `"level":"error"`, "receiver is gone", `"webhook":"`+w.UUID+`"`, `"count":1}`)
	p.ticket()
	if list, _ := p.page(w, ""); len(list) != 2 || list[0].ID != gone.id() || list[1].ID != waiting.id() {
		t.Errorf("deliveries of a webhook that is gone: %+v", list)
	}
	p.call(http.MethodPost, w.path()+"/ping", "").checkError(t, http.StatusConflict, "")
	p.call(http.MethodPost, w.path()+"/deliveries/"+gone.id()+"/redeliver", "").checkError(t, http.StatusConflict, "")

	rc.answer(nil)
	rc.answerHandshake(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	p.call(http.MethodPut, w.path(), fmt.Sprintf(`{"url":%q}`, w.URL)).checkError(t, http.StatusUnprocessableEntity, "url")
	if status := p.get(w).Status; status != "gone" {
		t.Errorf("a verification that failed made the webhook %s", status)
	}
	rc.answerHandshake(nil)
	p.must(http.StatusOK, http.MethodPut, w.path(), fmt.Sprintf(`{"url":%q}`, w.URL))
	if status := p.get(w).Status; status != "active" {
		t.Errorf("a PUT that verifies left the webhook %s", status)
	}
	p.must(http.StatusAccepted, http.MethodPost, w.path()+"/deliveries/"+waiting.id()+"/redeliver", "")
	if got := rc.next(); got.id() != waiting.id() || got.attempt() != 2 {
		t.Errorf("got attempt %d of %s, want the second of %s", got.attempt(), got.id(), waiting.id())
	}
	p.ticket()
	if got := rc.next(); got.id() == gone.id() || got.attempt() != 1 {
		t.Errorf("got attempt %d of %s", got.attempt(), got.id())
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	up, rc, elsewhere := newUpstream(t), newReceiver(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 50ms 50ms 50ms 50ms"})
	w := p.register("ticket", rc.url("/"))
	rc.answer(func(w http.ResponseWriter, got *post) {
		w.Header().Set("Location", elsewhere.url("/"))
		w.WriteHeader([]int{301, 302, 303, 307, 308}[got.attempt()-1])
	})
	p.ticket()
	d := p.settled(w, "dead")
	if len(d.Attempts) != 5 || d.Attempts[0].Error == nil || !strings.Contains(*d.Attempts[0].Error, "redirect") {
		t.Errorf("listed: %+v", d)
	}
	if n := elsewhere.connections.Load(); n != 0 {
		t.Errorf("%d connections to where the redirect points", n)
	}
}

func TestBrokenAnswersAreRetried(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "timeout 500ms\nretry 50ms 50ms 50ms"})
	w := p.register("ticket", rc.url("/"))
	rc.answer(func(w http.ResponseWriter, got *post) {
		switch got.attempt() {
		case 1: // no answer
			rc.hang(w, got)
		case 2: // an answer without an end
			for {
				if _, err := fmt.Fprint(w, strings.Repeat("x", 16)); err != nil {
					return
				}
				http.NewResponseController(w).Flush()
				select {
				case <-got.done:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		case 3: // none, and no connection any more
			panic(http.ErrAbortHandler)
		default:
			fmt.Fprintf(w, "thanks for %s", got.header.Get("X-Hook-Signature"))
		}
	})
	p.ticket()
	d := p.settled(w, "delivered")
	if len(d.Attempts) != 4 {
		t.Fatalf("listed: %+v", d)
	}
	for i, class := range []string{"timeout: ", "timeout: ", "connect: "} {
		if e := d.Attempts[i].Error; e == nil || !strings.HasPrefix(*e, class) {
			t.Errorf("attempt %d: %+v, want an error of class %s", i+1, d.Attempts[i], class)
		}
	}
	if last := d.Attempts[3]; *last.Response != "thanks for "+strings.Repeat("*", len(w.secret)) {
		t.Errorf("response is listed as %q", *last.Response)
	}
}

func TestReceiverThatHangsDoesNotDelayAnother(t *testing.T) {
	t.Parallel()
	up, healthy := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "timeout 30s\nmax_concurrent 16"})
	for range 3 { // more attempts than may be in flight
		hanging := newReceiver(t)
		p.register("ticket", hanging.url("/"))
		hanging.answer(hanging.hang)
	}
	p.register("ticket", healthy.url("/"))
	var worst time.Duration
	for range 30 {
		p.ticket()
		sent := time.Now()
		healthy.next()
		worst = max(worst, time.Since(sent))
	}
	t.Logf("the healthy receiver waited %v at most", worst)
	if worst > 2*time.Second {
		t.Errorf("the healthy receiver waited %v", worst)
	}
	// So that stopping does not wait for them.
	p.reload(config{delivery: "timeout 30s", global: "grace_period 1s"})
}
