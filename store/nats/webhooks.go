package nats

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bentihooks/bentihooks/store"
)

// webhookBody is a number and a webhook.
func webhookBody(n uint64, w store.Webhook) ([]byte, error) {
	b, err := json.Marshal(w.Normal()) //nolint:gosec // the store keeps secrets
	if err != nil {
		return nil, fmt.Errorf("encoding webhook: %w", err)
	}
	return append(binary.AppendUvarint(nil, n), b...), nil
}

// CreateWebhook adds w. Its id has to be a UUID in lower case that is not in use (ErrConflict).
func (s *Store) CreateWebhook(ctx context.Context, w store.Webhook, limit int) error {
	if _, err := parseID(w.ID); err != nil {
		return fmt.Errorf("creating webhook: %w", err)
	}
	body, err := webhookBody(uint64(max(limit, 0)), w)
	if err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.submit(ctx, newOp(kindCreate, body)); err != nil {
		return fmt.Errorf("creating webhook: %w", err)
	}
	return nil
}

// UpdateWebhook changes a webhook. change runs in the caller's goroutine, again if another instance changed the webhook
// meanwhile, and must not update webhooks itself.
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

func (s *Store) updateWebhook(ctx context.Context, id string, change func(*store.Webhook) error) (store.Webhook, error) {
	s.mu.Lock()
	old, l := s.directory.Get(id), s.find(id)
	var rev uint64
	if l != nil {
		rev = l.rev
	}
	s.mu.Unlock()
	if old == nil || l == nil {
		return store.Webhook{}, fmt.Errorf("updating webhook: %w", store.ErrNotFound)
	}
	w, err := old.Changed(change)
	if err != nil {
		return store.Webhook{}, err
	}
	body, err := webhookBody(rev, w)
	if err != nil {
		return store.Webhook{}, err
	}
	if err := s.submit(ctx, newOp(kindUpdate, body)); err != nil {
		return store.Webhook{}, fmt.Errorf("updating webhook: %w", err)
	}
	return w, nil
}

// DeleteWebhook removes a webhook and its deliveries at once. ErrNotFound.
func (s *Store) DeleteWebhook(ctx context.Context, id string) error {
	key, err := parseID(id)
	if err != nil {
		return fmt.Errorf("deleting webhook: %w", store.ErrNotFound)
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.submit(ctx, newOp(kindDelete, key[:])); err != nil {
		return fmt.Errorf("deleting webhook: %w", err)
	}
	return nil
}
