package badger

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// windowSize is how many pending deliveries of one webhook are kept in memory: enough that a refill,
	// which costs a seek, serves many claims, and few enough for thousands of webhooks.
	windowSize = 64
	// windowBudget is how many entries all windows together hold before they shrink to windowLeast.
	windowBudget = 64 << 10
	windowLeast  = 8
	// windowRecord is the largest record kept in a window, in bytes. Larger ones are read when claimed.
	windowRecord = 4 << 10
	// freshShare is of how many claims one goes to what is fresh while there is a backlog, and of how many entries of a
	// window's size one is kept for it.
	freshShare = 4
)

// lane is the schedule of one webhook. Its invariant:
//
//	every pending delivery whose slot is before cursor is in window or in claims;
//	those at or behind cursor are found on disk.
//
// So an idle lane with cursor at the end needs no disk at all, a lane with a million pending has only its
// head in memory, and refilling from cursor never walks over the tombstones of what was consumed.
//
// A backlog that takes an hour would make everything new wait for an hour. So the latest of what was enqueued behind
// cursor is kept in fresh, besides being on disk, and gets a share of the claims.
type lane struct {
	webhook uuid
	total   *atomic.Int64 // entries in all windows

	mu     sync.Mutex
	known  int     // how many of total are ours
	window []entry // ascending
	cursor slot
	fresh  []entry // in the order they came; all at or behind cursor
	since  int     // claims since the latest of fresh
	claims map[uuid]*claim
	gone   bool // the webhook was deleted: nothing is handed out any more
	extent extent

	marked, markedDead lastMark
}

// entry is one pending delivery. A nil record has to be read from disk.
type entry struct {
	slot   slot
	record []byte
}

// claim is a delivery that is in somebody's hands.
type claim struct {
	entry
	// held marks one that the engine itself holds while it changes it; to the world it is pending.
	held bool
	// finishing is there while a Finish is under way, which makes it the only one, and closed when that ends.
	finishing chan struct{}
	// unsure is set when committing a Finish failed: it may have happened all the same.
	unsure bool
}

func (l *lane) lock() { l.mu.Lock() }

func (l *lane) unlock() {
	if n := len(l.window) + len(l.fresh); n != l.known {
		l.total.Add(int64(n - l.known))
		l.known = n
	}
	l.mu.Unlock()
}

func compareSlots(e entry, s slot) int { return bytes.Compare(e.slot[:], s[:]) }

func (s slot) before(t slot) bool { return bytes.Compare(s[:], t[:]) < 0 }

// insert takes e into the window if it belongs there. A window with more than size entries gives its
// last ones back to the disk.
func (l *lane) insert(e entry, size int) {
	if !e.slot.before(l.cursor) || l.claims[e.slot.id()] != nil {
		return
	}
	i, found := slices.BinarySearchFunc(l.window, e.slot, compareSlots)
	if found {
		return
	}
	if len(e.record) > windowRecord {
		e.record = nil
	}
	l.window = slices.Insert(l.window, i, e)
	for len(l.window) > size {
		last := len(l.window) - 1
		l.cursor = l.window[last].slot
		l.window[last] = entry{}
		l.window = l.window[:last]
	}
}

// enqueue is insert for what is new.
func (l *lane) enqueue(e entry, size int) {
	if e.slot.before(l.cursor) {
		l.insert(e, size)
		return
	}
	if l.claims[e.slot.id()] != nil {
		return
	}
	if len(e.record) > windowRecord {
		e.record = nil
	}
	if len(l.fresh) >= max(size/freshShare, 1) {
		l.fresh = slices.Delete(l.fresh, 0, 1)
	}
	l.fresh = append(l.fresh, e)
}

// freshNext reports whether the next to claim is the first of fresh.
func (l *lane) freshNext(now int64) bool {
	return len(l.fresh) > 0 && l.since >= freshShare-1 && l.fresh[0].slot.nanos() <= now
}

// take removes what is claimed next from the window, or from fresh.
func (l *lane) take(fresh bool) {
	if fresh {
		l.fresh, l.since = slices.Delete(l.fresh, 0, 1), 0
		return
	}
	l.since++
	l.pop()
}

// pop removes the first entry of the window.
func (l *lane) pop() {
	l.window[0] = entry{}
	if l.window = l.window[1:]; len(l.window) == 0 {
		l.window = nil
	}
}

// remove takes the entry at s out of memory, if it is there.
func (l *lane) remove(s slot) {
	l.fresh = slices.DeleteFunc(l.fresh, func(e entry) bool { return e.slot == s })
	if i, found := slices.BinarySearchFunc(l.window, s, compareSlots); found {
		l.window = slices.Delete(l.window, i, i+1)
	}
}

// forget makes the disk the only truth again.
func (l *lane) forget() {
	l.window, l.fresh, l.cursor = nil, nil, slot{}
}

func (l *lane) claim(c *claim) {
	if l.claims == nil {
		l.claims = make(map[uuid]*claim)
	}
	l.claims[c.slot.id()] = c
}

// hold keeps a pending delivery from being claimed while the committer changes it. It reports false if
// it is claimed already.
func (l *lane) hold(s slot) bool {
	l.lock()
	defer l.unlock()
	if l.claims[s.id()] != nil {
		return false
	}
	l.remove(s)
	l.claim(&claim{entry: entry{slot: s}, held: true})
	return true
}

// unhold ends what hold began. When the change did not happen, or may not have, the disk is asked again.
func (l *lane) unhold(id uuid, changed bool) {
	l.lock()
	defer l.unlock()
	delete(l.claims, id)
	if !changed {
		l.forget()
	}
}

// claimed reports whether a delivery is in an emitter's hands.
func (l *lane) claimed(id uuid) bool {
	l.lock()
	defer l.unlock()
	c := l.claims[id]
	return c != nil && !c.held
}
