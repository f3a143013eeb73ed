package nats

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// formerBeats is for how many intervals one that starts listens for a sign of life of another of its name, before it takes
// that one's place: more than the interval between two.
const formerBeats = 3

// namesake is another instance with our name. Either it has ended and we are what runs in its place now, or our directory, with
// the name in it, is a copy: both would throw each other out, without end. The one that started later gives up then.
type namesake struct {
	place   string
	earlier bool   // it was there before us
	last    uint64 // the message of its latest sign of life
	beats   int    // signs of life since we joined
}

// meet notes a sign of life. mu is held.
func (s *Store) meet(seq uint64, from uuid.UUID, name, place string) {
	switch {
	case name != s.options.Name || s.options.Passive:
	case from != s.instance:
		s.meetNamesake(seq, from, place)
	case !s.joined:
		s.joined = true
		for id, m := range s.members {
			if m.name == name && s.namesakes[id] == nil {
				s.namesakes[id] = &namesake{earlier: true} // known from a snapshot
			}
		}
	}
}

func (s *Store) meetNamesake(seq uint64, from uuid.UUID, place string) {
	n := s.namesakes[from]
	if n == nil {
		n = &namesake{earlier: !s.joined}
		s.namesakes[from] = n
		if s.joined {
			s.options.Logf("warn", s.copied(place).Error()+". The other one came later; this one goes on.")
		}
	}
	n.place, n.last = place, seq
	if !s.joined {
		return
	}
	// The first may have been under way when it ended.
	if n.beats++; n.earlier && n.beats > 1 {
		s.fail(s.copied(place))
	}
}

func (s *Store) copied(place string) error {
	return fmt.Errorf("two instances run under one name: this one, at %s, and one at %s; the directory of one is a copy of the other's: give it an empty one",
		s.options.Place, place)
}

// awaitFormer fails if the instance whose place we are going to take is alive. It is not if it ran where we run, which is why nobody waits
// after a restart.
func (s *Store) awaitFormer(ctx context.Context) error {
	former, begun := s.former()
	if former == uuid.Nil {
		return nil
	}
	place, alive := "", false
	err := s.await(ctx, formerBeats*s.options.beat, func() bool {
		if n := s.namesakes[former]; n != nil {
			place, alive = n.place, n.last > begun
		}
		return alive
	})
	if alive {
		return s.copied(place)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// former is a member with our name that may run elsewhere, and up to where the log is known.
func (s *Store) former() (uuid.UUID, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range s.members {
		n := s.namesakes[id]
		if m.name == s.options.Name && s.options.Place != "" && (n == nil || n.place != s.options.Place) {
			return id, s.applied
		}
	}
	return uuid.Nil, 0
}
