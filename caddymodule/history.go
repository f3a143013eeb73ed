package caddymodule

import (
	"math"
	"sync"
	"time"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
)

// history is what happened lately, for rates and charts: within the last minutes, by five seconds, the last hour, by the
// minute, and the last day, by the quarter of an hour. It is in memory, in some 130 KiB whatever the traffic. It belongs to a
// core, so it goes on over reloads and begins anew when the process does. Safe for concurrent use.
type history struct {
	mu      sync.Mutex
	recent  ring   // guarded by mu
	hour    ring   // guarded by mu
	day     ring   // guarded by mu
	changes uint64 // how often something was added; guarded by mu
}

const (
	recentSlots, recentWidth = 60, 5 * time.Second
	hourSlots, hourWidth     = 60, time.Minute
	daySlots, dayWidth       = 96, 15 * time.Minute
)

func newHistory() *history {
	return &history{
		recent: ring{width: recentWidth, slots: make([]slot, recentSlots)},
		hour:   ring{width: hourWidth, slots: make([]slot, hourSlots)},
		day:    ring{width: dayWidth, slots: make([]slot, daySlots)},
	}
}

// captured takes note of events.
func (h *history) captured(now time.Time, events int) {
	h.add(now, func(s *slot) { s.Events += uint64(events) }) //nolint:gosec // a count
}

// attempted takes note of an attempt of a delivery.
func (h *history) attempted(now time.Time, r *emitter.Report) {
	h.add(now, func(s *slot) {
		s.attempts.add(r.Attempt.Duration)
		if r.State != store.Delivered {
			s.Failed++
			return
		}
		s.Delivered++
		s.latencies.add(r.Attempt.At.Add(r.Attempt.Duration).Sub(r.Delivery.CreatedAt))
	})
}

func (h *history) add(now time.Time, to func(*slot)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	to(h.recent.at(now))
	to(h.hour.at(now))
	to(h.day.at(now))
	h.changes++
}

// generation changes with everything that is noted.
func (h *history) generation() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changes
}

// ring holds the latest slots, each at the place that its number tells.
type ring struct {
	width time.Duration
	slots []slot
}

// slot is what happened within one width of time.
type slot struct {
	number int64 // how many widths after 1970
	Start  time.Time
	tally
}

// tally counts what happened.
type tally struct {
	Events    uint64 // captured
	Delivered uint64 // attempts that succeeded
	Failed    uint64 // attempts that did not
	latencies spread // from capture to delivery
	attempts  spread // durations of attempts
}

func (t *tally) join(u *tally) {
	t.Events += u.Events
	t.Delivered += u.Delivered
	t.Failed += u.Failed
	t.latencies.join(&u.latencies)
	t.attempts.join(&u.attempts)
}

// at returns the slot for now. One that holds anything else, also of a clock that was set back, begins anew.
func (r *ring) at(now time.Time) *slot {
	number := now.UnixNano() / int64(r.width)
	s := &r.slots[number%int64(len(r.slots))]
	if s.number != number {
		*s = slot{number: number}
	}
	return s
}

// since returns all slots that end with the one of now, oldest first, and their sum.
func (h *history) since(r *ring, now time.Time) (slots []slot, sum tally) {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := now.UnixNano() / int64(r.width)
	for number := last - int64(len(r.slots)) + 1; number <= last; number++ {
		s := r.slots[number%int64(len(r.slots))]
		if s.number != number {
			s = slot{number: number}
		}
		s.Start = time.Unix(0, number*int64(r.width)).UTC()
		sum.join(&s.tally)
		slots = append(slots, s)
	}
	return slots, sum
}

// lastHour and lastDay are what there is to show at now.
func (h *history) lastHour(now time.Time) ([]slot, tally) { return h.since(&h.hour, now) }
func (h *history) lastDay(now time.Time) ([]slot, tally)  { return h.since(&h.day, now) }

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

// rates counts whole slots and the one that is filling up.
func (h *history) rates(now time.Time) ratesView {
	slots, five := h.since(&h.recent, now)
	var one tally
	for i := len(slots) - int(time.Minute/recentWidth); i < len(slots); i++ {
		one.join(&slots[i].tally)
	}
	return ratesView{LastMinute: one.per(time.Minute), LastFiveMinutes: five.per(recentSlots * recentWidth)}
}

func (t *tally) per(span time.Duration) rateView {
	s := span.Seconds()
	return rateView{Events: float64(t.Events) / s, Delivered: float64(t.Delivered) / s, Failed: float64(t.Failed) / s}
}

// spread counts durations in classes, each wider than the one before by the square root of two.
type spread struct {
	classes [spreadClasses]uint32
	n       uint64
}

const (
	// spreadClasses reach from spreadFirst to six days, which is more than all attempts of a delivery take.
	spreadClasses = 64
	spreadFirst   = 250 * time.Microsecond
)

func (s *spread) add(d time.Duration) {
	s.classes[spreadClass(d)]++
	s.n++
}

func (s *spread) join(other *spread) {
	for i, n := range other.classes {
		s.classes[i] += n
	}
	s.n += other.n
}

func spreadClass(d time.Duration) int {
	if d <= spreadFirst {
		return 0
	}
	class := int(math.Ceil(2 * math.Log2(float64(d)/float64(spreadFirst))))
	return min(class, spreadClasses-1)
}

// spreadLimit is the longest duration of a class.
func spreadLimit(class int) float64 { return float64(spreadFirst) * math.Exp2(float64(class)/2) }

// quantile returns the duration that the share q of all did not exceed, within its class; 0 if there are none.
func (s *spread) quantile(q float64) time.Duration {
	if s.n == 0 {
		return 0
	}
	rank := q * float64(s.n)
	var below float64
	for class, n := range s.classes {
		if n == 0 {
			continue
		}
		if below+float64(n) < rank {
			below += float64(n)
			continue
		}
		from := 0.0
		if class > 0 {
			from = spreadLimit(class - 1)
		}
		return time.Duration(from + (spreadLimit(class)-from)*(rank-below)/float64(n))
	}
	return time.Duration(spreadLimit(spreadClasses - 1))
}
