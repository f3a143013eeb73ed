package nats

import (
	"context"
	"errors"
	"fmt"
	"math"
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
		c, r, err := s.hold(a.webhook.String(), a.id.String())
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, errElsewhere) || err == nil && c == nil {
			continue
		}
		if err != nil {
			return err
		}
		ds, err := s.read(ctx, []ref{r})
		if unreadable(err) {
			s.mu.Lock()
			s.setAside(c, err)
			s.mu.Unlock()
			continue
		}
		if err == nil {
			err = s.submit(ctx, newPut(c, &ds[0]))
		}
		if err != nil {
			s.unhold(c)
		}
		if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
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
