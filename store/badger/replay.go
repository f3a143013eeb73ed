package badger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// Replay makes a delivery pending and due at now; its retry schedule starts over.
func (s *Store) Replay(ctx context.Context, webhook, id string, now time.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	l, key, err := s.address(webhook, id)
	if err != nil {
		return fmt.Errorf("replaying delivery: %w", err)
	}
	c := &replay{s: s, lane: l, id: key, name: webhook, now: now}
	if err := s.submit(ctx, c, false); err != nil {
		return fmt.Errorf("replaying delivery: %w", err)
	}
	return nil
}

type replay struct {
	s    *Store
	lane *lane
	id   uuid
	name string
	now  time.Time

	held    bool
	changed bool
	next    entry
}

func (c *replay) cost() (int, int64) {
	t := c.s.threshold
	return 3, keyCost(33, t, t) + 2*keyCost(41, 0, t)
}

func (c *replay) prepare(b *batch) error {
	if c.s.directory.Get(c.name) == nil {
		return store.ErrNotFound
	}
	key := deliveryKey(c.lane.webhook, c.id)
	item, err := b.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("reading delivery: %w", err)
	}
	d, err := c.s.decodeItem(c.lane, item)
	if err != nil {
		return err
	}
	old := newSlot(d.Due, c.id)
	switch d.State {
	case store.Delivering:
		return nil
	case store.Pending:
		// It can be claimed up to this moment, and then it is being delivered.
		if c.held = c.lane.hold(old); !c.held {
			return nil
		}
		b.delete(queueKey(c.lane.webhook, old))
	default:
		b.counts.leave(d.State)
		b.counts.unfinished++
	}
	d.State, d.Due, d.Spent = store.Pending, c.now, len(d.Attempts)
	c.next = entry{newSlot(d.Due, c.id), encodeDelivery(&d)}
	c.changed = true
	b.set(key, c.next.record, codec.Pending)
	b.set(queueKey(c.lane.webhook, c.next.slot), nil, 0)
	return nil
}

func (c *replay) apply(b *batch) {
	if !c.changed {
		return
	}
	if c.held {
		c.lane.unhold(c.id, true)
	}
	c.s.insert(c.lane.webhook, c.next)
	b.due = append(b.due, dueWebhook{c.name, c.next.slot.due()})
}

func (c *replay) undo() {
	if c.held {
		c.lane.unhold(c.id, false)
		return
	}
	if c.changed {
		c.s.forget(c.lane.webhook, c.id)
	}
}
