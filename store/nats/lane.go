package nats

import (
	"bytes"
	"container/heap"
	"slices"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store/codec"
)

const (
	// backlog is from how many waiting deliveries on the latest get a share of the claims.
	backlog = 64
	// freshShare is of how many claims one goes to what is fresh while there is a backlog; freshKept is how many are kept for it.
	freshShare = 4
	freshKept  = 16
)

// entry is what memory holds of a delivery: 64 bytes, as there may be millions.
type entry struct {
	id      uuid.UUID
	due     int64
	created int64
	place   place
	index   int32 // in the queue of its lane, or -1
	item    uint16
	state   byte
	claimed bool    // by us, or held
	body    *[]byte // the record, if it is kept in memory
}

// lane is the deliveries of one webhook. It is guarded by Store.mu.
type lane struct {
	webhook uuid.UUID
	name    string   // the webhook's id in text
	rev     uint64   // of the webhook: the sequence of its latest change
	entries []*entry // ascending by id
	queue   queue    // those pending and not claimed, by due
	fresh   []*entry // the latest enqueued, in the order they came
	since   int      // claims since the latest of fresh
	floor   uuid.UUID

	pending, delivered, dead int // by state; claimed ones are pending

	owner   uuid.UUID
	mine    bool // we may claim
	killing int  // Kills under way, which keep others from claiming
}

func compareID(e *entry, id uuid.UUID) int { return bytes.Compare(e.id[:], id[:]) }

func less(a, b uuid.UUID) bool { return bytes.Compare(a[:], b[:]) < 0 }

func (l *lane) find(id uuid.UUID) *entry {
	if i, found := slices.BinarySearchFunc(l.entries, id, compareID); found {
		return l.entries[i]
	}
	return nil
}

// below is the index behind the last entry with an id less than bound.
func (l *lane) below(bound uuid.UUID) int {
	i, _ := slices.BinarySearchFunc(l.entries, bound, compareID)
	return i
}

// insert adds e, whose id is new. Ids are those of time, so its place is near the end.
func (l *lane) insert(e *entry) {
	if n := len(l.entries); n == 0 || less(l.entries[n-1].id, e.id) {
		l.entries = append(l.entries, e)
		return
	}
	l.entries = slices.Insert(l.entries, l.below(e.id), e)
}

// count adds n to the number of entries in a state.
func (l *lane) count(state byte, n int) {
	switch state {
	case codec.Pending:
		l.pending += n
	case codec.Delivered:
		l.delivered += n
	case codec.Dead:
		l.dead += n
	}
}

// settle puts e into the queue, or takes it out, as its state and claim have it, or moves it to where its due belongs.
func (l *lane) settle(e *entry) {
	waits := e.state == codec.Pending && !e.claimed
	switch {
	case waits && e.index < 0:
		heap.Push(&l.queue, e)
	case waits:
		heap.Fix(&l.queue, int(e.index))
	case e.index >= 0:
		heap.Remove(&l.queue, int(e.index))
	}
	if e.state == codec.Pending && less(e.id, l.floor) {
		l.floor = e.id
	}
}

// welcome keeps what is new for the share that the latest get of a backlog.
func (l *lane) welcome(e *entry) {
	if len(l.queue) <= backlog {
		return
	}
	if len(l.fresh) >= freshKept {
		l.fresh = slices.Delete(l.fresh, 0, 1)
	}
	l.fresh = append(l.fresh, e)
}

// next takes out of the queue what is to be claimed next; nil if nothing is due.
func (l *lane) next(now int64) *entry {
	if len(l.queue) == 0 || l.queue[0].due > now {
		return nil // nor is anything fresh due, which would be behind it
	}
	if l.since++; l.since >= freshShare {
		for len(l.fresh) > 0 {
			e := l.fresh[0]
			if e.index >= 0 && e.due > now {
				break
			}
			l.fresh = slices.Delete(l.fresh, 0, 1)
			if e.index < 0 {
				continue // claimed, or gone, meanwhile
			}
			l.since = 0
			heap.Remove(&l.queue, int(e.index))
			return e
		}
	}
	return heap.Pop(&l.queue).(*entry)
}

// queue is a heap of entries, that which is due first on top.
type queue []*entry

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].due != q[j].due {
		return q[i].due < q[j].due
	}
	return less(q[i].id, q[j].id)
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = int32(i), int32(j) //nolint:gosec // there are fewer than 2^31
}

// Push serves [heap.Push] only.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = int32(len(*q)) //nolint:gosec // there are fewer than 2^31
	*q = append(*q, e)
}

// Pop serves [heap.Pop] only.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.index = -1
	return e
}
