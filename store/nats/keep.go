package nats

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// maxMoves is how many records are moved to the end of the log at a time.
const maxMoves = 1000

// keeper keeps the log short: it makes snapshots and cuts off what nothing refers to any more.
func (s *Store) keeper() {
	defer s.wg.Done()
	tick := time.NewTicker(s.options.keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		if err := s.keepLog(); err != nil && s.ctx.Err() == nil {
			s.options.Logf("warn", fmt.Sprintf("keeping the log short: %v; tried again", err))
		}
	}
}

func (s *Store) keepLog() error {
	ctx, cancel := context.WithTimeout(s.ctx, keepInterval)
	defer cancel()
	s.retryAside()
	s.mu.Lock()
	first := len(s.current) > 0 && s.current[0] == s.instance && s.leased()
	due := s.applied-s.lastSnapshot() >= s.options.snapshotTail
	s.mu.Unlock()
	if first && due {
		if err := s.saveSnapshot(ctx); err != nil {
			return fmt.Errorf("making a snapshot: %w", err)
		}
	}
	if err := s.meetSnapshot(ctx); err != nil {
		return fmt.Errorf("looking for a snapshot: %w", err)
	}
	limit := s.oldSnapshot()
	if limit == 0 {
		return nil
	}
	if err := s.moveStragglers(ctx, limit); err != nil {
		return fmt.Errorf("moving old records: %w", err)
	}
	if !first {
		return nil
	}
	if to := s.needed(limit); to > 1 {
		if err := s.stream.Purge(ctx, jetstream.WithPurgeSequence(to)); err != nil {
			return fmt.Errorf("cutting off the log before message %d: %w", to, err)
		}
	}
	return nil
}

// oldSnapshot is where the latest snapshot was made that is so old that nobody who still goes on follows from before it.
func (s *Store) oldSnapshot() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit, at := uint64(0), -1
	for i, t := range s.snapshots {
		if time.Since(t.at) >= s.options.purgeAge {
			limit, at = t.applied, i
		}
	}
	if at > 0 {
		s.snapshots = s.snapshots[at:]
	}
	return limit
}

// needed is the sequence of the first message that something refers to, at most the one behind limit.
func (s *Store) needed(limit uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := limit + 1
	for _, l := range s.lanes {
		for _, e := range l.entries {
			to = min(to, s.begins(e.place.seq))
		}
	}
	for _, p := range s.parts {
		to = min(to, p.seqs[0])
	}
	return to
}

// begins is the sequence of the first part of the proposal that ends at seq. mu is held.
func (s *state) begins(seq uint64) uint64 {
	if seqs := s.large[seq]; seqs != nil {
		return seqs[0]
	}
	return seq
}

// moveStragglers puts the records of old pending deliveries at the end of the log, so that it can be cut off behind them.
// Those are the ones from before all that is delivered or dead, which goes when its retention ends. Each instance moves its
// own: what is claimed stays, because its claim names the record's place.
func (s *Store) moveStragglers(ctx context.Context, limit uint64) error {
	for _, a := range s.stragglers(limit) {
		err := s.moveToEnd(ctx, a)
		if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, errElsewhere) {
			return err
		}
	}
	return nil
}

// move is a record's way to the end of the log, while which nobody must notice that the delivery is held.
type move struct {
	lane    *lane
	ended   chan struct{}
	waiting sync.WaitGroup
}

// lockUnmoved locks mu when no record of the webhook is being moved, unless it returns an error.
func (s *Store) lockUnmoved(ctx context.Context, webhook string) error {
	s.mu.Lock()
	m := s.move
	if m == nil || m.lane != s.find(webhook) {
		return nil
	}
	m.waiting.Add(1)
	s.mu.Unlock()
	select {
	case <-m.ended:
	case <-ctx.Done():
	}
	s.mu.Lock()
	m.waiting.Done() // from here on the next record may be moved
	if err := ctx.Err(); err != nil {
		s.mu.Unlock()
		return err
	}
	return nil
}

// beginMove is false if deliveries of the webhook are being killed, which would not meet one that moves, or it is deleted.
func (s *Store) beginMove(a address) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[a.webhook]
	if l == nil || l.killing > 0 {
		return false
	}
	s.move = &move{lane: l, ended: make(chan struct{})}
	return true
}

// endMove lets those go on who wait, before another move begins.
func (s *Store) endMove() {
	s.mu.Lock()
	m := s.move
	s.move = nil
	s.mu.Unlock()
	close(m.ended)
	m.waiting.Wait()
}

// moveToEnd puts the record of a pending delivery at the end of the log, unless somebody has it in hand.
func (s *Store) moveToEnd(ctx context.Context, a address) error {
	if !s.beginMove(a) {
		return nil
	}
	defer s.endMove()
	s.mu.Lock()
	c, r, err := s.hold(a.webhook.String(), a.id.String())
	s.mu.Unlock()
	if err != nil || c == nil {
		return err
	}
	ds, err := s.read(ctx, []ref{r})
	if unreadable(err) {
		s.mu.Lock()
		s.setAside(c, err)
		s.mu.Unlock()
		return nil
	}
	if err == nil {
		err = s.submit(ctx, newPut(c, &ds[0]))
	}
	if err != nil {
		s.unhold(c)
	}
	return err
}

func (s *Store) stragglers(limit uint64) []address {
	s.mu.Lock()
	defer s.mu.Unlock()
	final := uint64(math.MaxUint64)
	for _, l := range s.lanes {
		if l.delivered+l.dead == 0 {
			continue
		}
		for _, e := range l.entries {
			if e.state != codec.Pending {
				final = min(final, e.place.seq)
			}
		}
	}
	var found []address
	if final == math.MaxUint64 {
		return nil // all there is is pending
	}
	for _, l := range s.lanes {
		if !l.mine {
			continue
		}
		for _, e := range l.entries {
			if e.state == codec.Pending && !e.claimed && e.place.seq < min(final, limit) && len(found) < maxMoves {
				found = append(found, address{l.webhook, e.id})
			}
		}
	}
	return found
}
