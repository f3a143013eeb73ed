package caddymodule

import (
	"context"
	"sync/atomic"
)

// ledger counts events where they come from and where they go, since the core began. At every moment when nothing is on
// the move
//
//	derived + carried + twice = keeping + in the reserve + in memory + stored + lost
//
// What is in the reserve and in memory is asked of those, so an event that falls out of them, or that nobody takes, leaves
// a gap. Events that nobody wants any more when they are stored count as stored: the store was open and gave them its
// answer.
type ledger struct {
	derived atomic.Int64
	carried atomic.Int64 // were in the reserve when it was opened
	twice   atomic.Int64 // got into the reserve after it had been given up on, and so are elsewhere, too
	keeping atomic.Int64 // derived, and nowhere yet
	stored  atomic.Int64
	lost    atomic.Int64
}

// conservationView is what should be zero.
type conservationView struct {
	// UnaccountedEvents and UnaccountedDeliveries are how many are missing. Events are counted since the process began,
	// deliveries since the store was made.
	UnaccountedEvents     int64 `json:"unaccounted_events"`
	UnaccountedDeliveries int64 `json:"unaccounted_deliveries"`
}

func (v conservationView) sum() int64 { return v.UnaccountedEvents + v.UnaccountedDeliveries }

// conservation takes stock. What moves meanwhile would be counted twice, which looks like less than zero, so it looks again.
func (c *core) conservation(ctx context.Context) conservationView {
	var v conservationView
	for range 10 {
		if v.UnaccountedEvents = c.unaccounted(); v.UnaccountedEvents == 0 {
			break
		}
	}
	if e := c.opened.Load(); e != nil {
		if n, err := e.store.Counts(ctx); err == nil {
			v.UnaccountedDeliveries = int64(n.Enqueued) - int64(n.Pending+n.Delivering+n.Delivered+n.Dead+n.Dropped+n.Pruned) //nolint:gosec // counts
		}
	}
	return v
}

// unaccounted reads the ledger in the order in which events move, so that one that moves is never missed.
func (c *core) unaccounted() int64 {
	l := &c.ledger
	in := l.derived.Load() + l.carried.Load() + l.twice.Load()
	keeping := l.keeping.Load()
	reserve, memory := c.intake.kept()
	return in - keeping - int64(reserve) - int64(memory) - l.stored.Load() - l.lost.Load()
}
