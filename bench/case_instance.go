package main

import (
	"context"
	"fmt"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// instanceHandler has the time that a request was meant for, which is its creator, travel as the content of a reply.
const instanceHandler = tenantHandler + `
		source instance
		field reply.text creator`

// instanceLoad is one row: replies at a rate, or as fast as they are answered, to a receiver.
type instanceLoad struct {
	receiver string // its path
	rate     float64
	// alone leaves out the api webhook: eight requests in flight to a receiver that takes that long are fewer than come.
	alone bool
}

func (l instanceLoad) String() string {
	name := "answers at once"
	if l.receiver == isFar {
		name = "answers after " + farness.String()
	}
	if l.rate == 0 {
		return name + ", saturated"
	}
	return fmt.Sprintf("%s, %.0f/s", name, l.rate)
}

// runInstance measures what one instance webhook makes of the events of one kind of call, against an api webhook, which gets
// a request for each.
func runInstance(ctx context.Context, b *bench) error {
	t := table{title: "Replies, told to one instance webhook and to one api webhook", head: []string{
		"the receiver", "events/s", "requests/s", "events a request", "p50", "p99", "CPU ms each",
		"api webhook: requests/s", "p50", "p99", "CPU ms each",
	}}
	for _, l := range []instanceLoad{
		{receiver: fresh, rate: 100},
		{receiver: fresh, rate: 1000},
		{receiver: fresh, rate: 3000},
		{receiver: fresh},
		{receiver: isFar, rate: 100},
		{receiver: isFar, rate: 1000, alone: true},
		{receiver: isFar, rate: 3000, alone: true},
		{receiver: isFar, alone: true},
	} {
		instance, api, err := b.compareKinds(ctx, l)
		if err != nil {
			return fmt.Errorf("%v: %w", l, err)
		}
		perRequest := instance.of(func(d delivered) float64 { return float64(d.n) / float64(d.Posts) })
		row := []string{l.String(), rateText(instance.of(delivered.rate)), rateText(instance.posts()), ratioText(perRequest)}
		row = append(row, instance.cells()...)
		if !l.alone {
			row = append(append(row, rateText(api.posts())), api.cells()...)
		}
		t.add(row...)
		if l.rate == 0 {
			b.goal("instance webhook, "+l.String(), "≥ 2 events a request", ratioText(perRequest), perRequest >= 2)
		}
	}
	t.note("An api webhook gets a request for each event. Of a receiver that takes %v it can get no more than %.0f/s answered, with 8 in flight.",
		farness, perWebhook/farness.Seconds())
	t.note("Saturated: 64 connections send as fast as they are answered; the rate is that of events until the last has arrived.")
	return t.write(b.out)
}

// deliveredRounds are the rounds of one kind of webhook.
type deliveredRounds []delivered

func (ds deliveredRounds) of(figure func(delivered) float64) float64 {
	var xs []float64
	for _, d := range ds {
		xs = append(xs, figure(d))
	}
	return median(xs)
}

func (ds deliveredRounds) posts() float64 {
	return ds.of(func(d delivered) float64 { return float64(d.Posts) / d.elapsed.Seconds() })
}

// cells are latencies and CPU.
func (ds deliveredRounds) cells() []string {
	of := func(figure func(delivered) time.Duration) time.Duration {
		return time.Duration(ds.of(func(d delivered) float64 { return float64(figure(d)) }))
	}
	return []string{
		timeText(of(func(d delivered) time.Duration { return d.P50 })), timeText(of(func(d delivered) time.Duration { return d.P99 })),
		msText(of(func(d delivered) time.Duration { return d.cpuEach() })),
	}
}

// compareKinds has both kinds of webhooks told of the same load in turn.
func (b *bench) compareKinds(ctx context.Context, l instanceLoad) (instance, api deliveredRounds, err error) {
	var variants []variant
	for _, kind := range []struct {
		name, handler string
		to            *deliveredRounds
		subscribe     func(*store.Webhook)
	}{
		{"instance", instanceHandler, &instance, func(w *store.Webhook) { w.Item, w.Events = "", []string{"reply-ticket"} }},
		{"api", tenantHandler, &api, func(w *store.Webhook) { w.Item = "reply" }},
	} {
		if l.alone && kind.to == &api {
			continue
		}
		s, err := b.startScene(ctx, receiverRole{Hosts: 1}, kind.handler, func(port int) []store.Webhook {
			w := newWebhook(tenant(0), 0, port, l.receiver)
			kind.subscribe(&w)
			return []store.Webhook{w}
		})
		if err != nil {
			return nil, nil, err
		}
		defer s.stop()
		s.target.path, s.group = wanted+"/100/replies", l.receiver
		if _, err := s.pace(ctx, 100, pick(b, time.Second, 100*time.Millisecond)); err != nil { // connections and caches
			return nil, nil, err
		}
		variants = append(variants, variant{kind.name, func(ctx context.Context) (sample, error) {
			d, err := b.load(ctx, s, l.rate)
			*kind.to = append(*kind.to, d)
			return d.sample, err
		}})
	}
	_, err = contest(ctx, pick(b, 3, 1), variants)
	return instance, api, err
}

func (b *bench) load(ctx context.Context, s *scene, rate float64) (delivered, error) {
	if rate == 0 {
		return s.saturate(ctx, pick(b, 20_000, 500))
	}
	return s.pace(ctx, rate, pick(b, 3*time.Second, 100*time.Millisecond))
}
