package nats

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	// beatInterval is the least time between two signs of life of an instance.
	beatInterval = time.Second
	// missedBeats is how many signs of life of one other instance an instance may miss before it is out: at least
	// missedBeats-1 intervals, however slow the log is, because a beat is sent only when the one before has come back.
	missedBeats = 5
	// leaseBeats is for how many intervals after it sent a beat an instance believes that it is a member. It has to be
	// less than missedBeats-1: an instance that hangs stops claiming before another begins.
	leaseBeats = 3
)

// membership is who delivers. It is a function of the log alone, so all instances agree on it at each place of the log.
//
// A change of members moves webhooks from one instance to another. While all are well, nothing may be delivered twice,
// so the new owner waits until the others have said (kindYield) that nothing they have claimed is another's now. The owner of a
// webhook in current delivers if it owned it in settled, too, which is current again once all have yielded.
type membership struct {
	members map[uuid.UUID]*member
	view    uint64 // the sequence of the latest change
	current []uuid.UUID
	settled []uuid.UUID
}

type member struct {
	id      uuid.UUID
	name    string // of what it runs for; another instance of the same name replaces it
	missed  map[uuid.UUID]int
	yielded uint64 // the latest view for which it has yielded
	claims  uint64 // how many deliveries it was attempting at its latest beat
}

// beat notes a sign of life and reports whether that changed who is a member.
func (m *membership) beat(seq uint64, id uuid.UUID, name string, claims uint64) bool {
	changed := false
	from := m.members[id]
	if from == nil {
		if m.members == nil {
			m.members = make(map[uuid.UUID]*member)
		}
		from = &member{id: id, name: name}
		m.members[id] = from
		changed = true
	}
	from.missed, from.claims = nil, claims
	for _, other := range m.members {
		switch {
		case other == from:
		case other.name == name:
			delete(m.members, other.id)
			changed = true
		default:
			if other.missed == nil {
				other.missed = make(map[uuid.UUID]int)
			}
			if other.missed[id]++; other.missed[id] >= missedBeats {
				delete(m.members, other.id)
				changed = true
			}
		}
	}
	if changed {
		m.change(seq)
	}
	return changed
}

// leave removes a member and reports whether it was one.
func (m *membership) leave(seq uint64, id uuid.UUID) bool {
	if m.members[id] == nil {
		return false
	}
	delete(m.members, id)
	m.change(seq)
	return true
}

func (m *membership) change(seq uint64) {
	m.view = seq
	m.list()
	m.settle()
}

// list has current say who the members are.
func (m *membership) list() {
	m.current = nil
	for id := range m.members {
		m.current = append(m.current, id)
	}
	slices.SortFunc(m.current, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
}

// yield notes that what a member has claimed is its own by a view.
func (m *membership) yield(id uuid.UUID, view uint64) bool {
	from := m.members[id]
	if from == nil {
		return false
	}
	from.yielded = max(from.yielded, view)
	return m.settle()
}

// settle reports whether all have yielded now and had not before.
func (m *membership) settle() bool {
	if m.isSettled() {
		return false
	}
	for _, member := range m.members {
		if member.yielded < m.view {
			return false
		}
	}
	m.settled = m.current
	return true
}

func (m *membership) isSettled() bool { return slices.Equal(m.settled, m.current) }

// owner is the instance that delivers for a webhook, of those given: the one with the highest score, so that a change of
// members moves no webhook that it does not have to. The zero id if there are none.
func owner(members []uuid.UUID, webhook uuid.UUID) uuid.UUID {
	var best uuid.UUID
	var most uint64
	for _, id := range members {
		if s := score(id, webhook); s >= most {
			best, most = id, s
		}
	}
	return best
}

// score mixes two ids: the finalizer of MurmurHash3 over their words.
func score(a, b uuid.UUID) uint64 {
	h := uint64(0)
	for _, word := range []uint64{
		binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]),
	} {
		h ^= word
		h ^= h >> 33
		h *= 0xff51afd7ed558ccd
		h ^= h >> 33
		h *= 0xc4ceb9fe1a85ec53
		h ^= h >> 33
	}
	return h
}
