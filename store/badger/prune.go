package badger

import (
	"context"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store/codec"
)

// idSlack is how much the time in a delivery's id and its CreatedAt may differ. Prune reads no further than that.
const idSlack = time.Minute

// Prune erases delivered and dead deliveries captured before the given time, of all webhooks. If it returns an
// error, the number with it says how many were erased all the same.
func (s *Store) Prune(ctx context.Context, before time.Time) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	pruned := 0
	for _, w := range s.directory.All() {
		n, err := s.pruneWebhook(ctx, w.ID, before)
		pruned += n
		if err != nil {
			return pruned, fmt.Errorf("pruning deliveries: %w", closedError(err))
		}
	}
	if err := s.pruneMarks(ctx, before); err != nil {
		return pruned, fmt.Errorf("pruning marks: %w", closedError(err))
	}
	if pruned >= stepScan {
		signal(s.gc)
	}
	return pruned, nil
}

func (s *Store) pruneWebhook(ctx context.Context, webhook string, before time.Time) (int, error) {
	l := s.find(webhook)
	if l == nil {
		return 0, nil
	}
	pruned := 0
	var from uuid
	for more := true; more; {
		if err := s.interrupted(ctx); err != nil {
			return pruned, err
		}
		c := &prune{s: s, lane: l}
		var err error
		if c.found, from, more, err = s.prunable(l, from, before); err != nil {
			return pruned, err
		}
		if len(c.found) == 0 {
			continue
		}
		if err := s.submit(ctx, c, true); err != nil {
			return pruned, err
		}
		pruned += c.pruned
	}
	return pruned, nil
}

// prunable reads a step's worth of deliveries to be erased, from an id on. It returns where to go on, and whether
// there is more.
func (s *Store) prunable(l *lane, from uuid, before time.Time) (found []candidate, next uuid, more bool, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: webhookKey(prefixDelivery, l.webhook)})
		defer it.Close()
		scanned := 0
		for it.Seek(deliveryKey(l.webhook, from)); it.Valid(); it.Next() {
			item := it.Item()
			id := deliveryID(item.Key())
			at, dated := id.time()
			if dated && at.After(before.Add(idSlack)) {
				return nil
			}
			if scanned++; len(found) == stepKeys || scanned > stepScan {
				next, more = id, true
				return nil
			}
			// The state in the key spares reading the record of what is pending.
			if item.UserMeta() == codec.Pending {
				continue
			}
			d, err := s.decodeItem(l, item)
			if err != nil {
				// It cannot be listed either: the time in its id has to do.
				d.CreatedAt = at
			}
			if err == nil && !d.CreatedAt.Before(before) || err != nil && !at.Before(before.Add(-idSlack)) {
				continue
			}
			found = append(found, candidate{id: id, version: item.Version(), state: codec.State(item.UserMeta())})
		}
		return nil
	})
	return found, next, more, err
}

type prune struct {
	s      *Store
	lane   *lane
	found  []candidate
	pruned int
}

func (c *prune) cost() (int, int64) {
	return len(c.found), int64(len(c.found)) * keyCost(33, 0, c.s.threshold)
}

func (c *prune) prepare(b *batch) error {
	if c.s.directory.Get(c.lane.webhook.String()) == nil {
		return nil // deleted meanwhile: the purger erases it all
	}
	for i := range c.found {
		f := &c.found[i]
		same, err := f.unchanged(b, c.lane.webhook)
		if err != nil {
			b.err = err // what is in the batch already must not be committed
			return err
		}
		if !same {
			continue
		}
		c.pruned++
		b.counts.leave(f.state)
		b.counts.pruned++
		b.delete(deliveryKey(c.lane.webhook, f.id))
	}
	return nil
}

func (c *prune) apply(*batch) {}

func (c *prune) undo() {}
