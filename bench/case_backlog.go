package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

// backlogProject has the webhooks of a backlog; requests are of other projects.
const backlogProject = "backlog"

// ballast is what is in a store besides the webhooks that traffic goes to.
type ballast struct {
	name     string
	webhooks int
	each     int // pending deliveries of each
	due      time.Duration
}

func (b *bench) ballasts() (empty, full, many ballast) {
	webhooks := pick(b, 1000, 100)
	return ballast{name: "empty store"},
		ballast{name: fmt.Sprintf("%d pending retries", webhooks*pick(b, 1000, 50)), webhooks: webhooks, each: pick(b, 1000, 50), due: time.Hour},
		ballast{name: fmt.Sprintf("%d webhooks", pick(b, 10_000, 500)), webhooks: pick(b, 10_000, 500)}
}

// add lays the ballast into a store.
func (l ballast) add(ctx context.Context, st store.Store, port int) error {
	ws := make([]store.Webhook, l.webhooks)
	for i := range ws {
		ws[i] = newWebhook(fmt.Sprint(backlogProject, i/1000), i%backlogHosts, port, fmt.Sprintf("%s/%d", fresh, i))
	}
	if err := addWebhooks(ctx, st, ws); err != nil {
		return err
	}
	if l.each == 0 {
		return nil
	}
	return addBacklog(ctx, st, ws, l.each, time.Now().Add(l.due))
}

const (
	backlogHosts = 100
	tenants      = 16 // projects of one webhook each that requests are spread over
)

func (b *bench) startBallast(ctx context.Context, l ballast) (*scene, error) {
	rs, err := b.startReceivers(ctx, receiverRole{Hosts: backlogHosts})
	if err != nil {
		return nil, err
	}
	data, err := b.data()
	if err != nil {
		return nil, err
	}
	err = seed(data, func(st *badger.Store) error {
		ws := make([]store.Webhook, tenants)
		for n := range ws {
			ws[n] = newWebhook(tenant(n), n, rs.port, fresh)
		}
		return errors.Join(addWebhooks(ctx, st, ws), l.add(ctx, st, rs.port))
	})
	if err != nil {
		return nil, err
	}
	p, err := b.startProxy(ctx, proxyConfig{data: data, handler: tenantHandler})
	if err != nil {
		return nil, err
	}
	return &scene{proxy: p, receivers: rs, target: target{addr: p.addr, path: wanted, tenants: tenants}, group: fresh, fanOut: 1}, nil
}

// atRest is how a proxy is that has nothing to do.
type atRest struct {
	start  time.Duration
	memory int64
	busy   float64 // share of a core
}

// runBacklog compares traffic through a proxy with an empty store to that with a full one, whose deliveries are all
// due in an hour, and to that with many webhooks.
func runBacklog(ctx context.Context, b *bench) error {
	empty, full, many := b.ballasts()
	ballasts := []ballast{empty, full, many}
	var variants []variant
	scenes := make(map[string]*scene)
	rest := make(map[string]atRest)
	for _, l := range ballasts {
		s, err := b.startBallast(ctx, l)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		defer s.stop()
		scenes[l.name] = s
		if rest[l.name], err = b.rest(ctx, s.proxy); err != nil {
			return err
		}
		variants = append(
			variants, variant{l.name, func(ctx context.Context) (sample, error) {
				got, err := s.saturate(ctx, pick(b, 6000, 300))
				return got.sample, err
			}},
			variant{l.name + unsubscribed, func(ctx context.Context) (sample, error) {
				t := target{addr: s.proxy.addr, path: unsubscribed}
				return t.closed(ctx, 64, pick(b, 300*time.Millisecond, 50*time.Millisecond))
			}},
		)
	}
	results, err := contest(ctx, pick(b, 5, 1), variants)
	if err != nil {
		return err
	}
	err = b.profile(ctx, scenes[full.name].proxy, "backlog", func() error {
		_, err := scenes[full.name].saturate(ctx, 20_000)
		return err
	})
	if err != nil {
		return err
	}
	return b.tellBeside(ballasts, scenes, rest, results)
}

// rest waits until a proxy has settled and watches it do nothing.
func (b *bench) rest(ctx context.Context, p *proxy) (atRest, error) {
	r := atRest{start: p.served.Sub(p.begun)}
	watch := pick(b, 4*time.Second, 100*time.Millisecond)
	if err := sleep(ctx, watch/2); err != nil {
		return r, err
	}
	s, err := metered(p.process, func() (sample, error) { return sample{}, sleep(ctx, watch) })
	if err != nil {
		return r, err
	}
	r.busy = s.cpu.Seconds() / watch.Seconds()
	r.memory, err = p.rssAnon()
	return r, err
}

func (b *bench) tellBeside(ballasts []ballast, scenes map[string]*scene, rest map[string]atRest, results map[string]rounds) error {
	t := table{
		title: "Traffic beside a backlog",
		head:  []string{"in the store", "serves after", "RssAnon at rest", "CPU at rest", "stored and delivered/s", "ratio", "not subscribed, requests/s", "ratio", "RssAnon then"},
	}
	base := ballasts[0].name
	for _, l := range ballasts {
		memory, err := scenes[l.name].proxy.rssAnon()
		if err != nil {
			return err
		}
		r, traffic, passing := rest[l.name], results[l.name], results[l.name+unsubscribed]
		t.add(l.name, timeText(r.start), sizeText(r.memory), fmt.Sprintf("%.1f %%", 100*r.busy),
			rateText(traffic.rate()), traffic.ratio(results[base], sample.rate).String(),
			rateText(passing.rate()), passing.ratio(results[base+unsubscribed], sample.rate).String(), sizeText(memory))
		if l.name == base {
			continue
		}
		ratio, hot := traffic.ratio(results[base], sample.rate), passing.ratio(results[base+unsubscribed], sample.rate)
		b.goal("6 "+l.name+": rate", "≥ 0.90 of the empty store", ratio.String(), ratio.median >= 0.9)
		b.goal("6 "+l.name+": hot path", "≥ 0.98", hot.String(), hot.median >= 0.98)
		b.goal("6 "+l.name+": memory", "≤ 200 MiB", sizeText(memory), memory <= 200<<20)
		b.goal("6 "+l.name+": CPU at rest", "< 1 %", fmt.Sprintf("%.1f %%", 100*r.busy), r.busy < 0.01)
		b.goal("6 "+l.name+": start", "≤ 2 s", timeText(r.start), r.start <= 2*time.Second)
	}
	t.note("The pending retries are due in an hour, and of other webhooks than those of the traffic, which is saturating.")
	return t.write(b.out)
}
