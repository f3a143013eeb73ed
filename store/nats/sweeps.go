package nats

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// errElsewhere says that another instance delivers for the webhook, which alone knows what of it is claimed.
var errElsewhere = errors.New("another instance delivers for the webhook")

// Kill makes dead what is pending of a webhook, but for what is claimed. The instance that delivers for the webhook does
// it; another one asks it to.
func (s *Store) Kill(ctx context.Context, webhook string) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	n, err := s.kill(ctx, webhook)
	if errors.Is(err, errElsewhere) {
		n, err = s.askOwner(ctx, question{Kill: true, Webhook: webhook})
	}
	if err != nil {
		return n, fmt.Errorf("killing deliveries: %w", err)
	}
	return n, nil
}

func (s *Store) kill(ctx context.Context, webhook string) (int, error) {
	if err := s.lockUnmoved(ctx, webhook); err != nil {
		return 0, err
	}
	l := s.find(webhook)
	if l == nil {
		s.mu.Unlock()
		return 0, nil
	}
	if !l.mine {
		s.mu.Unlock()
		return 0, errElsewhere
	}
	l.killing++ // what is claimed is what was claimed before
	body := binary.AppendUvarint(append([]byte(nil), l.webhook[:]...), s.applied)
	var except []uuid.UUID
	for _, c := range s.claims {
		if c.lane == l && !c.held {
			except = append(except, c.entry.id)
		}
	}
	s.mu.Unlock()
	body = binary.AppendUvarint(body, uint64(len(except)))
	for _, id := range except {
		body = append(body, id[:]...)
	}
	o := newOp(kindKill, body)
	err := s.submit(ctx, o)
	s.mu.Lock()
	l.killing--
	var due []dueWebhook
	if l.mine && len(l.queue) > 0 {
		due = append(due, dueWebhook{l.name, l.queue[0].due}) // who asked meanwhile was told that there is nothing
	}
	s.mu.Unlock()
	s.notify(due)
	if err != nil {
		return 0, err
	}
	return o.n, nil
}

// Replay makes a delivery pending and due at now; its retry schedule starts over. Whether one that is pending is being
// attempted is known to the instance that delivers for the webhook, which is asked then.
func (s *Store) Replay(ctx context.Context, webhook, id string, now time.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	err := s.replay(ctx, webhook, id, now)
	if errors.Is(err, errElsewhere) {
		_, err = s.askOwner(ctx, question{Webhook: webhook, ID: id, Now: now})
	}
	if err != nil {
		return fmt.Errorf("replaying delivery: %w", err)
	}
	return nil
}

func (s *Store) replay(ctx context.Context, webhook, id string, now time.Time) error {
	for {
		err := s.replayOnce(ctx, webhook, id, now)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// replayOnce returns ErrConflict if the delivery changed meanwhile.
func (s *Store) replayOnce(ctx context.Context, webhook, id string, now time.Time) error {
	if err := s.lockUnmoved(ctx, webhook); err != nil {
		return err
	}
	c, r, err := s.hold(webhook, id)
	s.mu.Unlock()
	if err != nil || c == nil {
		return err
	}
	ds, err := s.read(ctx, []ref{r})
	if err != nil {
		s.unhold(c)
		return err
	}
	d := ds[0]
	d.State, d.Due, d.Spent = store.Pending, now, len(d.Attempts)
	if err := s.submit(ctx, newPut(c, &d)); err != nil {
		s.unhold(c)
		return err
	}
	return nil
}

// hold keeps a delivery from being claimed while it is changed. There is no claim if an emitter has it. mu is held.
func (s *Store) hold(webhook, id string) (*claim, ref, error) {
	key, err := parseID(id)
	if err != nil {
		return nil, ref{}, store.ErrNotFound
	}
	l := s.find(webhook)
	if l == nil {
		return nil, ref{}, store.ErrNotFound
	}
	e := l.find(key)
	if e == nil {
		return nil, ref{}, store.ErrNotFound
	}
	if c := s.claims[address{l.webhook, key}]; c != nil {
		return nil, ref{}, nil // or it is being replayed just now
	}
	if e.state == codec.Pending && !l.mine {
		return nil, ref{}, errElsewhere
	}
	r := s.refer(l, e)
	c := s.beginClaim(l, e, true)
	l.settle(e)
	return c, r, nil
}

// unhold ends what hold began if there was no change, and tells whoever was told meanwhile that nothing is due.
func (s *Store) unhold(c *claim) {
	s.mu.Lock()
	due := s.release(c)
	s.mu.Unlock()
	s.notify(due)
}

// Prune erases what is delivered or dead and was captured before a time.
func (s *Store) Prune(ctx context.Context, before time.Time) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	if !s.prunable(codec.Nanos(before)) {
		return 0, nil
	}
	o := newOp(kindPrune, binary.AppendVarint(nil, codec.Nanos(before)))
	if err := s.submit(ctx, o); err != nil {
		return 0, fmt.Errorf("pruning deliveries: %w", err)
	}
	return o.n, nil
}

// prunable spares the log a change that changes nothing: every instance prunes.
func (s *Store) prunable(before int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if l.delivered+l.dead == 0 {
			continue
		}
		for _, e := range l.entries {
			if e.state != codec.Pending && e.created < before {
				return true
			}
		}
	}
	return false
}
