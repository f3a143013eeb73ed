package badger

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// Deliveries lie by webhook. So that what came at some time, or what is dead, is found without looking into each webhook, there are marks:
// keys that say that a webhook may have such a delivery in a stretch of time. A mark is written with the first delivery of a
// webhook in a stretch, so a busy webhook has four a second at most. It may outlast its deliveries, but none is without.
//
// The user meta byte of a mark has a bit for each item of its deliveries, see itemBit. 0 stands for any items.

// stretch is the first five bytes of an id: in a UUIDv7, 256 ms.
type stretch [5]byte

func (u uuid) stretch() stretch { return stretch(u[:5]) }

// first is the least id of a stretch.
func (x stretch) first() uuid {
	var u uuid
	copy(u[:], x[:])
	return u
}

// last is the greatest id of a stretch.
func (x stretch) last() uuid {
	u := lastID
	copy(u[:], x[:])
	return u
}

func markKey(kind byte, at stretch, webhook uuid) []byte {
	k := make([]byte, 0, markSize)
	k = append(k, kind)
	k = append(k, at[:]...)
	return append(k, webhook[:]...)
}

const markSize = 22

func markStretch(key []byte) stretch { return stretch(key[1:6]) }
func markWebhook(key []byte) uuid    { return uuid(key[6:markSize]) }

// lastMark is the mark of a kind that was written last for a lane, since the store was opened. Only the committer uses it.
type lastMark struct {
	at    stretch
	items byte
	known bool
}

// has reports whether a mark is needed no more.
func (m *lastMark) has(at stretch, items byte) bool {
	return m.known && m.at == at && (m.items == 0 || items != 0 && m.items&items == items)
}

// itemBit is the bit of an item. Some share one: those that can be told apart by it need not be looked at.
func itemBit(item string) byte {
	h := fnv.New32a()
	_, _ = h.Write([]byte(item)) // never fails
	return 1 << (h.Sum32() % 8)
}

// countMarks is how many marks are written with deliveries, if none is there.
func countMarks(items []enqueued) int {
	if len(items) == 1 {
		return 1
	}
	n := 0
	last := make(map[uuid]lastMark, len(items))
	for i := range items {
		e := &items[i]
		at, m := e.slot.id().stretch(), last[e.webhook]
		if m.has(at, e.items) {
			continue
		}
		n++
		if m.at != at {
			m.items = 0
		}
		last[e.webhook] = lastMark{at, m.items | e.items, true}
	}
	return n
}

// mark sees to it that a delivery in the batch has its mark.
func (b *batch) mark(l *lane, id uuid, items byte) {
	b.put(&l.marked, prefixMark, l.webhook, id, items)
}

// markDead is mark for one that is dead.
func (b *batch) markDead(l *lane, id uuid) { b.put(&l.markedDead, prefixDeadMark, l.webhook, id, 0) }

func (b *batch) put(last *lastMark, kind byte, webhook, id uuid, items byte) {
	at := id.stretch()
	if last.has(at, items) {
		return
	}
	key := markKey(kind, at, webhook)
	if items != 0 {
		switch item, err := b.txn.Get(key); {
		case err == nil && item.UserMeta() != 0:
			items |= item.UserMeta()
		case !errors.Is(err, badger.ErrKeyNotFound):
			items = 0 // it is there, or may be
		}
	}
	*last = lastMark{at, items, true}
	b.marked = append(b.marked, last)
	b.set(key, nil, items)
}

// markCost is the most that marks add to a change of n deliveries, of which some may be dead.
func (s *Store) markCost(n int) int64 { return int64(n) * keyCost(markSize, 0, s.threshold) }

// buildMarks writes the marks of a directory that was made before there were any, and notes that it has them all. Until then
// nobody relies on them. When it is interrupted, the next Open begins anew.
func (s *Store) buildMarks() error {
	ctx := context.Background()
	for _, w := range s.directory.All() {
		webhook, err := parseUUID(w.ID)
		if err != nil {
			continue
		}
		from := deliveryKey(webhook, uuid{})
		for from != nil {
			if err := s.buildStep(ctx, webhook, &from); err != nil {
				return err
			}
		}
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.submit(ctx, &putMarks{s: s, done: true}, false)
}

func (s *Store) buildStep(ctx context.Context, webhook uuid, from *[]byte) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.interrupted(ctx); err != nil {
		return err
	}
	c := &putMarks{s: s}
	err := s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: webhookKey(prefixDelivery, webhook)})
		defer it.Close()
		scanned := 0
		for it.Seek(*from); it.Valid(); it.Next() {
			if scanned++; scanned > stepScan || len(c.keys) >= 4*stepKeys {
				*from = it.Item().KeyCopy(nil)
				return nil
			}
			c.add(prefixMark, webhook, deliveryID(it.Item().Key()).stretch())
			if it.Item().UserMeta() == codec.Dead {
				c.add(prefixDeadMark, webhook, deliveryID(it.Item().Key()).stretch())
			}
		}
		*from = nil
		return nil
	})
	if err != nil || len(c.keys) == 0 {
		return err
	}
	return s.submit(ctx, c, false)
}

