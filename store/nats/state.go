package nats

import (
	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store/codec"
)

// state is what the log says, up to a message. It depends on nothing else, so it is the same on every instance.
type state struct {
	applied uint64 // the sequence of the message
	membership
	lanes  map[uuid.UUID]*lane // of every webhook one
	totals totals
	items  []string // that entries refer to by number; the first stands for all beyond maxItems
	itemNo map[string]uint16
	// parts are the proposals of which not all parts have been met. large are those of several parts that were, by the
	// sequence of their last part.
	parts map[proposal]*parts
	large map[uint64][]uint64
}

// proposal names one of an instance's.
type proposal struct {
	instance uuid.UUID
	number   uint64
}

type totals struct {
	enqueued, pending, delivered, dead, dropped, pruned uint64
}

// parts is what has been met of a proposal.
type parts struct {
	seqs    []uint64
	content []byte
	beats   map[uuid.UUID]int // signs of life of each instance since the latest of them
}

const (
	maxItems = 1<<16 - 1
	// partBeats is after how many signs of life of one instance the next part is not waited for any longer: more than there
	// are while it may be sent again.
	partBeats = 20
)

func newState() state {
	return state{
		lanes: make(map[uuid.UUID]*lane), items: []string{""}, itemNo: make(map[string]uint16),
		parts: make(map[proposal]*parts), large: make(map[uint64][]uint64),
	}
}

// count adds n to the number of deliveries in a state.
func (t *totals) count(state byte, n int) {
	switch state {
	case codec.Pending:
		t.pending += uint64(n) //nolint:gosec // negative ones wrap to the right sum
	case codec.Delivered:
		t.delivered += uint64(n) //nolint:gosec // likewise
	case codec.Dead:
		t.dead += uint64(n) //nolint:gosec // likewise
	}
}

func (s *state) itemNumber(item []byte) uint16 {
	if no, ok := s.itemNo[string(item)]; ok {
		return no
	}
	if len(s.items) > maxItems {
		return 0
	}
	no := uint16(len(s.items)) //nolint:gosec // there are at most maxItems
	s.items = append(s.items, string(item))
	s.itemNo[string(item)] = no
	return no
}

// collect returns the content of a proposal when all its parts have been met.
func (s *state) collect(seq uint64, m *message) ([]byte, bool) {
	if m.parts == 1 {
		return m.content, true
	}
	key := proposal{m.instance, m.number}
	if m.part == 0 {
		s.parts[key] = new(parts)
	}
	p := s.parts[key]
	if p == nil || uint64(len(p.seqs)) != m.part {
		return nil, false // of a proposal that was not sent whole
	}
	p.seqs = append(p.seqs, seq)
	p.content = append(p.content, m.content...)
	p.beats = make(map[uuid.UUID]int)
	if m.part+1 < m.parts {
		return nil, false
	}
	delete(s.parts, key)
	s.large[seq] = p.seqs
	return p.content, true
}

// forgetParts drops the parts of proposals that nobody sends any more. They would keep the log from being cut off.
func (s *state) forgetParts(beat uuid.UUID) {
	for key, p := range s.parts {
		if p.beats[beat]++; p.beats[beat] >= partBeats {
			delete(s.parts, key)
		}
	}
}

// assign finds out who owns a lane, and reports whether we may claim from it now and could not before. mu is held.
func (s *Store) assign(l *lane) bool {
	was := l.mine
	l.owner = owner(s.current, l.webhook)
	l.mine = l.owner == s.instance && (s.isSettled() || owner(s.settled, l.webhook) == s.instance)
	return l.mine && !was
}

// assignAll is assign for all lanes; it returns what is due of those that became ours.
func (s *Store) assignAll() []dueWebhook {
	var due []dueWebhook
	for _, l := range s.lanes {
		if s.assign(l) && len(l.queue) > 0 {
			due = append(due, dueWebhook{l.name, l.queue[0].due})
		}
	}
	return due
}
