package badger

import "bytes"

// extent bounds the ids of a lane's deliveries from memory, so that nobody who looks through all lanes has to look into
// each on disk. It knows nothing when the store is opened, and learns from those who look. What is committed while
// they do is added by the committer, in any case before the call returns that asked for it. The lane's lock guards it.
type extent struct {
	top      uuid // no delivery has a greater id, if topKnown
	topKnown bool
	from     uuid // no pending delivery has a lesser id
	lowest   uuid // the least id that became pending since somebody began to look for the first pending one
}

// lastID is behind every id in use.
var lastID = endSlot.id()

// add takes note of a delivery that has become pending, or may have.
func (x *extent) add(id uuid) {
	x.top = maxID(x.top, id)
	x.from = minID(x.from, id)
	x.lowest = minID(x.lowest, id)
}

// learnTop takes note of the greatest id that somebody saw on disk.
func (x *extent) learnTop(id uuid) {
	x.top = maxID(x.top, id)
	x.topKnown = true
}

// beginLook and endLook enclose a look for the first pending delivery. One may look at a time.
func (x *extent) beginLook() uuid {
	x.lowest = lastID
	return x.from
}

// endLook takes note that nothing below id was pending on disk.
func (x *extent) endLook(id uuid) { x.from = minID(id, x.lowest) }

func (u uuid) before(v uuid) bool { return bytes.Compare(u[:], v[:]) < 0 }

func minID(u, v uuid) uuid {
	if v.before(u) {
		return v
	}
	return u
}

func maxID(u, v uuid) uuid {
	if u.before(v) {
		return v
	}
	return u
}

// next is the id behind u.
func (u uuid) next() uuid {
	for i := len(u) - 1; i >= 0; i-- {
		if u[i]++; u[i] != 0 {
			return u
		}
	}
	return lastID
}
