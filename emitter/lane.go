package emitter

import (
	"container/heap"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// failingAfter is how many failed attempts in a row make a webhook's status failing.
const failingAfter = 3

// lane is the queue of one webhook as the schedule sees it: what is due lies in the store, here is only when to
// look there and how much may be in flight. All fields are guarded by Emitter.mu.
type lane struct {
	webhook string

	// next is when the store has to be looked at, if has. It may be too early, never too late.
	next time.Time
	has  bool

	// busy while a turn asks the store; the lane is then in no queue.
	busy bool
	// queued while in a ring of ready lanes; index is the place in the heap of waiting ones, or -1.
	queued bool
	index  int

	// inFlight are the slots held, by attempts or by a turn that is about to begin some.
	inFlight int
	// settling are the attempts that arrived, gave back their slot, and have their outcome stored now.
	settling int
	// limit is how many slots may be held: one at first and after a failure, twice as many after each success.
	limit int
	// load is what one POST may carry that deliveries share: one event after a failure, twice as many after each success.
	load load
	// suspect since the latest attempt failed.
	suspect bool
	// failures in a row, pings aside.
	failures int

	// stalls are the turns in a row that came to nothing though there was work.
	stalls int

	// syncing while the webhook's status is being brought in line with failures, resync when it has to be done again.
	syncing, resync bool
}

func newLane(webhook string, status store.Status) *lane {
	l := &lane{webhook: webhook, index: -1, limit: 1, load: load{maxEvents, maxBody}}
	if status == store.Failing {
		l.suspect, l.failures, l.load.events = true, failingAfter, 1
	}
	return l
}

// idle reports whether nothing would be lost with the lane.
func (l *lane) idle() bool {
	return !l.has && !l.busy && !l.queued && l.inFlight == 0 && l.settling == 0 && !l.syncing && !l.suspect
}

// forgive forgets what was another URL's, or is to be tried anew.
func (l *lane) forgive() { l.failures, l.load.bytes = 0, maxBody }

// laneHeap is the lanes that wait for their next, soonest first.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push serves [heap.Push] only.
func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop serves [heap.Pop] only.
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.index = -1
	return l
}

// put adds l or moves it to where its next belongs.
func (h *laneHeap) put(l *lane) {
	if l.index >= 0 {
		heap.Fix(h, l.index)
		return
	}
	heap.Push(h, l)
}

func (h *laneHeap) remove(l *lane) {
	if l.index >= 0 {
		heap.Remove(h, l.index)
	}
}

// ring is the lanes that wait for their turn.
type ring struct{ lanes []*lane }

func (r *ring) push(l *lane) {
	l.queued = true
	r.lanes = append(r.lanes, l)
}

func (r *ring) pop() *lane {
	l := r.lanes[0]
	r.lanes[0] = nil
	r.lanes = r.lanes[1:]
	l.queued = false
	return l
}

func (r *ring) empty() bool { return len(r.lanes) == 0 }
