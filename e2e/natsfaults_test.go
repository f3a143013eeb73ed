package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWebhookRegisteredOnOneInstanceIsLiveOnAll(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	ps := newCluster(t, 1).instances(up, 2, config{})
	w := ps[0].register("ticket", rc.url("/"))
	registered := time.Now()
	eventually(t, "the webhook on the other instance", func() bool { return len(ps[1].webhooks()) == 1 })
	if took := time.Since(registered); took > time.Second {
		t.Errorf("live on the other instance after %s", took)
	}
	id := ticketID(ps[1])
	got := rc.next()
	got.check(t, w.secret)
	if !strings.HasPrefix(got.body, `{"id":`+id+",") {
		t.Errorf("got %s, want the event of ticket %s", got.body, id)
	}
	for _, p := range ps {
		p.settled(w, "delivered")
	}
	rc.none()
}

// While NATS is gone events go to the reserve, as on a full disk, and the site goes on.
func TestEventsGoToTheReserveWhileNATSIsGone(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	c := newCluster(t, 1)
	p := c.instances(up, 1, config{})[0]
	w := p.register("ticket", rc.url("/"))
	c.kill(c.servers[0])
	const tickets = 5
	for range tickets {
		p.ticket()
	}
	if got := p.status().InReserve; got != tickets {
		t.Errorf("%d events are in the reserve, want %d", got, tickets)
	}
	p.kill() // and they survive the process, which starts without NATS
	p.start()
	p.ticket()
	c.launch(c.servers[0])
	l := newLedger(rc)
	l.await(t, []string{"/"}, []string{"1", "2", "3", "4", "5", "6"}, 60*time.Second)
	p.emptied()
	eventually(t, "deliveries that are delivered", func() bool {
		list, _ := p.page(w, "")
		for _, d := range list {
			if d.State != "delivered" {
				return false
			}
		}
		return len(list) == tickets+1
	})
}

// Nobody would look at a store that says that it is open, even if there are no calls that find that it is not.
func TestNATSThatIsGoneIsToldWithoutTraffic(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	c := newCluster(t, 1)
	p := c.instances(up, 1, config{})[0]
	p.register("ticket", rc.url("/"))
	c.kill(c.servers[0])
	if reason := p.turns("failed").State.Reason; !strings.Contains(reason, "NATS") {
		t.Errorf("the reason is %q", reason)
	}
	c.launch(c.servers[0])
	p.turns("open")
	p.ticket()
	newLedger(rc).await(t, []string{"/"}, []string{"1"}, 20*time.Second)
}

// A reload with other servers, here one more, goes on with the reserve: a call that is still under way under the former
// configuration does not keep it from the new one.
func TestReloadWithOtherServersKeepsTheReserve(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	c := newCluster(t, 1)
	p := c.instances(up, 1, config{})[0]
	w := p.register("ticket", rc.url("/"))
	came, goOn, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
	up.answer(func(w http.ResponseWriter, r *http.Request) {
		close(came)
		select {
		case <-goOn:
		case <-t.Context().Done():
		}
		up.usual(w, r)
	})
	go func() {
		defer close(answered)
		if got, err := p.do(t.Context(), http.MethodPost, "/v1/tickets", `{}`); err != nil || got.status != http.StatusCreated {
			t.Errorf("the call of the former configuration was answered %+v, %v", got, err)
		}
	}()
	<-came
	up.answer(nil)

	p.config.caddyfile = strings.Replace(p.config.caddyfile, "url nats:", fmt.Sprintf("url nats://127.0.0.1:%d nats:", freePort(t)), 1)
	p.reload(p.config)
	c.kill(c.servers[0])
	p.ticket()
	if got := p.status(); got.InReserve != 1 || got.InMemory != 0 {
		t.Errorf("%d events are in the reserve and %d in memory, want 1 and 0", got.InReserve, got.InMemory)
	}
	close(goOn)
	<-answered
	c.launch(c.servers[0])
	l := newLedger(rc)
	l.await(t, []string{"/"}, []string{"1", "2"}, 60*time.Second)
	p.settled(w, "delivered")
}

func TestNATSThatIsNotThereDoesNotStopTheSite(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := newProxy(t, up, config{})
	p.config.caddyfile = strings.Replace(standardCaddyfile, "store badger DATA STORE",
		fmt.Sprintf("store nats {\nurl nats://127.0.0.1:%d\ndir DATA\nSTORE\n}", freePort(t)), 1)
	begun := time.Now()
	p.start()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the start took %s", took)
	}
	p.must(http.StatusCreated, http.MethodPost, "/v1/tickets", `{}`)
	p.turns("failed")
}

