package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// Finish records the outcome of a claimed delivery. Of o.Delivery only the ids count: the rest is what Claim handed
// out. A response is cut to store.MaxResponse bytes.
func (s *Store) Finish(ctx context.Context, o store.Outcome) error {
	state := codec.StateNumber(o.State)
	if state == 0 {
		return fmt.Errorf("finishing delivery: state %q is no outcome", o.State)
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	c, err := s.beginFinish(ctx, o)
	if err != nil {
		return fmt.Errorf("finishing delivery %s: %w", o.Delivery.ID, err)
	}
	if err := s.submit(ctx, c, false); err != nil {
		return fmt.Errorf("finishing delivery %s: %w", o.Delivery.ID, err)
	}
	return nil
}

// beginFinish makes the claim ready to be finished, by this call alone. Decoding and encoding happen here,
// outside of the committing goroutine.
func (s *Store) beginFinish(ctx context.Context, o store.Outcome) (*finish, error) {
	id, err := parseUUID(o.Delivery.ID)
	if err != nil {
		return nil, store.ErrConflict
	}
	webhook, err := parseUUID(o.Delivery.Webhook)
	if err != nil {
		return nil, store.ErrConflict
	}
	l := s.lane(webhook)
	if l == nil {
		return nil, store.ErrConflict
	}
	c, err := l.beginFinish(ctx, id)
	if err != nil {
		return nil, err
	}
	d, err := decodeDelivery(webhook, id, c.record)
	if err != nil {
		return nil, err
	}
	d.Attempts = append(d.Attempts, o.Attempt)
	d.State = o.State
	if o.State == store.Pending {
		d.Due = o.Due
	}
	return &finish{
		s: s, lane: l, claim: c, state: o.State, name: o.Delivery.Webhook,
		next: entry{newSlot(d.Due, id), encodeDelivery(&d)},
	}, nil
}

// beginFinish waits for an earlier Finish of the claim, whose caller may have gone before its end: only then it is known
// whether there still is something to finish.
func (l *lane) beginFinish(ctx context.Context, id uuid) (*claim, error) {
	for {
		c, earlier := l.tryFinish(id)
		if c == nil {
			return nil, store.ErrConflict
		}
		if earlier == nil {
			return c, nil
		}
		select {
		case <-earlier:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryFinish begins to finish a claim, unless there is none, or another Finish is at it: earlier is closed when that ends.
func (l *lane) tryFinish(id uuid) (c *claim, earlier chan struct{}) {
	l.lock()
	defer l.unlock()
	c = l.claims[id]
	if c == nil || c.held {
		return nil, nil
	}
	if c.finishing != nil {
		return c, c.finishing
	}
	c.finishing = make(chan struct{})
	return c, nil
}

// endFinish lets go of the claim, which is locked.
func (c *claim) endFinish() {
	close(c.finishing)
	c.finishing = nil
}

type finish struct {
	s     *Store
	lane  *lane
	claim *claim
	state store.State
	name  string
	next  entry

	prepared bool
	gone     bool // its webhook has been deleted: the purger drops it
	again    bool // an earlier Finish of unknown outcome had happened
}

func (c *finish) cost() (int, int64) {
	t := c.s.threshold
	return 4, keyCost(33, len(c.next.record), t) + 2*keyCost(41, 0, t) + c.s.markCost(1)
}

func (c *finish) prepare(b *batch) error {
	c.prepared = true
	c.lane.lock()
	c.gone = c.lane.gone
	c.lane.unlock()
	key := deliveryKey(c.lane.webhook, c.claim.slot.id())
	if c.claim.unsure && !c.gone {
		same, err := c.unchanged(b.txn, key)
		if err != nil {
			c.undo()
			return err
		}
		c.again = !same
	}
	b.finished++
	if c.gone || c.again {
		return nil
	}
	b.set(key, c.next.record, codec.StateNumber(c.state))
	b.delete(queueKey(c.lane.webhook, c.claim.slot))
	if c.state == store.Pending {
		b.set(queueKey(c.lane.webhook, c.next.slot), nil, 0)
		return nil
	}
	b.counts.final(c.state)
	if c.state == store.Dead {
		b.markDead(c.lane, c.claim.slot.id())
	}
	return nil
}

// unchanged reports whether the record on disk is still the one that was claimed.
func (c *finish) unchanged(txn *badger.Txn, key []byte) (bool, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading delivery: %w", err)
	}
	same := false
	err = item.Value(func(v []byte) error {
		same = bytes.Equal(v, c.claim.record)
		return nil
	})
	return same, err
}

func (c *finish) apply(b *batch) {
	c.lane.lock()
	defer c.lane.unlock()
	delete(c.lane.claims, c.claim.slot.id())
	c.claim.endFinish()
	switch {
	case c.gone || c.lane.gone:
		signal(c.s.purge)
	case c.again:
		c.lane.forget()
		b.due = append(b.due, dueWebhook{c.name, c.next.slot.due()})
	case c.state == store.Pending:
		c.lane.insert(c.next, c.s.room())
		b.due = append(b.due, dueWebhook{c.name, c.next.slot.due()})
	}
}

func (c *finish) undo() {
	c.lane.lock()
	defer c.lane.unlock()
	c.claim.endFinish()
	c.claim.unsure = c.claim.unsure || c.prepared
}

// Release ends claims without an attempt. Deliveries that are not claimed, or are being finished, are passed over.
func (s *Store) Release(ctx context.Context, deliveries ...store.Delivery) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	var due []dueWebhook
	for i := range deliveries {
		d := &deliveries[i]
		id, err := parseUUID(d.ID)
		l := s.find(d.Webhook)
		if err != nil || l == nil {
			continue
		}
		if at, ok := s.release(l, id); ok {
			due = append(due, dueWebhook{d.Webhook, at.due()})
		}
	}
	s.notify(due)
	return nil
}

// release ends one claim and reports whether that made the delivery pending again.
func (s *Store) release(l *lane, id uuid) (slot, bool) {
	l.lock()
	defer l.unlock()
	c := l.claims[id]
	if c == nil || c.held || c.finishing != nil {
		return slot{}, false
	}
	delete(l.claims, id)
	s.counts.release(1)
	switch {
	case l.gone:
		signal(s.purge)
		return slot{}, false
	case c.unsure:
		l.forget()
	default:
		l.insert(c.entry, s.room())
	}
	return c.slot, true
}
