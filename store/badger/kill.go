package badger

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// Sweeps (Kill, Prune, erasing a deleted webhook) look for their candidates outside of the committing goroutine and
// commit them in steps, so that other callers wait for one small transaction at most.
const (
	stepKeys = 256       // deliveries changed in one transaction
	stepSize = 512 << 10 // their size in bytes, about
	stepScan = 4096      // deliveries looked at before a snapshot is given back
)

// candidate is a delivery that a sweep means to change, unless it changes before.
type candidate struct {
	id      uuid
	slot    slot
	version uint64 // Badger's version of the delivery's key when it was looked at
	state   store.State
	record  []byte // what to write, if anything
}

// unchanged reports whether a candidate is still what it was.
func (c *candidate) unchanged(b *batch, webhook uuid) (bool, error) {
	item, err := b.txn.Get(deliveryKey(webhook, c.id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading delivery: %w", err)
	}
	return item.Version() == c.version, nil
}

// Kill makes all pending deliveries of a webhook dead that were enqueued before the call. Deliveries that are
// replayed, retried or claimed while it is at work stay as they are. If it returns an error, the number with it says
// how many were killed all the same.
func (s *Store) Kill(ctx context.Context, webhook string) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	l := s.find(webhook)
	if l == nil {
		return 0, nil
	}
	now := s.snapshot()
	killed := 0
	var from slot
	for more := true; more; {
		if err := s.interrupted(ctx); err != nil {
			return killed, err
		}
		c := &kill{s: s, lane: l}
		var err error
		if c.found, from, more, err = s.killable(l, from, now); err != nil {
			return killed, fmt.Errorf("killing deliveries: %w", closedError(err))
		}
		if len(c.found) == 0 {
			continue
		}
		if err := s.submit(ctx, c, true); err != nil {
			return killed, fmt.Errorf("killing deliveries: %w", err)
		}
		killed += len(c.held)
	}
	return killed, nil
}

// snapshot is the version that everything committed so far has at most.
func (s *Store) snapshot() uint64 {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return txn.ReadTs()
}

// interrupted ends a sweep between two steps.
func (s *Store) interrupted(ctx context.Context) error {
	if s.isClosing() {
		return store.ErrClosed
	}
	return ctx.Err()
}

// killable reads a step's worth of pending deliveries from a place in the queue on, none newer than version
// newest. It returns where to go on, and whether there is more.
func (s *Store) killable(l *lane, from slot, newest uint64) (found []candidate, next slot, more bool, err error) {
	size := 0
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: webhookKey(prefixQueue, l.webhook)})
		defer it.Close()
		scanned := 0
		for it.Seek(queueKey(l.webhook, from)); it.Valid(); it.Next() {
			at := queueSlot(it.Item().Key())
			if scanned++; len(found) == stepKeys || size >= stepSize || scanned > stepScan {
				next, more = at, true
				return nil
			}
			c, ok, err := s.killCandidate(txn, l, at, newest)
			if err != nil {
				return err
			}
			if ok {
				found = append(found, c)
				size += len(c.record)
			}
		}
		return nil
	})
	return found, next, more, err
}

func (s *Store) killCandidate(txn *badger.Txn, l *lane, at slot, newest uint64) (candidate, bool, error) {
	item, err := txn.Get(deliveryKey(l.webhook, at.id()))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return candidate{}, false, nil
	}
	if err != nil {
		return candidate{}, false, err
	}
	if item.Version() > newest || item.UserMeta() != codec.Pending {
		return candidate{}, false, nil
	}
	d, err := s.decodeItem(l, item)
	if errors.Is(err, errCorrupt) {
		return candidate{}, false, nil
	}
	if err != nil || d.State != store.Pending {
		return candidate{}, false, err
	}
	d.State = store.Dead
	return candidate{id: at.id(), slot: at, version: item.Version(), record: encodeDelivery(&d)}, true, nil
}

type kill struct {
	s     *Store
	lane  *lane
	found []candidate
	held  []uuid
}

func (c *kill) cost() (int, int64) {
	size := c.s.markCost(len(c.found))
	for i := range c.found {
		size += keyCost(33, len(c.found[i].record), c.s.threshold) + keyCost(41, 0, c.s.threshold)
	}
	return 3 * len(c.found), size
}

func (c *kill) prepare(b *batch) error {
	if c.s.directory.Get(c.lane.webhook.String()) == nil {
		return nil // deleted meanwhile: the purger erases it all
	}
	for i := range c.found {
		f := &c.found[i]
		if same, err := f.unchanged(b, c.lane.webhook); err != nil || !same {
			if err != nil {
				c.undo()
				b.err = err // what is in the batch already must not be committed
				return err
			}
			continue
		}
		if !c.lane.hold(f.slot) {
			continue
		}
		c.held = append(c.held, f.id)
		b.counts.final(store.Dead)
		b.set(deliveryKey(c.lane.webhook, f.id), f.record, codec.Dead)
		b.markDead(c.lane, f.id)
		b.delete(queueKey(c.lane.webhook, f.slot))
	}
	return nil
}

func (c *kill) apply(*batch) {
	for _, id := range c.held {
		c.lane.unhold(id, true)
	}
}

func (c *kill) undo() {
	for _, id := range c.held {
		c.lane.unhold(id, false)
	}
	c.held = nil
}
