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

const (
	// collectEvery is how often the value log is looked over for space to give back.
	collectEvery = 5 * time.Minute
	// collectFiles is how many of its files are rewritten at a time.
	collectFiles = 4
	// collectRatio is the share of a file that has to be garbage.
	collectRatio = 0.5
	// purgeRetry is how long the purger waits after an error.
	purgeRetry = 10 * time.Second
)

// purger erases the deliveries of deleted webhooks in the background.
func (s *Store) purger() {
	for {
		select {
		case <-s.purge:
		case <-s.closing:
			return
		}
		err := s.purgeAll()
		if err == nil || errors.Is(err, store.ErrClosed) {
			continue
		}
		s.log.Errorf("erasing deliveries of deleted webhooks: %v", err)
		select {
		case <-time.After(purgeRetry):
			signal(s.purge)
		case <-s.closing:
			return
		}
	}
}

func (s *Store) purgeAll() error {
	if err := s.enter(context.Background()); err != nil {
		return err
	}
	doomed, err := s.tombstones()
	s.leave()
	for _, webhook := range doomed {
		err = errors.Join(err, s.purgeWebhook(webhook))
	}
	return err
}

func (s *Store) tombstones() ([]uuid, error) {
	var doomed []uuid
	err := s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{prefixTombstone}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			doomed = append(doomed, uuid(it.Item().Key()[1:]))
		}
		return nil
	})
	return doomed, err
}

// purgeWebhook erases what there is of a deleted webhook, but for claimed deliveries: when their claims end, the
// purger is woken again. The index goes first, as it says what is pending, and the tombstone last.
func (s *Store) purgeWebhook(webhook uuid) error {
	p := &purgePass{s: s, webhook: webhook}
	for _, prefix := range []byte{prefixQueue, prefixDelivery} {
		p.prefix, p.from = prefix, webhookKey(prefix, webhook)
		for more := true; more; {
			var err error
			if more, err = p.step(); err != nil {
				return err
			}
		}
	}
	if p.erased >= stepScan {
		signal(s.gc)
	}
	if p.kept {
		return nil
	}
	if err := s.enter(context.Background()); err != nil {
		return err
	}
	defer s.leave()
	return s.submit(context.Background(), &bury{s: s, webhook: webhook}, true)
}

// purgePass goes through the keys of a webhook once. It remembers where it is, or every step would walk over the
// tombstones of those before.
type purgePass struct {
	s       *Store
	webhook uuid
	prefix  byte
	from    []byte
	kept    bool // something is still claimed
	erased  int
}

// step erases some, and reports whether there is more.
func (p *purgePass) step() (bool, error) {
	if err := p.s.enter(context.Background()); err != nil {
		return false, err
	}
	defer p.s.leave()
	if p.s.isClosing() {
		return false, store.ErrClosed
	}
	l := p.s.lane(p.webhook)
	if l == nil {
		return false, fmt.Errorf("webhook %s has a tombstone, but no lane", p.webhook)
	}
	found, more, err := p.scan(l)
	if err != nil || len(found) == 0 {
		return more, err
	}
	p.erased += len(found)
	return more, p.s.submit(context.Background(), &purge{s: p.s, webhook: p.webhook, found: found}, true)
}

func (p *purgePass) scan(l *lane) (found []candidate, more bool, err error) {
	err = p.s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: webhookKey(p.prefix, p.webhook)})
		defer it.Close()
		for it.Seek(p.from); it.Valid(); it.Next() {
			if len(found) == stepKeys {
				p.from, more = it.Item().KeyCopy(nil), true
				return nil
			}
			c := candidate{state: store.Pending}
			if p.prefix == prefixQueue {
				c.slot = queueSlot(it.Item().Key())
				c.id = c.slot.id()
			} else {
				c.id, c.state = deliveryID(it.Item().Key()), codec.State(it.Item().UserMeta())
			}
			// A claim met in the index may have ended since: the delivery still has its place there, and
			// would be counted twice.
			if l.claimed(c.id) || p.prefix == prefixDelivery && p.kept && c.state == store.Pending {
				p.kept = true
				continue
			}
			found = append(found, c)
		}
		return nil
	})
	return found, more, err
}

// purge erases deliveries of a deleted webhook, which nobody else changes any more.
type purge struct {
	s       *Store
	webhook uuid
	found   []candidate
}

func (c *purge) cost() (int, int64) {
	n := 2 * len(c.found)
	return n, int64(n) * keyCost(41, 0, c.s.threshold)
}

func (c *purge) prepare(b *batch) error {
	for i := range c.found {
		f := &c.found[i]
		b.delete(deliveryKey(c.webhook, f.id))
		if f.slot != (slot{}) {
			b.delete(queueKey(c.webhook, f.slot))
		}
		switch f.state {
		case store.Delivered, store.Dead:
			b.counts.leave(f.state)
			b.counts.pruned++
		default:
			b.counts.final(store.Dropped)
		}
	}
	return nil
}

func (c *purge) apply(*batch) {}

func (c *purge) undo() {}

// bury removes the tombstone when all else is gone.
type bury struct {
	s       *Store
	webhook uuid
}

func (c *bury) cost() (int, int64) { return 1, keyCost(17, 0, c.s.threshold) }

func (c *bury) prepare(b *batch) error {
	b.delete(webhookKey(prefixTombstone, c.webhook))
	return nil
}

func (c *bury) apply(*batch) { c.s.dropLane(c.webhook) }

func (c *bury) undo() {}

// collector gives back the space of large records that are gone. Ordinary records are not in the value log. It also looks
// after the modes of files that are new.
func (s *Store) collector() {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.gc:
		case <-s.closing:
			return
		}
		s.makePrivate()
		for range collectFiles {
			if s.isClosing() || s.db.RunValueLogGC(collectRatio) != nil {
				break
			}
		}
	}
}
