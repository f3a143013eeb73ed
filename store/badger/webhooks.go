package badger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
)

// webhookVersion is the first byte of a webhook's record; JSON of store.Webhook follows.
const webhookVersion = 1

func encodeWebhook(w *store.Webhook) ([]byte, error) {
	b, err := json.Marshal(w) //nolint:gosec // what is stored holds the secret: it has to be sent
	if err != nil {
		return nil, fmt.Errorf("encoding webhook: %w", err)
	}
	return append([]byte{webhookVersion}, b...), nil
}

func decodeWebhook(b []byte) (store.Webhook, error) {
	var w store.Webhook
	if len(b) == 0 || b[0] != webhookVersion {
		return w, fmt.Errorf("%w: unknown version of a webhook", errCorrupt)
	}
	if err := json.Unmarshal(b[1:], &w); err != nil {
		return w, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return w, nil
}

// CreateWebhook adds w. Its id has to be a UUID in lower case that was never used before (ErrConflict).
func (s *Store) CreateWebhook(ctx context.Context, w store.Webhook, limit int) error {
	id, err := parseUUID(w.ID)
	if err != nil {
		return fmt.Errorf("creating webhook: %w", err)
	}
	w = w.Normal()
	record, err := encodeWebhook(&w)
	if err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.submit(ctx, &create{putWebhook{s: s, id: id, w: w, record: record}, limit}, true); err != nil {
		return fmt.Errorf("creating webhook: %w", err)
	}
	return nil
}

// UpdateWebhook changes a webhook. change runs in the caller's goroutine and must not update webhooks itself.
func (s *Store) UpdateWebhook(ctx context.Context, id string, change func(*store.Webhook) error) (store.Webhook, error) {
	if err := s.enter(ctx); err != nil {
		return store.Webhook{}, err
	}
	defer s.leave()
	select {
	case s.updating <- struct{}{}:
	case <-ctx.Done():
		return store.Webhook{}, ctx.Err()
	}
	defer func() { <-s.updating }()
	for {
		w, err := s.updateWebhook(ctx, id, change)
		if !errors.Is(err, errStale) {
			return w, err
		}
	}
}

// errStale says that the webhook changed under an update: by one whose caller did not wait for its end.
var errStale = errors.New("webhook changed meanwhile")

func (s *Store) updateWebhook(ctx context.Context, id string, change func(*store.Webhook) error) (store.Webhook, error) {
	old := s.directory.Get(id)
	if old == nil {
		return store.Webhook{}, fmt.Errorf("updating webhook: %w", store.ErrNotFound)
	}
	w, err := old.Changed(change)
	if err != nil {
		return store.Webhook{}, err
	}
	key, err := parseUUID(id)
	if err != nil {
		return store.Webhook{}, fmt.Errorf("updating webhook: %w", err)
	}
	record, err := encodeWebhook(&w)
	if err != nil {
		return store.Webhook{}, err
	}
	if err := s.submit(ctx, &update{putWebhook{s: s, id: key, w: w, record: record}, old}, true); err != nil {
		return store.Webhook{}, fmt.Errorf("updating webhook: %w", err)
	}
	return w.Normal(), nil
}

// DeleteWebhook removes a webhook at once and its deliveries, in the background, soon after; also after a restart.
// ErrNotFound.
func (s *Store) DeleteWebhook(ctx context.Context, id string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	key, err := parseUUID(id)
	if err != nil {
		return fmt.Errorf("deleting webhook: %w", store.ErrNotFound)
	}
	if err := s.submit(ctx, &deleteWebhook{s: s, id: key}, true); err != nil {
		return fmt.Errorf("deleting webhook: %w", err)
	}
	return nil
}

// putWebhook is what create and update have in common.
type putWebhook struct {
	s        *Store
	id       uuid
	w        store.Webhook
	record   []byte
	prepared bool
}

func (c *putWebhook) cost() (int, int64) { return 1, keyCost(17, len(c.record), c.s.threshold) }

func (c *putWebhook) write(b *batch) error {
	if c.s.directory.Duplicate(&c.w) != nil {
		return store.ErrDuplicate
	}
	c.prepared = true
	b.set(webhookKey(prefixWebhook, c.id), c.record, 0)
	return nil
}

func (c *putWebhook) apply(*batch) { c.s.directory.Put(c.w) }

func (c *putWebhook) undo() {
	if c.prepared {
		c.s.reloadWebhook(c.id)
	}
}

type create struct {
	putWebhook
	limit int
}

func (c *create) prepare(b *batch) error {
	c.s.laneMu.RLock()
	l := c.s.lanes[c.id]
	c.s.laneMu.RUnlock()
	if c.s.directory.Get(c.w.ID) != nil || l != nil {
		return fmt.Errorf("%w: the id is in use", store.ErrConflict)
	}
	if c.s.directory.Duplicate(&c.w) != nil {
		return store.ErrDuplicate
	}
	if len(c.s.directory.Project(c.w.Project)) >= c.limit {
		return store.ErrLimit
	}
	return c.write(b)
}

type update struct {
	putWebhook
	old *store.Webhook
}

func (c *update) prepare(b *batch) error {
	switch c.s.directory.Get(c.w.ID) {
	case c.old:
		return c.write(b)
	case nil:
		return store.ErrNotFound
	default:
		return errStale
	}
}

type deleteWebhook struct {
	s        *Store
	id       uuid
	prepared bool
}

func (c *deleteWebhook) cost() (int, int64) { return 2, 2 * keyCost(17, 0, c.s.threshold) }

func (c *deleteWebhook) prepare(b *batch) error {
	if c.s.directory.Get(c.id.String()) == nil {
		return store.ErrNotFound
	}
	c.prepared = true
	b.delete(webhookKey(prefixWebhook, c.id))
	b.set(webhookKey(prefixTombstone, c.id), nil, 0)
	return nil
}

func (c *deleteWebhook) apply(*batch) {
	c.s.directory.Delete(c.id.String())
	c.s.retire(c.id)
	signal(c.s.purge)
}

func (c *deleteWebhook) undo() {
	if c.prepared {
		c.s.reloadWebhook(c.id)
	}
}

// reloadWebhook sets the directory right after a commit of unknown outcome.
func (s *Store) reloadWebhook(id uuid) {
	var w *store.Webhook
	err := s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(webhookKey(prefixWebhook, id))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			kept, err := decodeWebhook(v)
			w = &kept
			return err
		})
	})
	switch {
	case err != nil:
		s.log.Errorf("reading webhook %s after a failed commit: %v", id, err)
	case w != nil:
		s.directory.Put(*w)
	case s.directory.Get(id.String()) != nil:
		s.directory.Delete(id.String())
		s.retire(id)
		signal(s.purge)
	}
}
