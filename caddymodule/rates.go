package caddymodule

import (
	"sync"
	"time"
)

// rates counts what happened lately, in slots of some seconds. Safe for concurrent use; the zero value has seen nothing.
type rates struct {
	mu    sync.Mutex
	slots [rateSlots]rateSlot // by their number modulo rateSlots; guarded by mu
}

const (
	rateWidth = 5 * time.Second
	rateSlots = 64 // more than five minutes, the one that is filling up included
)

type rateSlot struct {
	number                    int64
	events, delivered, failed uint64
}

func (r *rates) add(now time.Time, to func(*rateSlot)) {
	number := now.UnixNano() / int64(rateWidth)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.slots[uint64(number)%rateSlots]
	if s.number != number {
		*s = rateSlot{number: number}
	}
	to(s)
}

// ratesView is what happened per second.
type ratesView struct {
	LastMinute      rateView `json:"last_minute"`
	LastFiveMinutes rateView `json:"last_5_minutes"`
}

// rateView is per second: events captured, deliveries that arrived, attempts of deliveries that failed.
type rateView struct {
	Events    float64 `json:"events"`
	Delivered float64 `json:"delivered"`
	Failed    float64 `json:"failed"`
}

func (r *rates) view(now time.Time) ratesView {
	return ratesView{LastMinute: r.over(now, time.Minute), LastFiveMinutes: r.over(now, 5*time.Minute)}
}

// over counts whole slots and the one that is filling up.
func (r *rates) over(now time.Time, span time.Duration) rateView {
	number := now.UnixNano() / int64(rateWidth)
	r.mu.Lock()
	defer r.mu.Unlock()
	var v rateView
	for i := range r.slots {
		if s := &r.slots[i]; s.number > number-int64(span/rateWidth) && s.number <= number {
			v.Events += float64(s.events)
			v.Delivered += float64(s.delivered)
			v.Failed += float64(s.failed)
		}
	}
	for _, f := range []*float64{&v.Events, &v.Delivered, &v.Failed} {
		*f /= span.Seconds()
	}
	return v
}
