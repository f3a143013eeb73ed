package badger

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
)

// markedFind is a find that goes from mark to mark, so that only webhooks are looked into that may have something of the
// stretch of time that is its turn: what a page costs does not grow with the number of webhooks.
type markedFind struct {
	*find
	marks *badger.Iterator
	among map[uuid]*lane // nil for all
	kind  byte
	item  byte // the bit of the item that is looked for, or 0
	seen  []sighting
	cut   uuid // some lanes have been looked through down to here only; zero if all have been to the end
}

// sighting is a delivery that may fit.
type sighting struct {
	lane *lane
	id   uuid
}

// byMarks reports whether there are so many webhooks that going from mark to mark is less work than merging them. What
// is being delivered is in memory.
func (f *find) byMarks(lanes int) bool {
	return lanes > f.s.look.lanes && f.filter.State != store.Delivering && f.marked
}

func (f *find) runMarks(ctx context.Context, limit int) error {
	m := &markedFind{find: f, kind: prefixMark}
	if f.filter.State == store.Dead {
		m.kind = prefixDeadMark
	}
	if f.filter.Item != "" {
		m.item = itemBit(f.filter.Item)
	}
	if f.filter.Project != "" {
		m.among = make(map[uuid]*lane)
		for _, w := range f.webhooks() {
			if l := f.s.find(w.ID); l != nil {
				m.among[l.webhook] = l
			}
		}
	}
	m.marks = f.txn.NewIterator(badger.IteratorOptions{Prefix: []byte{m.kind}, Reverse: true})
	defer m.marks.Close()
	return m.run(ctx, limit)
}

func (m *markedFind) run(ctx context.Context, limit int) error {
	floor := m.floor().stretch().first()
	m.marks.Seek(markKey(m.kind, m.bound.stretch(), lastID))
	for m.marks.Valid() {
		at := markStretch(m.marks.Item().Key())
		if at.first().before(floor) {
			return nil
		}
		if err := m.lookAt(ctx, at, limit); err != nil {
			return err
		}
		if err := m.takeSeen(limit); err != nil || m.next != "" {
			return err
		}
		// Below the bound something has been ruled out: a caller that goes on gets on.
		if at.first().before(m.bound) && m.marks.Valid() && time.Now().After(m.late) {
			m.next = at.first().String()
			return nil
		}
	}
	return nil
}

// lookAt looks into the lanes that have a mark of a stretch. Of each it sees as many as fill a page.
func (m *markedFind) lookAt(ctx context.Context, at stretch, limit int) error {
	m.seen, m.cut = m.seen[:0], uuid{}
	for ; m.marks.Valid(); m.marks.Next() {
		key := m.marks.Item().Key()
		if markStretch(key) != at {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if items := m.marks.Item().UserMeta(); items != 0 && m.item != 0 && items&m.item == 0 {
			continue
		}
		l := m.laneOf(markWebhook(key))
		if l == nil || l.without(m.filter.State) {
			continue
		}
		if err := m.lookInto(l, at, limit); err != nil {
			return err
		}
	}
	return nil
}

func (m *markedFind) laneOf(webhook uuid) *lane {
	if m.among != nil {
		return m.among[webhook]
	}
	return m.s.lane(webhook)
}

// without reports whether memory knows that nothing of the lane is in a state, or to be shown at all.
func (l *lane) without(state store.State) bool {
	l.lock()
	defer l.unlock()
	return l.gone || state == store.Pending && l.nonePending()
}

func (m *markedFind) lookInto(l *lane, at stretch, limit int) error {
	prefix := append(webhookKey(prefixDelivery, l.webhook), at[:]...)
	m.it.Seek(deliveryKey(l.webhook, minID(m.bound, at.last())))
	for seen := 0; m.it.ValidForPrefix(prefix); m.it.Next() {
		id := deliveryID(m.it.Item().Key())
		if !id.before(m.bound) {
			continue
		}
		fits, err := m.mayFit(m.it.Item())
		if err != nil {
			return err
		}
		if !fits {
			continue
		}
		m.seen = append(m.seen, sighting{l, id})
		if seen++; seen == limit {
			m.cut = maxID(m.cut, id)
			return nil
		}
	}
	return nil
}

// takeSeen moves what has been seen into the page, and sets next if it is full, or if there may be more of the stretch.
func (m *markedFind) takeSeen(limit int) error {
	slices.SortFunc(m.seen, func(a, b sighting) int { return bytes.Compare(b.id[:], a.id[:]) })
	for _, s := range m.seen {
		if s.id.before(m.cut) {
			break
		}
		if err := m.take(s.lane, s.id); err != nil {
			return err
		}
		if len(m.found) == limit {
			m.next = s.id.String()
			return nil
		}
	}
	if m.cut != (uuid{}) {
		m.next = m.cut.String()
	}
	return nil
}

// getAnywhere reads a delivery of whichever webhook has it.
func (s *Store) getAnywhere(ctx context.Context, id uuid) (d store.Delivery, err error) {
	marked := s.markedAll.Load() // before the snapshot
	err = s.db.View(func(txn *badger.Txn) error {
		for _, webhook := range s.holders(txn, id, marked) {
			if err := ctx.Err(); err != nil {
				return err
			}
			l := s.lane(webhook)
			if l == nil || s.directory.Get(webhook.String()) == nil {
				continue // deleted, though not yet erased
			}
			item, err := txn.Get(deliveryKey(webhook, id))
			if errors.Is(err, badger.ErrKeyNotFound) {
				continue
			}
			if err == nil {
				d, err = s.decodeItem(l, item)
			}
			return err
		}
		return store.ErrNotFound
	})
	return d, err
}

// holders are the webhooks that may have a delivery with an id.
func (s *Store) holders(txn *badger.Txn, id uuid, marked bool) []uuid {
	if marked {
		return webhooksAt(txn, id)
	}
	var all []uuid
	for _, w := range s.directory.All() {
		if l := s.find(w.ID); l != nil {
			all = append(all, l.webhook)
		}
	}
	return all
}
