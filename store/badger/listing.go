package badger

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
)

// Get returns one delivery, of any webhook if none is named. ErrNotFound, also for ids that are no UUIDs. A record that cannot be read is an error.
func (s *Store) Get(ctx context.Context, webhook, id string) (store.Delivery, error) {
	if err := s.enter(ctx); err != nil {
		return store.Delivery{}, err
	}
	defer s.leave()
	d, err := s.get(ctx, webhook, id)
	if err != nil {
		return store.Delivery{}, fmt.Errorf("getting delivery: %w", closedError(err))
	}
	return d, nil
}

func (s *Store) get(ctx context.Context, webhook, id string) (d store.Delivery, err error) {
	if webhook == "" {
		key, err := parseUUID(id)
		if err != nil {
			return d, store.ErrNotFound
		}
		return s.getAnywhere(ctx, key)
	}
	l, key, err := s.address(webhook, id)
	if err != nil {
		return d, err
	}
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(deliveryKey(l.webhook, key))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return store.ErrNotFound
		}
		if err != nil {
			return err
		}
		d, err = s.decodeItem(l, item)
		return err
	})
	return d, err
}

// address finds what is needed to reach a delivery. ErrNotFound if there is no such webhook, or no such ids.
func (s *Store) address(webhook, id string) (*lane, uuid, error) {
	key, err := parseUUID(id)
	if err != nil || s.directory.Get(webhook) == nil {
		return nil, key, store.ErrNotFound
	}
	l := s.find(webhook)
	if l == nil {
		return nil, key, store.ErrNotFound
	}
	return l, key, nil
}

// decodeItem decodes a delivery as it is to be shown. A corrupt one is kept aside.
func (s *Store) decodeItem(l *lane, item *badger.Item) (store.Delivery, error) {
	var d store.Delivery
	id := deliveryID(item.Key())
	err := item.Value(func(v []byte) error {
		var err error
		if d, err = decodeDelivery(l.webhook, id, v); err != nil {
			s.aside(item.Key(), v, err)
		}
		return err
	})
	if err == nil && d.State == store.Pending && l.claimed(id) {
		d.State = store.Delivering
	}
	return d, err
}

// List returns deliveries of a webhook, newest first. There are none of an unknown webhook. A before that is no
// UUID is an error.
func (s *Store) List(ctx context.Context, webhook, before string, limit int) ([]store.Delivery, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 || s.directory.Get(webhook) == nil {
		return nil, nil
	}
	l := s.find(webhook)
	if l == nil {
		return nil, nil
	}
	from := deliveryKey(l.webhook, endSlot.id())
	if before != "" {
		id, err := parseUUID(before)
		if err != nil {
			return nil, fmt.Errorf("listing deliveries: %w", err)
		}
		from = deliveryKey(l.webhook, id)
	}
	ds, err := s.list(ctx, l, from, limit)
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", closedError(err))
	}
	return ds, nil
}

// list reads up to limit deliveries in front of the key from, backwards.
func (s *Store) list(ctx context.Context, l *lane, from []byte, limit int) ([]store.Delivery, error) {
	var ds []store.Delivery
	err := s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{
			Prefix: webhookKey(prefixDelivery, l.webhook), Reverse: true,
			PrefetchValues: true, PrefetchSize: min(limit, 100),
		})
		defer it.Close()
		for it.Seek(from); it.Valid() && len(ds) < limit; it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			item := it.Item()
			if string(item.Key()) == string(from) {
				continue
			}
			d, err := s.decodeItem(l, item)
			if errors.Is(err, errCorrupt) {
				continue
			}
			if err != nil {
				return err
			}
			ds = append(ds, d)
		}
		return nil
	})
	return ds, err
}
