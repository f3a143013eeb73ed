package main

import (
	"context"
	"fmt"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

// Paths of requests: one that matches no row of the endpoint table, one that matches a row nobody subscribed to, and one
// of which a webhook wants to hear.
const (
	unmatched    = "/v1/sessions"
	unsubscribed = "/v1/users"
	wanted       = "/v1/tickets"
)

// sites are the proxies of the case.
type sites struct {
	plain, sync, async, syncLive, asyncLive *proxy
	receivers                               *receivers
}

// contender is one way of asking one of the sites.
type contender struct {
	name  string
	proxy *proxy
	addr  string
	path  string
	live  bool // deliveries arrive, and are waited for after each round
}

// Contenders, by their place in the list.
const (
	plain = iota
	plainBeside
	noRow
	nobody
	wantedSync
	wantedAsync
)

func (s *sites) contenders() []contender {
	return []contender{
		{"plain reverse_proxy", s.plain, s.plain.addr, wanted, false},
		{"plain, in the process of the next three", s.sync, s.sync.beside, wanted, false},
		{"matches no row", s.sync, s.sync.addr, unmatched, false},
		{"matched, nobody subscribed", s.sync, s.sync.addr, unsubscribed, false},
		{"wanted, sync, deliveries at rest", s.sync, s.sync.addr, wanted, false},
		{"wanted, async, deliveries at rest", s.async, s.async.addr, wanted, false},
		{"wanted, sync, delivered", s.syncLive, s.syncLive.addr, wanted, true},
		{"wanted, async, delivered", s.asyncLive, s.asyncLive.addr, wanted, true},
	}
}

// runProxy measures what the handler costs the requests. "At rest" means that the one webhook's receiver never answers:
// a single attempt hangs for as long as the case takes, and no other is made; what is measured is the way of an event
// into the store. A process with an open store has more memory in use, and so fewer garbage collections, than one without;
// hence the second plain site. In the rounds with deliveries, which go to a receiver on the same machine, the CPU is that of
// requests and deliveries, and rounds end for the client when it has its answers.
func runProxy(ctx context.Context, b *bench) error {
	s, err := b.startSites(ctx)
	if err != nil {
		return err
	}
	defer s.stop()
	disk, err := syncLatencies(b.dir, pick(b, 2000, 50))
	if err != nil {
		return err
	}
	for _, conns := range []int{1, 16, 64} {
		results, err := contest(ctx, pick(b, 9, 1), s.variants(conns, pick(b, 300*time.Millisecond, 50*time.Millisecond)))
		if err != nil {
			return err
		}
		if err := s.tell(b, conns, results, quantile(disk, 0.5)); err != nil {
			return err
		}
		if err := s.profile(ctx, b, conns); err != nil {
			return err
		}
	}
	return s.paced(ctx, b)
}

func (b *bench) startSites(ctx context.Context) (*sites, error) {
	s := new(sites)
	var err error
	if s.receivers, err = b.startReceivers(ctx, receiverRole{Hosts: 1}); err != nil {
		return nil, err
	}
	if s.plain, err = b.startProxy(ctx, proxyConfig{plain: true}); err != nil {
		return nil, err
	}
	for _, site := range []struct {
		proxy            **proxy
		durability, path string
	}{
		{&s.sync, "sync", hangs}, {&s.async, "async", hangs}, {&s.syncLive, "sync", "sync"}, {&s.asyncLive, "async", "async"},
	} {
		data, err := b.data()
		if err != nil {
			return nil, err
		}
		err = seed(data, func(st *badger.Store) error {
			return addWebhooks(ctx, st, []store.Webhook{newWebhook("default", 0, s.receivers.port, site.path)})
		})
		if err != nil {
			return nil, err
		}
		*site.proxy, err = b.startProxy(ctx, proxyConfig{data: data, handler: "durability " + site.durability, delivery: "timeout 10m"})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// stop does not wait: the hanging attempts would be waited for.
func (s *sites) stop() {
	for _, p := range []*proxy{s.plain, s.sync, s.async, s.syncLive, s.asyncLive} {
		p.kill()
	}
	s.receivers.kill()
}

func (s *sites) variants(conns int, d time.Duration) []variant {
	var vs []variant
	for _, c := range s.contenders() {
		vs = append(vs, variant{c.name, func(ctx context.Context) (sample, error) {
			return s.round(ctx, c, func(t target) (sample, error) { return t.closed(ctx, conns, d) })
		}})
	}
	return vs
}

// round measures a contender once, and fails if a delivery is missing.
func (s *sites) round(ctx context.Context, c contender, load func(target) (sample, error)) (sample, error) {
	if err := s.receivers.reset(); err != nil {
		return sample{}, err
	}
	return metered(c.proxy.process, func() (sample, error) {
		got, err := load(target{addr: c.addr, path: c.path})
		if err != nil || !c.live {
			return got, err
		}
		group := "sync"
		if c.proxy == s.asyncLive {
			group = "async"
		}
		_, err = s.receivers.await(ctx, group, got.n)
		return got, err
	})
}

func (s *sites) tell(b *bench, conns int, results map[string]rounds, disk time.Duration) error {
	t := table{
		title: fmt.Sprintf("Through the proxy, %d connections", conns),
		head:  []string{"variant", "requests/s", "ratio", "p50", "p99", "CPU s / 100 k", "ratio", "RssAnon"},
	}
	cs := s.contenders()
	base := results[cs[plain].name]
	for _, c := range cs {
		r := results[c.name]
		memory, err := c.proxy.rssAnon()
		if err != nil {
			return err
		}
		t.add(c.name, rateText(r.rate()), r.ratio(base, sample.rate).String(), timeText(r.quantile(0.5)), timeText(r.quantile(0.99)),
			cpuText(r.cpuEach()), ratioText(float64(r.cpuEach())/float64(base.cpuEach())), sizeText(memory))
	}
	t.note("The disk's own append and fdatasync of 600 bytes: p50 %s.", timeText(disk))
	least := func(name string, who, against int, wanted float64) {
		got := results[cs[who].name].ratio(results[cs[against].name], sample.rate)
		b.goal(fmt.Sprintf("%s, %d connections", name, conns), fmt.Sprintf("≥ %.2f", wanted), got.String(), got.median >= wanted)
	}
	least("1 matches no row", noRow, plainBeside, 0.99)
	least("1 nobody subscribed", nobody, plainBeside, 0.98)
	switch conns {
	case 1:
		alone, limit := results[cs[wantedSync].name].quantile(0.5), base.quantile(0.5)+disk*13/10
		b.goal("2 sync alone, p50", "≤ "+timeText(limit)+" (plain + 1.3 fdatasync)", timeText(alone), alone <= limit)
	case 16:
		least("2 sync", wantedSync, plain, 0.78)
	case 64:
		least("2 sync", wantedSync, plain, 0.92)
	}
	least("2 async", wantedAsync, plain, 0.97)
	return t.write(b.out)
}

// paced compares latencies at a rate that all of them keep up with.
func (s *sites) paced(ctx context.Context, b *bench) error {
	rate, conns := pick(b, 2000.0, 200.0), 32
	d := pick(b, 1500*time.Millisecond, 100*time.Millisecond)
	var vs []variant
	cs := s.contenders()
	for _, c := range cs {
		vs = append(vs, variant{c.name, func(ctx context.Context) (sample, error) {
			return s.round(ctx, c, func(t target) (sample, error) { return t.open(ctx, conns, rate, d) })
		}})
	}
	results, err := contest(ctx, pick(b, 3, 1), vs)
	if err != nil {
		return err
	}
	t := table{
		title: fmt.Sprintf("Through the proxy, %.0f requests/s over %d connections", rate, conns),
		head:  []string{"variant", "p50", "ratio", "p99", "ratio", "CPU s / 100 k", "ratio"},
	}
	base := results[cs[plain].name]
	for _, c := range cs {
		r := results[c.name]
		of := func(q float64) string {
			return r.ratio(base, func(s sample) float64 { return float64(s.quantile(q)) }).String()
		}
		t.add(c.name, timeText(r.quantile(0.5)), of(0.5), timeText(r.quantile(0.99)), of(0.99),
			cpuText(r.cpuEach()), ratioText(float64(r.cpuEach())/float64(base.cpuEach())))
	}
	return t.write(b.out)
}

func (s *sites) profile(ctx context.Context, b *bench, conns int) error {
	for i, name := range map[int]string{plain: "plain", noRow: "unmatched", wantedSync: "sync", wantedAsync: "async"} {
		c := s.contenders()[i]
		err := b.profile(ctx, c.proxy, fmt.Sprintf("proxy-%s-%d", name, conns), func() error {
			_, err := target{addr: c.addr, path: c.path}.closed(ctx, conns, 4*time.Second)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
