package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"
)

// A kill leaves requests of which nobody knows whether the API made the change. They are listed until somebody
// says that he knows.
func TestRequestsInFlightAtAKillAreInDoubt(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	c := config{global: "metrics", handler: "project {header.X-Tenant}"}
	p := site(t, up, c)
	tenant := []string{"X-Tenant", "acme"}
	tickets := p.register("ticket", rc.url("/ticket"), tenant...)
	p.register("user", rc.url("/user"), tenant...)
	p.must(http.StatusCreated, http.MethodPost, "/v1/tickets", `{}`, tenant...) // has ended
	rc.next()
	p.settled(tickets, "delivered", tenant...) // or the kill may have it sent again
	from := time.Now()
	hang(t, p, up, tenant, [][2]string{{"POST", "/v1/tickets"}, {"PUT", "/users/7"}, {"POST", "/queues"}})
	offset := p.output.len()
	p.kill()
	up.answer(nil)
	p.start()
	list := p.inDoubt()
	if len(list) != 2 {
		t.Fatalf("in doubt are %+v, want the ticket and the user, as nobody wants queues", list)
	}
	byMethod := map[string]doubt{list[0].Method: list[0], list[1].Method: list[1]}
	for method, want := range map[string]doubt{
		"POST": {Path: "/v1/tickets", Item: "ticket"}, "PUT": {Path: "/users/7", Item: "user"},
	} {
		got := byMethod[method]
		if got.ID == "" || got.Path != want.Path || got.Item != want.Item || got.Project != "acme" || got.Store == "" ||
			got.Time.Before(from) || got.Time.After(time.Now()) {
			t.Errorf("%s: in doubt is %+v", method, got)
		}
		p.logged(offset, `"level":"warn"`, "in doubt", got.ID, got.Path, method, "acme")
	}
	if n := p.metric("benti_webhooks_in_doubt"); n != 2 || p.status().InDoubt != 2 {
		t.Errorf("the metric says %v, the status %d", n, p.status().InDoubt)
	}

	// They outlive whatever comes, until they are acknowledged.
	p.kill()
	p.start()
	p.stop()
	p.start()
	p.reload(c)
	if now := p.inDoubt(); len(now) != 2 || now[0].ID != list[0].ID || now[1].ID != list[1].ID {
		t.Errorf("after restarts there are %+v, want %+v", now, list)
	}
	for _, want := range []int{http.StatusNoContent, http.StatusNotFound} {
		status, body, err := p.adminCall(http.MethodPost, "/benti/in-doubt/"+list[0].ID+"/acknowledge", "", "")
		if err != nil || status != want {
			t.Errorf("acknowledging: status %d, want %d, %v: %s", status, want, err, body)
		}
	}
	p.kill()
	p.start()
	if now := p.inDoubt(); len(now) != 1 || now[0].ID != list[1].ID {
		t.Errorf("after one was acknowledged there are %+v", now)
	}
	if n := p.metric("benti_webhooks_in_doubt"); n != 1 {
		t.Errorf("the metric says %v", n)
	}
	rc.none() // an event would be a guess
}

func TestStopInOrderLeavesNothingInDoubt(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{global: "grace_period 10s"})
	p.register("ticket", rc.url("/"))
	hang(t, p, up, nil, [][2]string{{"POST", "/v1/tickets"}})
	offset := p.output.len()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stop()
	}()
	if !p.output.await(offset, "shutting down apps", p.done) {
		t.Error("no sign of shutting down")
	}
	up.letGo()
	<-stopped
	up.answer(nil)
	p.start()
	if list := p.inDoubt(); len(list) != 0 {
		t.Errorf("in doubt are %+v", list)
	}
	rc.next() // its client got the answer within the grace period
}

// hang returns when calls are waiting for the API, which is until [upstream.letGo] or the end of the test.
func hang(t *testing.T, p *proxy, up *upstream, header []string, calls [][2]string) {
	t.Helper()
	up.hold = make(chan struct{})
	t.Cleanup(up.letGo)
	arrived := make(chan struct{}, len(calls))
	up.answer(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-up.hold
		up.usual(w, r)
	})
	for _, c := range calls {
		go p.do(context.Background(), c[0], c[1], `{}`, header...)
	}
	for range calls {
		select {
		case <-arrived:
		case <-time.After(patience):
			t.Fatal("a call does not arrive at the API")
		}
	}
}
