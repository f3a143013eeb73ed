package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// What piles up while a receiver is busy comes in few requests.
func TestEventsThatAreDueTogetherShareARequest(t *testing.T) {
	t.Parallel()
	const piled = 250
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance\nproject acme", delivery: "max_per_webhook 1", global: "metrics"})
	w := p.registerInstance(rc.url("/"), "create-ticket")
	busy := make(chan struct{})
	rc.answer(func(http.ResponseWriter, *post) { <-busy })
	p.ticket()
	first := rc.next()
	for range piled {
		p.ticket()
	}
	rc.answer(nil)
	close(busy)

	deliveries, ids := make(map[string]bool), make(map[string]bool)
	var tickets, batches []string
	var sizes []int
	for got := first; ; got = rc.next() {
		got.check(t, w.secret)
		events := got.events(t)
		sizes = append(sizes, len(events))
		for _, e := range events {
			ids[e.ID] = true
			tickets = append(tickets, e.Body.Ticket)
		}
		if len(events) > 1 {
			batches = append(batches, got.id())
		}
		if len(tickets) > piled {
			break
		}
	}
	rc.none()
	slices.Sort(tickets)
	if len(ids) != piled+1 || len(slices.Compact(tickets)) != piled+1 {
		t.Errorf("%d ids of %d tickets, want %d of each", len(ids), len(slices.Compact(tickets)), piled+1)
	}
	if slices.Max(sizes) > 100 || len(sizes) > 5 {
		t.Errorf("%d events came in requests of %v", piled+1, sizes)
	}
	// A batch's id is its own, and each delivery stays one by itself.
	eventually(t, "all delivered", func() bool { return p.status().Deliveries.Delivered == piled+1 })
	list, _ := p.page(w, "?limit=500")
	for _, d := range list {
		deliveries[d.ID] = true
		if len(d.Attempts) != 1 || d.Attempts[0].N != 1 || d.State != "delivered" {
			t.Errorf("listed: %+v", d)
		}
	}
	if len(list) != piled+1 || slices.ContainsFunc(batches, func(id string) bool { return deliveries[id] }) || !deliveries[first.id()] {
		t.Errorf("%d deliveries are listed; batches %v, the first alone as %s", len(list), batches, first.id())
	}
	if got := p.metric(`benti_webhooks_attempts_total{result="delivered"}`); int(got) != len(sizes) {
		t.Errorf("%v attempts are counted, %d requests came", got, len(sizes))
	}
}

