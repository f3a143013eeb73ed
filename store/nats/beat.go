package nats

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bentihooks/bentihooks/store/codec"
)

// beater says that this instance lives, and notes for how long it may believe so itself.
func (s *Store) beater() {
	defer s.wg.Done()
	for {
		if err := s.beatOnce(); err != nil && s.ctx.Err() == nil {
			s.options.Logf("debug", fmt.Sprintf("telling the other instances that this one lives: %v; tried again", err))
		}
		// The wait begins when the beat has come back: the interval holds between places in the log, whatever it is delayed.
		select {
		case <-time.After(s.options.beat):
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Store) beatOnce() error {
	sent := time.Now()
	s.mu.Lock()
	body := binary.AppendUvarint(nil, s.delivering()-uint64(s.orphans)) //nolint:gosec // a count
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, flightTime+ackTime)
	defer cancel()
	body = codec.Append(codec.Append(body, s.options.Name), s.options.Place)
	if err := s.submit(ctx, newOp(kindBeat, body)); err != nil {
		return err
	}
	s.mu.Lock()
	lapsed := !s.leased()
	s.lease = sent.Add(leaseBeats * s.options.beat)
	s.leaseWall = s.lease.Round(0) // without the monotonic clock
	for number, f := range s.flights {
		if f.over && time.Since(f.began) > time.Minute {
			delete(s.flights, number)
		}
	}
	var due []dueWebhook
	if lapsed {
		for _, l := range s.lanes {
			if l.mine && len(l.queue) > 0 {
				due = append(due, dueWebhook{l.name, l.queue[0].due})
			}
		}
	}
	s.mu.Unlock()
	s.notify(due)
	return nil
}

// leased reports whether this instance may still believe that it is a member. mu is held.
func (s *Store) leased() bool {
	now := time.Now()
	return now.Before(s.lease) && now.Before(s.leaseWall)
}

// yielder tells the others when nothing is claimed here any more that is another's by now.
func (s *Store) yielder() {
	defer s.wg.Done()
	for {
		select {
		case <-s.yields:
		case <-s.ctx.Done():
			return
		}
		view, ok := s.mayYield()
		if !ok {
			continue // the end of a claim looks again
		}
		ctx, cancel := context.WithTimeout(s.ctx, flightTime+ackTime)
		err := s.submit(ctx, newOp(kindYield, binary.AppendUvarint(nil, view)))
		cancel()
		if err == nil || s.ctx.Err() != nil {
			continue
		}
		s.mu.Lock()
		s.yielding = 0
		s.mu.Unlock()
		select {
		case <-time.After(resendPause):
			signal(s.yields)
		case <-s.ctx.Done():
			return
		}
	}
}

// mayYield returns the view to yield, if it has not been and nothing stands against it.
func (s *Store) mayYield() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members[s.instance] == nil || s.yielding >= s.view || s.foreign() {
		return 0, false
	}
	s.yielding = s.view
	return s.view, true
}

// foreign reports whether something is claimed of a webhook that is another's by now.
func (s *Store) foreign() bool {
	for _, c := range s.claims {
		if !c.held && !c.gone && c.lane.owner != s.instance {
			return true
		}
	}
	return false
}
