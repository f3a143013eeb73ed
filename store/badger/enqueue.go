package badger

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// Enqueue stores deliveries in state Pending, whatever state they say, all or none. The ids of webhooks and
// deliveries have to be UUIDs in lower case. A thousand deliveries fit into one call, whatever their size; of small ones more.
func (s *Store) Enqueue(ctx context.Context, deliveries ...store.Delivery) error {
	return s.enqueue(ctx, deliveries, store.Pending)
}

// Import stores deliveries as they are, with state and attempts, all or none: those of another store. What is there already is
// left as it is.
func (s *Store) Import(ctx context.Context, deliveries ...store.Delivery) error {
	for i := range deliveries {
		if codec.StateNumber(deliveries[i].State) == 0 {
			return fmt.Errorf("importing delivery %s: its state is %q", deliveries[i].ID, deliveries[i].State)
		}
	}
	return s.enqueue(ctx, deliveries, "")
}

// enqueue stores deliveries in a state, or, if it is empty, in the one that each says.
func (s *Store) enqueue(ctx context.Context, deliveries []store.Delivery, state store.State) error {
	if len(deliveries) == 0 {
		return nil
	}
	items, err := encodeAll(deliveries, state)
	if err != nil {
		return fmt.Errorf("enqueueing delivery: %w", err)
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.submit(ctx, &enqueue{s: s, items: items, marks: countMarks(items)}, false); err != nil {
		return fmt.Errorf("enqueueing: %w", err)
	}
	return nil
}

// encodeAll does the costly part outside of the committing goroutine. A delivery given twice is taken once.
func encodeAll(deliveries []store.Delivery, state store.State) ([]enqueued, error) {
	items := make([]enqueued, 0, len(deliveries))
	seen := make(map[[2]uuid]bool, len(deliveries))
	for i := range deliveries {
		e, err := encodeOne(deliveries[i], state)
		if err != nil {
			return nil, err
		}
		key := [2]uuid{e.webhook, e.slot.id()}
		if seen[key] {
			continue
		}
		seen[key] = true
		items = append(items, e)
	}
	return items, nil
}

func encodeOne(d store.Delivery, state store.State) (enqueued, error) {
	webhook, err := parseUUID(d.Webhook)
	if err != nil {
		return enqueued{}, fmt.Errorf("webhook %w", err)
	}
	id, err := parseUUID(d.ID)
	if err != nil {
		return enqueued{}, err
	}
	if state != "" {
		d.State = state
	}
	return enqueued{
		webhook: webhook, name: d.Webhook, state: codec.StateNumber(d.State), items: itemBit(d.Item),
		entry: entry{newSlot(d.Due, id), encodeDelivery(&d)},
	}, nil
}

type enqueue struct {
	s     *Store
	items []enqueued
	marks int // the most that it writes
}

// enqueued is a delivery on its way in.
type enqueued struct {
	webhook uuid
	name    string // the webhook's id in text
	state   byte
	items   byte // its itemBit
	entry
	added bool
}

func (c *enqueue) cost() (int, int64) {
	size := c.s.markCost(c.marks)
	for i := range c.items {
		size += keyCost(33, len(c.items[i].record), c.s.threshold) + keyCost(41, 0, c.s.threshold)
	}
	return 2*len(c.items) + c.marks, size
}

// prepare looks up every delivery before it writes the first, so that an error leaves the batch as it was.
func (c *enqueue) prepare(b *batch) error {
	fresh := make([]bool, len(c.items))
	keys := make([][]byte, len(c.items))
	for i := range c.items {
		e := &c.items[i]
		if c.s.directory.Get(e.name) == nil {
			continue
		}
		keys[i] = deliveryKey(e.webhook, e.slot.id())
		_, err := b.txn.Get(keys[i])
		if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
			return fmt.Errorf("looking up delivery: %w", err)
		}
		fresh[i] = err != nil
	}
	for i := range c.items {
		c.write(b, &c.items[i], keys[i], fresh[i])
	}
	return nil
}

func (c *enqueue) write(b *batch, e *enqueued, key []byte, fresh bool) {
	if key == nil { // its webhook does not exist
		b.counts.enqueued++
		b.counts.dropped++
		return
	}
	if !fresh {
		return
	}
	e.added = true
	b.counts.enqueued++
	b.counts.unfinished++
	b.set(key, e.record, e.state)
	l := c.s.lane(e.webhook)
	b.mark(l, e.slot.id(), e.items)
	if e.state == codec.Dead { // instead of a place in the queue
		b.markDead(l, e.slot.id())
	}
	if e.state != codec.Pending {
		b.counts.final(codec.State(e.state))
		return
	}
	b.set(queueKey(e.webhook, e.slot), nil, 0)
}

func (c *enqueue) apply(b *batch) {
	for i := range c.items {
		e := &c.items[i]
		if !e.added {
			continue
		}
		if e.state != codec.Pending {
			c.s.forget(e.webhook, e.slot.id())
			continue
		}
		c.s.insert(e.webhook, e.entry)
		b.due = append(b.due, dueWebhook{e.name, e.slot.due()})
	}
}

func (c *enqueue) undo() {
	for i := range c.items {
		if c.items[i].added {
			c.s.forget(c.items[i].webhook, c.items[i].slot.id())
		}
	}
}

// insert offers a pending delivery that is on disk, and new or due again by somebody's wish, to the memory of its webhook.
func (s *Store) insert(webhook uuid, e entry) {
	l := s.lane(webhook)
	if l == nil {
		return
	}
	l.lock()
	defer l.unlock()
	l.extent.add(e.slot.id())
	if !l.gone {
		l.enqueue(e, s.room())
	}
}

// forget has a lane read again from disk, which may have a delivery more.
func (s *Store) forget(webhook, id uuid) {
	l := s.lane(webhook)
	if l == nil {
		return
	}
	l.lock()
	defer l.unlock()
	l.extent.add(id)
	l.forget()
}