// The promise of several instances: whatever one fault does, no acknowledged event is lost, and the others go on
// in time. BENTI_NATS_ROUNDS is how often each fault happens.
func TestFaultsAmongInstancesLoseNothingAcknowledged(t *testing.T) {
	up, rc := newUpstream(t), newReceiver(t)
	c := newCluster(t, 3)
	f := &faults{t: t, cluster: c, ledger: newLedger(rc), proxies: c.instances(up, 3, config{delivery: "retry 1s 1s 1s 1s 1s 1s 1s 1s 1s"})}
	const webhooks = 12
	for i := range webhooks {
		path := fmt.Sprint("/", i)
		f.proxies[0].register("ticket", rc.url(path))
		f.paths = append(f.paths, path)
	}
	for _, p := range f.proxies {
		eventually(t, "all webhooks everywhere", func() bool { return len(p.webhooks()) == webhooks })
	}
	rounds := long(t, "BENTI_NATS_ROUNDS", 1)
	for _, fault := range []struct {
		name string
		do   func(round int)
	}{
		{"an instance is killed", f.killInstance},
		{"a NATS server is killed", f.killServer},
		{"the server that leads the stream is killed", f.killLeader},
		{"an instance hangs", f.hangInstance},
		{"everything is killed", f.killAll},
	} {
		before, longest, tickets := f.ledger.duplicates, f.longest, f.tickets
		f.longest = 0
		for round := range rounds {
			f.round(func() { fault.do(round) })
		}
		t.Logf("%d x %s: %d events to %d webhooks acknowledged, 0 lost, %d deliveries came twice, all went on within %s",
			rounds, fault.name, f.tickets-tickets, webhooks, f.ledger.duplicates-before, f.longest.Round(time.Millisecond))
		f.longest = max(f.longest, longest)
	}
	f.checkTotals(webhooks)
}

// ticketID creates a ticket and returns its id.
func ticketID(p *proxy) string {
	p.t.Helper()
	return strings.Trim(p.ticket(), `{}id:"`)
}

const (
	// instanceLimit is how long the others may take to go on with what a lost instance delivered.
	instanceLimit = 10 * time.Second
	// serverLimit is the same for a lost NATS server: the others elect a new leader of the stream, which takes up to 9 s, and as long again
	// if they disagree. Without that it is under 10 s.
	serverLimit = 20 * time.Second
)

// faults is three instances on three servers, under traffic.
type faults struct {
	t       *testing.T
	cluster *cluster
	proxies []*proxy
	paths   []string
	ledger  *ledger
	tickets int           // acknowledged
	longest time.Duration // from a fault until an event of after it had come to all webhooks
}

// round has a fault happen in the middle of traffic, and waits until all that was acknowledged has come.
func (f *faults) round(fault func()) {
	f.t.Helper()
	var trs []*traffic
	for _, p := range f.proxies {
		trs = append(trs, startPaced(p, 2, 10*time.Millisecond, `{}`))
	}
	f.flowing(trs)
	fault()
	f.flowing(trs)
	var events []string
	for _, tr := range trs {
		tr.end()
		events = append(events, tr.known()...)
		if len(tr.failures) > 0 {
			f.t.Errorf("%d calls failed, the first with %s", len(tr.failures), tr.failures[0])
		}
	}
	f.tickets += len(events)
	f.ledger.await(f.t, f.paths, events, 90*time.Second)
}

// flowing waits for some acknowledged tickets of each client.
func (f *faults) flowing(trs []*traffic) {
	f.t.Helper()
	for _, tr := range trs {
		before := tr.count()
		eventually(f.t, "acknowledged tickets", func() bool { return tr.count() >= before+20 })
	}
}

// goesOn measures how long it takes until an event that p takes now has come to all webhooks.
func (f *faults) goesOn(p *proxy, limit time.Duration) {
	f.t.Helper()
	begun := time.Now()
	id := ticketID(p)
	f.tickets++
	f.ledger.await(f.t, f.paths, []string{id}, 60*time.Second)
	took := time.Since(begun)
	f.longest = max(f.longest, took)
	if took > limit {
		f.t.Errorf("it took %s until all webhooks were delivered to again, more than %s", took, limit)
	}
}

func (f *faults) killInstance(round int) {
	lost, other := f.proxies[round%3], f.proxies[(round+1)%3]
	lost.kill()
	f.goesOn(other, instanceLimit)
	lost.start()
	lost.turns("open")
}

func (f *faults) killServer(round int) { f.loseServer(f.cluster.servers[round%3]) }

func (f *faults) killLeader(int) { f.loseServer(f.cluster.leader()) }

func (f *faults) loseServer(s *natsServer) {
	f.cluster.kill(s)
	for _, p := range f.proxies {
		f.goesOn(p, serverLimit)
	}
	f.cluster.launch(s)
	f.cluster.await()
}

func (f *faults) hangInstance(round int) {
	hung, other := f.proxies[round%3], f.proxies[(round+1)%3]
	hung.signal(syscall.SIGSTOP)
	f.goesOn(other, instanceLimit)
	hung.signal(syscall.SIGCONT)
	f.goesOn(hung, instanceLimit)
}

func (f *faults) killAll(int) {
	for _, p := range f.proxies {
		p.kill()
	}
	for _, s := range f.cluster.servers {
		f.cluster.kill(s)
	}
	for _, s := range f.cluster.servers {
		f.cluster.launch(s)
	}
	f.cluster.await()
	for _, p := range f.proxies {
		p.start()
		p.turns("open")
	}
	f.goesOn(f.proxies[0], serverLimit)
}

// checkTotals wants all instances to agree on what became of everything.
func (f *faults) checkTotals(webhooks int) {
	f.t.Helper()
	for _, p := range f.proxies {
		eventually(f.t, "an instance that owes nothing", func() bool {
			d := p.status().Deliveries
			return d != nil && d.Pending+d.Delivering == 0
		})
		d := p.status().Deliveries
		if d.Delivered != d.Enqueued || d.Enqueued < uint64(f.tickets*webhooks) {
			f.t.Errorf("an instance counts %+v with %d events to %d webhooks", *d, f.tickets, webhooks)
		}
	}
}