// When a shared request fails, each of its deliveries goes on by its own count.
func TestDeliveriesOfARequestThatFailsKeepTheirOwnCounts(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance", delivery: "max_per_webhook 1\nretry 300ms 300ms 300ms 300ms"})
	w := p.registerInstance(rc.url("/"), "create-ticket")
	byTicket := func() map[string]delivery {
		list, _ := p.page(w, "")
		all := make(map[string]delivery)
		for _, d := range list {
			all[between(string(d.Event), `DEFAULT-`, `"`)] = d
		}
		return all
	}
	const old, middle, young = "00000001", "00000002", "00000003"

	// One that has failed, and is due again while another is on its way.
	fail, busy := make(chan struct{}), make(chan struct{})
	rc.answer(func(w http.ResponseWriter, got *post) {
		if strings.Contains(got.body, old) {
			<-fail
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		<-busy
	})
	p.ticket()
	rc.next()
	p.ticket()
	close(fail)
	if got := rc.next().events(t); len(got) != 1 || !strings.HasSuffix(got[0].Body.Ticket, middle) {
		t.Fatalf("got %+v", got)
	}
	eventually(t, "a delivery that is due again", func() bool {
		at := byTicket()[old].NextAttemptAt
		return at != nil && at.Before(time.Now())
	})
	p.ticket()
	rc.answer(statuses(503, 200))
	close(busy)
	shared := rc.next()
	events := shared.events(t)
	if len(events) != 2 || shared.attempt() != 2 {
		t.Fatalf("attempt %d came with %d events: %s", shared.attempt(), len(events), shared.body)
	}
	ids := make(map[string]string)
	for _, e := range events {
		ids[e.Body.Ticket[len(e.Body.Ticket)-len(old):]] = e.ID
	}
	for len(ids) > 0 {
		for _, e := range rc.next().events(t) {
			ticket := e.Body.Ticket[len(e.Body.Ticket)-len(old):]
			if ids[ticket] != e.ID {
				t.Errorf("ticket %s came with id %s, and before with %s", ticket, e.ID, ids[ticket])
			}
			delete(ids, ticket)
		}
	}
	eventually(t, "all delivered", func() bool { return p.status().Deliveries.Delivered == 3 })
	var told []string
	for ticket, d := range byTicket() {
		var attempts []string
		for _, a := range d.Attempts {
			attempts = append(attempts, fmt.Sprint(a.N, *a.Status))
		}
		told = append(told, ticket+": "+strings.Join(attempts, ", "))
	}
	slices.Sort(told)
	if want := []string{old + ": 1 500, 2 503, 3 200", middle + ": 1 200", young + ": 1 503, 2 200"}; !slices.Equal(told, want) {
		t.Errorf("got %q, want %q", told, want)
	}
}

// Kills in the middle of a backlog, while requests are shared, lose nothing that was acknowledged, and what comes twice is
// the same event.
func TestKillsDuringABacklogOfInstanceEventsLoseNothing(t *testing.T) {
	t.Parallel()
	rounds := long(t, "BENTI_KILL_ROUNDS", 4)
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance\nproject acme", delivery: "max_per_webhook 2\nretry 100ms 100ms 100ms 100ms 100ms 100ms 100ms 100ms"})
	p.registerInstance(rc.url("/"), "create-ticket")
	var mu sync.Mutex
	events := make(map[string]string) // by ticket
	shared, twice := 0, 0
	rc.answer(func(_ http.ResponseWriter, got *post) {
		list := got.events(t)
		mu.Lock()
		for _, e := range list {
			if raw, again := events[e.Body.Ticket]; again {
				twice++
				if raw != e.raw {
					t.Errorf("an event came as %s and as %s", raw, e.raw)
				}
			}
			events[e.Body.Ticket] = e.raw
		}
		if len(list) > 1 {
			shared++
		}
		mu.Unlock()
		select { // so that there is a backlog
		case <-got.done:
		case <-time.After(30 * time.Millisecond):
		}
	})
	arrived := func(ids []string) (missing []string) {
		mu.Lock()
		defer mu.Unlock()
		return slices.DeleteFunc(ids, func(id string) bool { return events["ACME-"+strings.Repeat("0", 8-len(id))+id] != "" })
	}
	tr := startTraffic(p, 4)
	args := []string{"--config", p.writeConfig(), "--adapter", "caddyfile"}
	for range rounds {
		before := tr.count()
		eventually(t, "acknowledged tickets", func() bool { return tr.count() > before+50 })
		<-time.After(rand.N(300 * time.Millisecond))
		p.kill()
		p.launch(args...)
	}
	before := tr.count()
	eventually(t, "acknowledged tickets after the last kill", func() bool { return tr.count() >= before+100 })
	tr.end()
	eventually(t, "all acknowledged events", func() bool { return len(arrived(tr.known())) == 0 })
	if len(tr.failures) > 0 {
		t.Errorf("%d calls failed, the first with %s", len(tr.failures), tr.failures[0])
	}
	eventually(t, "a store that owes nothing", func() bool {
		d := p.status().Deliveries
		return d != nil && d.Pending+d.Delivering == 0
	})
	mu.Lock()
	defer mu.Unlock()
	if forgotten := up.created() - len(events) - len(p.inDoubt()); forgotten > 0 {
		t.Errorf("%d tickets were created whose events neither came nor are in doubt", forgotten)
	}
	if shared == 0 {
		t.Error("no request carried several events")
	}
	t.Logf("%d kills: %d tickets acknowledged, 0 of these lost, %d requests carried several events, %d events came twice", rounds, tr.count(), shared, twice)
}
