package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

// The two webhooks of the case: that of the receiver which was down, which takes a millisecond for each delivery, so that it
// shows how many are in flight, and another one.
const (
	comesBack = isBusy
	neighbour = "neighbour"
)

// outageRate is that of fresh events per second, half of them of each webhook.
const outageRate = 200.0

// runOutage has a receiver come back to what piled up for it, while fresh events come for it and for another.
func runOutage(ctx context.Context, b *bench) error {
	calm, err := b.outage(ctx, 0)
	if err != nil {
		return fmt.Errorf("without an outage: %w", err)
	}
	piled := pick(b, 100_000, 1000)
	after, err := b.outage(ctx, piled)
	if err != nil {
		return err
	}
	if err := after.tellCourse(b, piled); err != nil {
		return err
	}
	return after.tellFresh(b, calm)
}

// tellCourse shows how the backlog came.
func (r recovered) tellCourse(b *bench, piled int) error {
	t := table{
		title: fmt.Sprintf("A receiver comes back to %d deliveries", piled),
		head:  []string{"since the first delivery", "deliveries/s", "in flight at most"},
	}
	course := r.backlog.Course
	begin := slices.IndexFunc(course, func(s step) bool { return s.Unique > 0 })
	for _, after := range []int{0, 1, 2, 5, 10, 20, 50, 100} {
		if i := begin + after; i < len(course) {
			at := time.Duration(after) * seriesStep
			t.add(timeText(at)+" to "+timeText(at+seriesStep), rateText(float64(course[i].Unique)/seriesStep.Seconds()), fmt.Sprint(course[i].MaxInFlight))
		}
	}
	ramp := r.backlog.Ramp
	for n := 1; n <= len(ramp); n *= 2 {
		t.note("When delivery %d came, %d were in flight.", n, ramp[n-1])
	}
	t.note("All of the backlog had arrived after %s.", timeText(r.took()))
	b.goal("7 paced: in flight at first, at most", "1, ≤ 8", fmt.Sprintf("%d, %d", ramp[0], r.backlog.MaxInFlight),
		ramp[0] == 1 && r.backlog.MaxInFlight <= 8)
	return t.write(b.out)
}

// tellFresh compares the fresh events with those when all is well.
func (r recovered) tellFresh(b *bench, calm recovered) error {
	t := table{title: "Fresh events meanwhile", head: []string{"of", "events", "p50", "p99", "longest"}}
	for _, row := range []struct {
		name string
		g    groupReport
	}{
		{"the same webhook", r.fresh},
		{"the same webhook, no outage", calm.fresh},
		{"another webhook", r.other},
		{"another webhook, no outage", calm.other},
	} {
		t.add(row.name, fmt.Sprint(row.g.Unique), timeText(row.g.P50), timeText(row.g.P99), timeText(row.g.Max))
	}
	t.note("%.0f events/s, half of each webhook, from when the receiver is back.", outageRate)
	b.goal("7 fresh events of the webhook, p50", "≤ 0.1 of the recovery", fmt.Sprintf("%s of %s", timeText(r.fresh.P50), timeText(r.took())),
		r.fresh.P50 <= r.took()/10)
	ratio := float64(r.other.P99) / float64(calm.other.P99)
	b.goal("7 another webhook, p99", "≤ 1.5 x without outage", ratioText(ratio), ratio <= 1.5)
	return t.write(b.out)
}

// recovered is what the receivers got.
type recovered struct{ backlog, fresh, other groupReport }

// took is the time from the first delivery of the backlog to the last.
func (r recovered) took() time.Duration { return r.backlog.Last.Sub(r.backlog.First) }

// outage starts a proxy with so many deliveries due to a receiver that is down, then starts the receiver and has fresh
// events come.
func (b *bench) outage(ctx context.Context, piled int) (recovered, error) {
	others, err := b.startReceivers(ctx, receiverRole{Hosts: 1})
	if err != nil {
		return recovered{}, err
	}
	defer others.kill()
	port, err := freePort(ctx)
	if err != nil {
		return recovered{}, err
	}
	data, err := b.data()
	if err != nil {
		return recovered{}, err
	}
	err = seed(data, func(st *badger.Store) error {
		down := newWebhook(tenant(0), 0, port, comesBack)
		if piled > 0 {
			down.Status = store.Failing
		}
		ws := []store.Webhook{down, newWebhook(tenant(1), 0, others.port, neighbour)}
		if err := addWebhooks(ctx, st, ws); err != nil {
			return err
		}
		return addBacklog(ctx, st, ws[:1], piled, time.Now().Add(-time.Minute))
	})
	if err != nil {
		return recovered{}, err
	}
	p, err := b.startProxy(ctx, proxyConfig{data: data, handler: tenantHandler})
	if err != nil {
		return recovered{}, err
	}
	defer p.kill()
	return b.comeBack(ctx, p, others, port, piled)
}

func (b *bench) comeBack(ctx context.Context, p *proxy, others *receivers, port, piled int) (r recovered, err error) {
	if piled > 0 {
		// Time for the proxy to find that the receiver is down.
		if err := sleep(ctx, time.Second); err != nil {
			return r, err
		}
	}
	rs, err := b.startReceivers(ctx, receiverRole{Hosts: 1, Port: port})
	if err != nil {
		return r, err
	}
	defer rs.kill()
	load, err := target{addr: p.addr, path: wanted, tenants: 2}.open(ctx, 32, outageRate, pick(b, 10*time.Second, 2*time.Second))
	if err != nil {
		return r, err
	}
	// Together, since the tenants take turns on each connection, and so have about half of the requests each.
	if r.other, err = others.awaitTogether(ctx, rs, load.n+piled); err != nil {
		return r, err
	}
	all, err := rs.report(command{Full: true})
	if err != nil {
		return r, err
	}
	r.fresh, r.backlog = all.Groups[comesBack], all.Groups[comesBack+"+backlog"]
	return r, nil
}

// awaitTogether waits until two processes of receivers have got n deliveries, and returns the report of the first one's
// only group.
func (rs *receivers) awaitTogether(ctx context.Context, other *receivers, n int) (groupReport, error) {
	const patience = 30 * time.Second
	got, moved := 0, time.Now()
	for {
		sum := 0
		for _, each := range []*receivers{rs, other} {
			r, err := each.report(command{})
			if err != nil {
				return groupReport{}, err
			}
			for _, g := range r.Groups {
				sum += g.Unique
			}
		}
		switch {
		case sum == n:
			r, err := rs.report(command{Full: true})
			return r.Groups[neighbour], err
		case sum > got:
			got, moved = sum, time.Now()
		case time.Since(moved) > patience:
			return groupReport{}, fmt.Errorf("%d of %d deliveries came, none for %v: %w", sum, n, patience, errLost)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return groupReport{}, err
		}
	}
}