// putMarks writes marks, or, done, that there are all of them.
type putMarks struct {
	s    *Store
	keys [][]byte
	last map[byte]stretch
	done bool
}

func (c *putMarks) add(kind byte, webhook uuid, at stretch) {
	if last, ok := c.last[kind]; ok && last == at {
		return
	}
	if c.last == nil {
		c.last = make(map[byte]stretch)
	}
	c.last[kind] = at
	c.keys = append(c.keys, markKey(kind, at, webhook))
}

func (c *putMarks) cost() (int, int64) { return len(c.keys) + 1, c.s.markCost(len(c.keys) + 1) }

func (c *putMarks) prepare(b *batch) error {
	for _, key := range c.keys {
		b.set(key, nil, 0)
	}
	if c.done {
		b.set(formatKey, []byte{formatVersion}, 0)
	}
	return nil
}

func (c *putMarks) apply(*batch) {
	if c.done {
		c.s.markedAll.Store(true)
	}
}

func (c *putMarks) undo() {}

// marker builds the marks in the background.
func (s *Store) marker() {
	for {
		err := s.buildMarks()
		if err == nil || errors.Is(err, store.ErrClosed) {
			return
		}
		s.log.Errorf("indexing deliveries by time: %v", err)
		select {
		case <-time.After(purgeRetry):
		case <-s.closing:
			return
		}
	}
}

// pruneMarks erases marks of what is no more: those older than a time, and all marks of dead deliveries.
func (s *Store) pruneMarks(ctx context.Context, before time.Time) error {
	for kind, end := range map[byte]stretch{
		prefixMark:     firstID(before.Add(idSlack)).stretch(),
		prefixDeadMark: lastID.stretch(),
	} {
		from := []byte{kind}
		for from != nil {
			if err := s.interrupted(ctx); err != nil {
				return err
			}
			c := &eraseMarks{s: s, kind: kind}
			var err error
			if c.keys, from, err = s.emptyMarks(kind, from, end); err != nil {
				return err
			}
			if len(c.keys) == 0 {
				continue
			}
			if err := s.submit(ctx, c, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// emptyMarks reads a step's worth of marks that stand for nothing, and returns where to go on; nil at the end.
func (s *Store) emptyMarks(kind byte, from []byte, end stretch) (empty [][]byte, next []byte, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		marks := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{kind}})
		defer marks.Close()
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{prefixDelivery}})
		defer it.Close()
		scanned := 0
		for marks.Seek(from); marks.Valid(); marks.Next() {
			key := marks.Item().KeyCopy(nil)
			if !markStretch(key).first().before(end.last()) {
				return nil
			}
			if scanned++; scanned > stepScan || len(empty) == stepKeys {
				next = key
				return nil
			}
			if emptyMark(it, key) {
				empty = append(empty, key)
			}
		}
		return nil
	})
	return empty, next, err
}

// emptyMark reports whether a mark stands for nothing. The iterator goes through deliveries.
func emptyMark(it *badger.Iterator, key []byte) bool {
	at, webhook := markStretch(key), markWebhook(key)
	prefix := append(webhookKey(prefixDelivery, webhook), at[:]...)
	for it.Seek(prefix); it.ValidForPrefix(prefix); it.Next() {
		if key[0] == prefixMark || it.Item().UserMeta() == codec.Dead {
			return false
		}
	}
	return true
}

type eraseMarks struct {
	s    *Store
	kind byte
	keys [][]byte
}

func (c *eraseMarks) cost() (int, int64) { return len(c.keys), c.s.markCost(len(c.keys)) }

// prepare looks once more: what has been committed since may have relied on a mark that was there.
func (c *eraseMarks) prepare(b *batch) error {
	var empty [][]byte
	it := b.txn.NewIterator(badger.IteratorOptions{Prefix: []byte{prefixDelivery}})
	for _, key := range c.keys {
		if emptyMark(it, key) {
			empty = append(empty, key)
		}
	}
	it.Close()
	for _, key := range empty {
		c.s.unmark(c.kind, key)
		b.delete(key)
	}
	return nil
}

// unmark forgets that a mark was written.
func (s *Store) unmark(kind byte, key []byte) {
	s.laneMu.RLock()
	l := s.lanes[markWebhook(key)]
	s.laneMu.RUnlock()
	if l == nil {
		return
	}
	if kind == prefixMark {
		l.marked = lastMark{}
	} else {
		l.markedDead = lastMark{}
	}
}

func (c *eraseMarks) apply(*batch) {}

func (c *eraseMarks) undo() {}

// webhooksAt are those that may have a delivery with an id.
func webhooksAt(txn *badger.Txn, id uuid) []uuid {
	at := id.stretch()
	prefix := append([]byte{prefixMark}, at[:]...)
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	var ws []uuid
	for it.Rewind(); it.Valid(); it.Next() {
		ws = append(ws, markWebhook(it.Item().Key()))
	}
	return ws
}

// readFormat returns -1 for a new directory.
func (s *Store) readFormat() (int, error) {
	version := -1
	err := s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(formatKey)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			if len(v) != 1 {
				return fmt.Errorf("format: %w", errCorrupt)
			}
			version = int(v[0])
			return nil
		})
	})
	return version, err
}
