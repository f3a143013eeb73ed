package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Requests that are in flight when a reload takes the directive away still have their events kept, which are delivered
// when it is back.
func TestRequestsInFlightKeepTheirEventsWhenTheDirectiveGoes(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	with := config{global: "grace_period 10s"}
	p := site(t, up, with)
	p.register("ticket", rc.url("/"))
	const requests = 5
	answers := holdTickets(t, p, up, requests)
	without := with
	without.caddyfile = "{\n\tadmin unix/ADMIN\n\tdebug\n\tauto_https off\n\tGLOBAL\n}\nhttp://:PORT {\n\treverse_proxy UPSTREAM\n}\n"
	p.reload(without)
	up.letGo()
	for range requests {
		if got := <-answers; got != http.StatusCreated {
			t.Errorf("a call in flight at the reload got status %d", got)
		}
	}
	up.answer(nil)
	p.ticket() // goes through, and has no event
	if got := p.call(http.MethodGet, "/v1/webhooks", "").body; strings.Contains(got, rc.address) {
		t.Errorf("the subscription API still answers: %s", got)
	}
	// Nobody delivers any more, but for attempts that were begun while the directive was there.
	p.reload(with)
	newArrivals(rc).await(numbers(requests))
	if list := p.inDoubt(); len(list) != 0 {
		t.Errorf("in doubt are %+v", list)
	}
	p.ticket()
	for !strings.HasPrefix(rc.next().body, `{"id":7,`) {
	}
}

// holdTickets returns when calls are held by the API, which they are until [upstream.letGo]; the channel gets their
// statuses.
func holdTickets(t *testing.T, p *proxy, up *upstream, n int) <-chan int {
	t.Helper()
	up.hold = make(chan struct{})
	t.Cleanup(up.letGo)
	arrived, answers := make(chan struct{}, n), make(chan int, n)
	up.answer(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-up.hold
		up.usual(w, r)
	})
	for range n {
		go func() {
			got, err := p.do(t.Context(), http.MethodPost, "/v1/tickets", `{}`)
			if err != nil {
				answers <- 0
				return
			}
			answers <- got.status
		}()
	}
	for range n {
		select {
		case <-arrived:
		case <-time.After(patience):
			t.Fatal("a call does not arrive at the API")
		}
	}
	return answers
}

// Reloads that change the store's directory under traffic lose nothing: what the former store did not get rid of waits
// there until it is used again.
func TestStoresThatTakeTurnsUnderTrafficLoseNothing(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	c := config{delivery: patientRetry}
	p := site(t, up, c)
	p.register("ticket", rc.url("/a"))
	stores := []string{p.data, p.data + "-other"}
	p.data = stores[1]
	p.reload(c)
	p.register("ticket", rc.url("/b"))
	changeTo := func(dir string) {
		t.Helper()
		p.data = dir
		p.reload(c)
		eventually(t, "a former store that is closed", func() bool {
			all := p.statuses()
			return len(all) == 1 && all[0].Store == "badger:"+dir
		})
	}
	tr := startPaced(p, 4, time.Millisecond, `{}`)
	for n := range 6 {
		before := tr.count()
		eventually(t, "acknowledged tickets", func() bool { return tr.count() >= before+20 })
		changeTo(stores[n%2])
	}
	tr.end()
	if len(tr.failures) > 0 {
		t.Errorf("%d calls failed, the first with %s", len(tr.failures), tr.failures[0])
	}
	if created := up.created(); created != tr.count() {
		t.Errorf("the API created %d tickets, clients know of %d", created, tr.count())
	}
	for _, dir := range stores {
		changeTo(dir)
		p.emptied()
		eventually(t, "a store that owes nothing", func() bool {
			d := p.status().Deliveries
			return d != nil && d.Pending+d.Delivering == 0
		})
	}
	came := newArrivals(rc)
	came.await(tr.known())
	t.Logf("%d tickets over 6 changes of the store, %d deliveries came twice, %d connections unserved", tr.count(), came.duplicates, tr.unserved)
}

// An attempt that outlasts the grace period is cut off. It does not count, and its delivery is made at the next start.
func TestAttemptThatOutlastsTheGracePeriodIsMadeAgain(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{global: "grace_period 1s", delivery: "timeout 1m"})
	w := p.register("ticket", rc.url("/"))
	rc.answer(rc.hang)
	p.ticket()
	first := rc.next()
	begun := time.Now()
	p.stop()
	if took := time.Since(begun); took < time.Second || took > 10*time.Second {
		t.Errorf("the stop took %s, the grace period is a second", took)
	}
	p.logged(0, `"level":"warn"`, "in flight at the end of the grace period")
	rc.answer(nil)
	p.start()
	if again := rc.next(); again.id() != first.id() || again.attempt() != 1 {
		t.Errorf("after the start came attempt %d of %s, want attempt 1 of %s", again.attempt(), again.id(), first.id())
	}
	if d := p.settled(w, "delivered"); len(d.Attempts) != 1 {
		t.Errorf("listed: %+v", d)
	}
}

// Requests in flight at a reload that changes the store's directory have their events kept in the former store; its backlog
// waits there. Those that come after the reload go to the new one.
func TestRequestsInFlightWhenTheDirectoryChangesKeepTheirEvents(t *testing.T) {
	t.Parallel()
	const requests, later = 5, 3
	up, rc := newUpstream(t), newReceiver(t)
	c := config{global: "grace_period 10s", delivery: patientRetry}
	p := site(t, up, c)
	former, latter := p.data, p.data+"-other"
	p.register("ticket", rc.url("/former"))
	p.data = latter
	p.reload(c)
	p.register("ticket", rc.url("/latter"))
	p.data = former
	p.reload(c)

	answers := holdTickets(t, p, up, requests)
	rc.down() // so that what is kept stays pending
	p.data = latter
	p.reload(c)
	up.answer(nil)
	for range later {
		p.ticket() // ids 1 to 3
	}
	up.letGo()
	for range requests { // ids 4 to 8
		if got := <-answers; got != http.StatusCreated {
			t.Errorf("a call in flight at the reload got status %d", got)
		}
	}
	closed := func(dir string) {
		t.Helper()
		eventually(t, "the other store closed", func() bool {
			all := p.statuses()
			return len(all) == 1 && all[0].Store == "badger:"+dir && all[0].Deliveries != nil
		})
	}
	closed(latter)
	if d := p.status().Deliveries; d.Enqueued != later || d.Pending+d.Delivering != later {
		t.Errorf("the new store has %+v, want the %d of after the reload", *d, later)
	}
	rc.up()
	came := newArrivals(rc)
	came.await(numbers(later))
	eventually(t, "a store that owes nothing", func() bool { return p.status().Deliveries.Delivered == later })
	came.rest()
	for id := range came.events {
		if id > fmt.Sprint(later) {
			t.Errorf("the event of ticket %s came while its store was not in use", id)
		}
	}

	p.data = former
	p.reload(c)
	closed(former)
	came.await(numbers(later + requests))
	eventually(t, "the former store that owes nothing", func() bool { return p.status().Deliveries.Delivered == requests })
	if d := p.status().Deliveries; d.Enqueued != requests {
		t.Errorf("the former store has %+v, want the %d that were in flight", *d, requests)
	}
	if list := p.inDoubt(); len(list) != 0 {
		t.Errorf("in doubt are %+v", list)
	}
}
