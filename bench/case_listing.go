package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/bentihooks/bentihooks/store/badger"
)

// pageGoal is what a page of a listing may take.
const pageGoal = 50 * time.Millisecond

// listed is a proxy beside whose store somebody looks through listings.
type listed struct {
	*proxy
	*archive
	rand    *rand.Rand
	repeats int
	site    *http.Client
}

// look is one kind of answer that is asked for.
type look struct {
	name string
	// path is asked for repeats times, and made anew each time, so that nothing is asked for twice.
	path func() string
	// onSite has it asked for at the site, not at the admin endpoint.
	onSite bool
	// once has it asked for once only.
	once bool
	// through has all pages asked for, one after the other, to the end; repeats does not count then.
	through bool
	// wanted is how many deliveries all of these hold together.
	wanted int
}

// looked is how long its answers took.
type looked struct {
	latencies []time.Duration
	found     int
}

// runListing has a million deliveries listed, once of a thousand webhooks and once of ten thousand, by what operators and
// callers use: the admin endpoint, the subscription API and the dashboard. Then it replays dead deliveries.
func runListing(ctx context.Context, b *bench) error {
	for _, webhooks := range []int{pick(b, 1000, 30), pick(b, 10_000, 100)} {
		if err := b.listing(ctx, webhooks); err != nil {
			return fmt.Errorf("%d webhooks: %w", webhooks, err)
		}
	}
	return b.replaying(ctx)
}

func (b *bench) listing(ctx context.Context, webhooks int) error {
	data, err := b.data()
	if err != nil {
		return err
	}
	a := newArchive(webhooks, pick(b, 1_000_000, 3000))
	if err := seed(data, func(st *badger.Store) error { return a.add(ctx, st) }); err != nil {
		return err
	}
	p, err := b.startProxy(ctx, proxyConfig{data: data, handler: tenantHandler, dashboard: true})
	if err != nil {
		return err
	}
	defer p.kill()
	l := &listed{
		proxy: p, archive: a, repeats: pick(b, 50, 2),
		rand: rand.New(rand.NewPCG(1, uint64(webhooks))), //nolint:gosec // the same in every run
		site: &http.Client{Transport: new(http.Transport)},
	}
	defer l.site.CloseIdleConnections()
	t := &table{
		title: fmt.Sprintf("Listing %d deliveries of %d webhooks", a.total, webhooks),
		head:  []string{"asked for", "answers", "p50", "p99", "max"},
	}
	if err := p.awaitStore(ctx); err != nil {
		return err
	}
	first := look{name: "the first page, just after the start", path: func() string { return adminDeliveries }, once: true}
	got, err := l.measure(ctx, first)
	if err != nil {
		return err
	}
	got.tell(t, first)
	if err := p.settle(ctx); err != nil {
		return err
	}
	worst, slow := time.Duration(0), ""
	for _, of := range l.looks() {
		got, err := l.measure(ctx, of)
		if err != nil {
			return fmt.Errorf("%s: %w", of.name, err)
		}
		got.tell(t, of)
		if p99 := quantile(got.latencies, 0.99); p99 > worst {
			worst, slow = p99, of.name
		}
	}
	if err := b.profile(ctx, p, fmt.Sprintf("listing-%d", webhooks), func() error { return l.profiled(ctx) }); err != nil {
		return err
	}
	b.goal(fmt.Sprintf("listing, %d webhooks", webhooks), "each p99 < 50 ms", fmt.Sprintf("%s (%s)", timeText(worst), slow), worst < pageGoal)
	return t.write(b.out)
}

// profiled asks for everything once more.
func (l *listed) profiled(ctx context.Context) error {
	for _, of := range l.looks() {
		if _, err := l.measure(ctx, of); err != nil {
			return err
		}
	}
	return nil
}

func (g looked) tell(t *table, of look) {
	name := of.name
	if of.through {
		var all time.Duration
		for _, took := range g.latencies {
			all += took
		}
		name += fmt.Sprintf(": %d found in %s", g.found, timeText(all))
	}
	t.add(name, fmt.Sprint(len(g.latencies)), timeText(quantile(g.latencies, 0.5)), timeText(quantile(g.latencies, 0.99)), timeText(quantile(g.latencies, 1)))
}

// measure asks one question after the other.
func (l *listed) measure(ctx context.Context, of look) (looked, error) {
	var g looked
	path := of.path()
	for {
		begun := time.Now()
		text, err := l.ask(ctx, of, path)
		if err != nil {
			return g, err
		}
		g.latencies = append(g.latencies, time.Since(begun))
		if !of.through {
			if of.once || len(g.latencies) == l.repeats {
				return g, nil
			}
			path = of.path()
			continue
		}
		var page struct {
			Data []json.RawMessage
			Next string
		}
		if err := json.Unmarshal(text, &page); err != nil {
			return g, fmt.Errorf("reading a page: %w", err)
		}
		if g.found += len(page.Data); page.Next == "" {
			break
		}
		path = of.path() + "&cursor=" + url.QueryEscape(page.Next)
	}
	if g.found != of.wanted {
		return g, fmt.Errorf("%d deliveries are listed, want %d: %w", g.found, of.wanted, errLost)
	}
	return g, nil
}

func (l *listed) ask(ctx context.Context, of look, path string) ([]byte, error) {
	if !of.onSite {
		return l.get(ctx, path)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.addr+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Tenant", l.tenantAsked)
	response, err := l.site.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("asking for %s: status %d: %.200s", path, response.StatusCode, body)
	}
	return body, err
}

// settle waits until the proxy has done what there is to do after its start, such as reading when something is due.
func (p *proxy) settle(ctx context.Context) error {
	const watch = 500 * time.Millisecond
	for begun := time.Now(); time.Since(begun) < 30*time.Second; {
		s, err := metered(p.process, func() (sample, error) { return sample{}, sleep(ctx, watch) })
		if err != nil || s.cpu < watch/20 {
			return err
		}
	}
	return nil
}

// awaitStore waits until the store is open.
func (p *proxy) awaitStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		_, err := p.get(ctx, "/benti/deliveries?limit=1&webhook=00000000-0000-4000-8000-000000000000")
		if err == nil {
			return nil
		}
		if waited := sleep(ctx, 10*time.Millisecond); waited != nil {
			return errors.Join(err, waited)
		}
	}
}
