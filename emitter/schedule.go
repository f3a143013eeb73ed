package emitter

import (
	"container/heap"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

const (
	// quantum is how many deliveries a lane gets in one turn.
	quantum = 4
	// maxSleep is the longest that the scheduler trusts its timer. Due times are wall-clock and timers are not: after
	// the clock was set, this is how long it takes until it is noticed.
	maxSleep = time.Minute
)

// schedule decides which webhook is served next. It holds no clock, does no I/O, and is guarded by Emitter.mu.
//
// A lane is in one place at a time: with a turn (busy), in a ring (due, waiting for its turn), in the heap
// (waiting for its time), or in none, when it has no work or holds all the slots it may; in the latter case
// the end of one of its attempts puts it back.
type schedule struct {
	maxConcurrent int
	maxPerWebhook int

	lanes   map[string]*lane
	waiting laneHeap
	ready   ring
	// suspects have a ring and a share of the slots of their own, so that any number of dead receivers leaves
	// room for the others. The rings take turns while both have lanes, so that neither starves the other.
	suspects     ring
	suspectsTurn bool

	inFlight        int // by all lanes
	suspectInFlight int // by lanes that are suspect now
	extra           int // the slots beyond each lane's first
	settling        int // attempts by all lanes that arrived, whose slot was given back, and whose outcome is being stored
}

func newSchedule(c Config) *schedule {
	return &schedule{maxConcurrent: c.MaxConcurrent, maxPerWebhook: c.MaxPerWebhook, lanes: make(map[string]*lane)}
}

// lane returns the lane of a webhook, a new one if need be.
func (s *schedule) lane(webhook string, status store.Status) *lane {
	l := s.lanes[webhook]
	if l == nil {
		l = newLane(webhook, status)
		s.lanes[webhook] = l
	}
	return l
}

// note has l looked at when due is reached, or sooner if it was to be.
func (s *schedule) note(l *lane, due time.Time) {
	if l.has && !due.Before(l.next) {
		return
	}
	// Without its monotonic reading, so that all comparisons are of wall-clock times.
	l.next, l.has = due.Round(0), true
	s.place(l)
}

// place puts l into the heap if it waits for a time, and forgets it if it waits for nothing.
func (s *schedule) place(l *lane) {
	switch {
	case l.busy || l.queued:
	case l.has && l.inFlight < s.limit(l):
		s.waiting.put(l)
	default:
		s.waiting.remove(l)
		s.forget(l)
	}
}

// forget removes l if it is idle.
func (s *schedule) forget(l *lane) {
	if l.idle() && s.lanes[l.webhook] == l {
		delete(s.lanes, l.webhook)
	}
}

// turn picks the lane to serve next and how many slots it gets, at least one, which are taken from now on; nil
// when there is nothing to do or no slot left. The lane is busy until looked is called.
func (s *schedule) turn(now time.Time) (*lane, int) {
	for len(s.waiting) > 0 && !s.waiting[0].next.After(now) {
		s.enqueue(heap.Pop(&s.waiting).(*lane))
	}
	for s.inFlight < s.maxConcurrent {
		r := s.pickRing()
		if r == nil {
			return nil, 0
		}
		l := r.pop()
		if l.suspect != (r == &s.suspects) { // changed sides while it waited
			s.enqueue(l)
			continue
		}
		n := s.share(l)
		if n == 0 {
			continue // parked: the end of one of its attempts brings it back
		}
		s.suspectsTurn = r != &s.suspects
		l.busy, l.has = true, false
		s.take(l, n)
		return l, n
	}
	return nil, 0
}

func (s *schedule) enqueue(l *lane) {
	if l.suspect {
		s.suspects.push(l)
	} else {
		s.ready.push(l)
	}
}

func (s *schedule) pickRing() *ring {
	suspects := !s.suspects.empty() && s.suspectInFlight < s.maxSuspect()
	switch {
	case suspects && (s.suspectsTurn || s.ready.empty()):
		return &s.suspects
	case !s.ready.empty():
		return &s.ready
	default:
		return nil
	}
}

// maxSuspect is how many slots suspect lanes may hold together.
func (s *schedule) maxSuspect() int { return max(s.maxConcurrent/2, 1) }

func (s *schedule) limit(l *lane) int { return min(l.limit, s.maxPerWebhook) }

// share is how many slots l gets now: always a first one, if there is one. What all lanes hold beyond their first
// is at most half of all slots, so that receivers that were quick until now and all hang at once leave room for
// others. And a lane that holds much of that leaves the last of it to those that hold little.
func (s *schedule) share(l *lane) int {
	room := max(s.maxConcurrent/2-s.extra, 0)
	n := min(room, max(4*room-extra(l.inFlight)+4, 0)/5)
	if l.inFlight == 0 {
		n++
	}
	n = min(n, quantum, s.limit(l)-l.inFlight, s.maxConcurrent-s.inFlight)
	if l.suspect {
		n = min(n, s.maxSuspect()-s.suspectInFlight)
	}
	return max(n, 0)
}

// extra is how many of a lane's slots are beyond its first.
func extra(inFlight int) int { return max(inFlight-1, 0) }

// take and give move n slots to and from l.
func (s *schedule) take(l *lane, n int) {
	s.extra -= extra(l.inFlight)
	l.inFlight += n
	s.extra += extra(l.inFlight)
	s.inFlight += n
	if l.suspect {
		s.suspectInFlight += n
	}
}

func (s *schedule) give(l *lane, n int) {
	s.take(l, -n)
	s.place(l)
}

// settle gives back the slot of an attempt that arrived, before its outcome is stored; settled ends that. It reports false, and
// the slot stays taken, when as many outcomes are being stored already as there are slots.
func (s *schedule) settle(l *lane) bool {
	if s.settling >= s.maxConcurrent {
		return false
	}
	s.settling++
	l.settling++
	s.give(l, 1)
	return true
}

func (s *schedule) settled(l *lane) {
	s.settling--
	l.settling--
	s.forget(l)
}

// looked ends a turn: next is when l has to be looked at again, if has. What was noted meanwhile counts too.
func (s *schedule) looked(l *lane, next time.Time, has bool) {
	l.busy = false
	if has {
		s.note(l, next)
	}
	s.place(l)
}

// observe takes in the result of an attempt.
func (s *schedule) observe(l *lane, delivered, ping bool) {
	before := l.suspect
	l.suspect = !delivered
	switch {
	case delivered:
		l.failures = 0
		l.limit = min(2*l.limit, maxConcurrent)
		l.load.events = min(2*l.load.events, maxEvents)
	case ping:
		l.limit, l.load.events = 1, 1
	default:
		l.limit, l.load.events = 1, 1
		l.failures++
	}
	if l.suspect && !before {
		s.suspectInFlight += l.inFlight
	}
	if before && !l.suspect {
		s.suspectInFlight -= l.inFlight
	}
	s.place(l) // the limit may have grown
}

// sleep is how long there is nothing to do if nobody calls, at most maxSleep.
func (s *schedule) sleep(now time.Time) time.Duration {
	if len(s.waiting) == 0 {
		return maxSleep
	}
	return min(max(s.waiting[0].next.Sub(now), 0), maxSleep)
}

// sweep forgets lanes that are kept for their failures alone and whose webhook is gone.
func (s *schedule) sweep(exists func(webhook string) bool) {
	for _, l := range s.lanes {
		if l.suspect && !l.has && !exists(l.webhook) {
			s.observe(l, true, false)
			s.forget(l)
		}
	}
}
