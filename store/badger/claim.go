package badger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// Claim hands out up to n deliveries of a webhook that are due, those due longest first; of a backlog beyond the
// window, every fourth is one of the latest. It costs no disk access but for refilling the window now and then. There
// is nothing to claim of an unknown webhook.
func (s *Store) Claim(ctx context.Context, webhook string, now time.Time, n int) ([]store.Delivery, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	l := s.find(webhook)
	if l == nil {
		return nil, nil
	}
	l.lock()
	defer l.unlock()
	var out []store.Delivery
	for len(out) < n {
		d, ok, err := s.claimNext(l, now)
		if err != nil && len(out) == 0 {
			return nil, fmt.Errorf("claiming: %w", closedError(err))
		}
		// What has been claimed before an error is handed out; the error comes up again with the next call.
		if err != nil || !ok {
			break
		}
		out = append(out, d)
	}
	return out, nil
}

// claimNext claims the next delivery of a lane if it is due. The lane is locked.
func (s *Store) claimNext(l *lane, now time.Time) (store.Delivery, bool, error) {
	for {
		if l.gone {
			return store.Delivery{}, false, nil
		}
		if len(l.window) == 0 {
			if l.cursor == endSlot {
				return store.Delivery{}, false, nil
			}
			if err := s.refill(l); err != nil {
				return store.Delivery{}, false, err
			}
			continue
		}
		e := l.window[0]
		if e.slot.nanos() > codec.Nanos(now) {
			return store.Delivery{}, false, nil // nor is anything fresh due, which is behind it
		}
		fresh := l.freshNext(codec.Nanos(now))
		if fresh {
			e = l.fresh[0]
		}
		d, err := s.decodeEntry(l, &e)
		if errors.Is(err, errCorrupt) {
			s.aside(deliveryKey(l.webhook, e.slot.id()), e.record, err)
			l.take(fresh)
			continue
		}
		if err != nil {
			return store.Delivery{}, false, err
		}
		l.take(fresh)
		l.claim(&claim{entry: e})
		s.counts.claim(1)
		d.State = store.Delivering
		return d, true, nil
	}
}

// decodeEntry decodes an entry, reading its record first if the window does not hold it.
func (s *Store) decodeEntry(l *lane, e *entry) (store.Delivery, error) {
	if e.record == nil {
		err := s.db.View(func(txn *badger.Txn) error {
			var err error
			e.record, err = readRecord(txn, deliveryKey(l.webhook, e.slot.id()))
			return err
		})
		if err != nil {
			return store.Delivery{}, err
		}
	}
	return decodeDelivery(l.webhook, e.slot.id(), e.record)
}

// readRecord reads a delivery that has to exist, because it is in the index.
func readRecord(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, fmt.Errorf("%w: missing, though it is in the index", errCorrupt)
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}

// refill reads on where the window ended. The window is empty and the lane locked. What gets committed meanwhile
// is not missed: applying it has to wait for the lock, and then finds the new cursor.
func (s *Store) refill(l *lane) error {
	room := s.room()
	err := s.scanQueue(l, func(txn *badger.Txn, at slot) (bool, error) {
		if len(l.window) >= room {
			l.cursor = at
			return false, nil
		}
		key := deliveryKey(l.webhook, at.id())
		record, err := readRecord(txn, key)
		if err == nil {
			err = checkRecord(record)
		}
		if errors.Is(err, errCorrupt) {
			s.aside(key, record, err)
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if len(record) > windowRecord {
			record = nil
		}
		l.window = append(l.window, entry{at, record})
		return true, nil
	})
	if err != nil {
		l.window = nil
		return fmt.Errorf("reading the queue: %w", err)
	}
	l.fresh = slices.DeleteFunc(l.fresh, func(e entry) bool { return e.slot.before(l.cursor) }) // the window has them now
	return nil
}

// scanQueue calls fn for what is pending on disk from the cursor on, but for what is claimed, until fn returns
// false. If it never did, the cursor is set to the end.
func (s *Store) scanQueue(l *lane, fn func(*badger.Txn, slot) (bool, error)) error {
	return s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: webhookKey(prefixQueue, l.webhook)})
		defer it.Close()
		for it.Seek(queueKey(l.webhook, l.cursor)); it.Valid(); it.Next() {
			at := queueSlot(it.Item().Key())
			if l.claims[at.id()] != nil {
				continue
			}
			if more, err := fn(txn, at); err != nil || !more {
				return err
			}
		}
		l.cursor = endSlot
		return nil
	})
}

// NextDue tells when the next unclaimed delivery of a webhook is due. It seeks a key if the window is empty.
func (s *Store) NextDue(ctx context.Context, webhook string) (time.Time, bool, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, false, err
	}
	defer s.leave()
	l := s.find(webhook)
	if l == nil {
		return time.Time{}, false, nil
	}
	l.lock()
	defer l.unlock()
	if len(l.window) > 0 {
		return l.window[0].slot.due(), true, nil
	}
	if l.gone || l.cursor == endSlot {
		return time.Time{}, false, nil
	}
	var due time.Time
	found := false
	err := s.scanQueue(l, func(_ *badger.Txn, at slot) (bool, error) {
		due, found = at.due(), true
		return false, nil
	})
	if err != nil {
		return time.Time{}, false, fmt.Errorf("reading the queue: %w", closedError(err))
	}
	return due, found, nil
}
