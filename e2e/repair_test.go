package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// goneScene has receivers say that they are gone with deliveries waiting for them: every delivery is dead then.
func goneScene(t *testing.T, webhooks, tickets int) (*proxy, *receiver, []*webhook) {
	t.Helper()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "max_per_webhook 1\ntimeout 1m"})
	all := make([]*webhook, webhooks)
	for i := range all {
		all[i] = p.register("ticket", rc.url(fmt.Sprint("/", i)))
	}
	release := make(chan struct{})
	rc.answer(func(w http.ResponseWriter, _ *post) {
		<-release
		w.WriteHeader(http.StatusGone)
	})
	for range tickets {
		p.ticket()
	}
	close(release)
	eventually(t, "deliveries that are all dead", func() bool {
		d := p.status().Deliveries
		return d.Dead == uint64(webhooks*tickets) && d.Pending+d.Delivering == 0
	})
	for _, w := range all {
		p.becomes(w, "gone")
	}
	newArrivals(rc).rest()
	rc.answer(nil)
	return p, rc, all
}

// An operator who knows that a receiver is back needs no PUT of the webhook's owner.
func TestEnablingRevivesAWebhookThatIsGone(t *testing.T) {
	t.Parallel()
	p, rc, all := goneScene(t, 1, 2)
	w := all[0]
	handshakes := len(rc.handshakes)
	p.ticket() // is not for it
	dead := p.find("state=dead")
	if len(dead) != 2 {
		t.Fatalf("%d deliveries of a webhook that is gone, want the 2 from before", len(dead))
	}
	var enabled struct{ UUID, Status string }
	p.adminPost(http.StatusOK, "/benti/webhooks/"+w.UUID+"/enable", "", &enabled)
	if enabled.UUID != w.UUID || enabled.Status != "active" {
		t.Errorf("got %+v", enabled)
	}
	if status := p.get(w).Status; status != "active" {
		t.Errorf("its owner sees a webhook that is %s", status)
	}
	p.ticket()
	fresh := rc.next()
	fresh.check(t, w.secret)
	if fresh.body[:7] != `{"id":4` || fresh.attempt() != 1 {
		t.Errorf("attempt %d came, of %s", fresh.attempt(), fresh.body)
	}
	p.settled(w, "delivered")
	rc.none() // what its going made dead stays so until it is replayed
	var done struct{ Replayed int }
	p.adminPost(http.StatusOK, "/benti/deliveries/replay", `{"webhook":"`+w.UUID+`"}`, &done)
	if done.Replayed != 2 {
		t.Errorf("replayed %+v", done)
	}
	came := map[string]bool{rc.next().id(): true, rc.next().id(): true}
	if !came[dead[0].ID] || !came[dead[1].ID] {
		t.Errorf("came %v, want %s and %s", came, dead[0].ID, dead[1].ID)
	}
	eventually(t, "3 delivered", func() bool { return len(p.find("state=delivered")) == 3 })
	if n := len(rc.handshakes); n != handshakes {
		t.Errorf("enabling made %d handshakes", n-handshakes)
	}
}

// A replay of many whose client goes away stops there, and goes on when the same step is made again.
func TestReplayOfManyGoesOnAfterItsClientWentAway(t *testing.T) {
	t.Parallel()
	const webhooks, tickets = 20, 100
	p, rc, all := goneScene(t, webhooks, tickets)
	for _, w := range all {
		p.adminPost(http.StatusOK, "/benti/webhooks/"+w.UUID+"/enable", "", nil)
	}
	came := newArrivals(rc)
	replayed, cuts := 0, 0
	for body := map[string]string{"state": "dead"}; ; {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		p.goAway(came, string(text))
		eventually(t, "deliveries that are settled", func() bool {
			d := p.status().Deliveries
			return d.Pending+d.Delivering == 0
		})
		if left := p.status().Deliveries.Dead; left > 0 {
			cuts++
		}
		var done struct {
			Replayed, Skipped int
			Next              *string
		}
		p.adminPost(http.StatusOK, "/benti/deliveries/replay", string(text), &done)
		if replayed += done.Replayed; done.Skipped != 0 {
			t.Errorf("%d were skipped", done.Skipped)
		}
		if done.Next == nil {
			break
		}
		body["cursor"] = *done.Next
	}
	eventually(t, "no delivery that is dead, and all settled", func() bool {
		d := p.status().Deliveries
		return d.Dead+d.Pending+d.Delivering == 0 && d.Delivered == webhooks*tickets
	})
	came.rest()
	if n := len(came.deliveries); n != webhooks*tickets {
		t.Errorf("%d of %d deliveries came", n, webhooks*tickets)
	}
	if replayed == 0 || cuts == 0 {
		t.Logf("no client went away in the middle: all was replayed by then")
	}
	t.Logf("%d of %d were replayed by steps made again after %d that were cut; %d came twice", replayed, webhooks*tickets, cuts, came.duplicates)
}

// goAway begins a step of a replay of many and leaves when the first delivery of it arrives, or the answer.
func (p *proxy) goAway(came *arrivals, body string) {
	p.t.Helper()
	came.rest()
	connection, err := net.Dial("unix", p.socket)
	if err != nil {
		p.t.Fatal(err)
	}
	defer connection.Close()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = io.ReadFull(connection, make([]byte, 1))
	}()
	const head = "POST /benti/deliveries/replay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
	if _, err := fmt.Fprintf(connection, "%s%d\r\n\r\n%s", head, len(body), body); err != nil {
		p.t.Fatal(err)
	}
	select {
	case got := <-came.rc.posts:
		came.add(got)
	case <-answered:
	case <-time.After(patience):
		p.t.Fatal("a replay neither delivers nor is answered")
	}
}
