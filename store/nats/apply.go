package nats

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// applying is one proposal as it takes effect.
type applying struct {
	s        *Store
	seq      uint64
	instance uuid.UUID
	due      []dueWebhook
	moved    bool // who owns what may have changed
}

// apply makes one change. own is our op, if it is ours; mu is held. An error makes the state unusable.
func (a *applying) apply(kind byte, body []byte, at uint32, own *op) error {
	r := newReader(body)
	var err error
	switch kind {
	case kindBeat:
		a.beat(r)
	case kindLeave:
		a.moved = a.s.membership.leave(a.seq, a.instance) || a.moved
	case kindYield:
		a.moved = a.s.membership.yield(a.instance, r.Uvarint()) || a.moved
	case kindCreate:
		err = a.create(r, own)
	case kindUpdate:
		err = a.update(r, own)
	case kindDelete:
		a.delete(r.uuid(), own)
	case kindEnqueue:
		err = a.enqueue(r, at)
	case kindPut:
		err = a.put(r, at, own)
	case kindKill:
		a.kill(r, own)
	case kindPrune:
		a.prune(r.Varint(), own)
	default:
		return fmt.Errorf("a change of kind %d is in the log, which this instance does not know: is another newer?", kind)
	}
	if err == nil && r.Bad {
		err = fmt.Errorf("%w: fields of a change do not fit", errCorrupt)
	}
	return err
}

func (a *applying) beat(r *reader) {
	claims, name, place := r.Uvarint(), r.Text(), ""
	if len(r.B) > 0 { // it is not in the log of older instances
		place = r.Text()
	}
	if r.Bad {
		return
	}
	a.s.meet(a.seq, a.instance, name, place)
	a.s.forgetParts(a.instance)
	if a.s.beat(a.seq, a.instance, name, claims) {
		a.moved = true
	}
}

// enqueue adds the deliveries of a change that are not there yet. A place is that of the length before a record, counted
// from the beginning of the content, in which the change's body begins at at.
func (a *applying) enqueue(r *reader, at uint32) error {
	s := a.s
	size := len(r.B)
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		webhook, id := r.uuid(), r.uuid()
		where := at + uint32(size-len(r.B)) //nolint:gosec // a content is shorter than 4 GiB
		record := r.Bytes()
		if r.Bad {
			break
		}
		l := s.lanes[webhook]
		if l == nil {
			s.totals.enqueued++
			s.totals.dropped++
			continue
		}
		if l.find(id) != nil {
			continue
		}
		sum, err := summarize(record)
		if err != nil {
			return err
		}
		e := &entry{id: id, due: sum.due, created: sum.created, place: place{a.seq, where}, index: -1, item: s.itemNumber(sum.item), state: sum.state}
		l.insert(e)
		l.count(e.state, 1)
		s.totals.count(e.state, 1)
		s.totals.enqueued++
		if e.state == codec.Pending {
			a.pend(l, e, record)
			if l.mine {
				l.welcome(e)
			}
		}
	}
	return nil
}

// pend queues a delivery that became pending.
func (a *applying) pend(l *lane, e *entry, record []byte) {
	l.settle(e)
	if l.mine {
		a.s.keep(e, record)
		a.due = append(a.due, dueWebhook{l.name, e.due})
	}
}

// put replaces a record, if it is still the one that the change names.
func (a *applying) put(r *reader, at uint32, own *op) error {
	size := len(r.B)
	webhook, id, was := r.uuid(), r.uuid(), r.place()
	where := at + uint32(size-len(r.B)) //nolint:gosec // likewise
	record := r.Bytes()
	if r.Bad {
		return nil
	}
	s := a.s
	if own != nil && own.claim != nil {
		s.endClaim(own.claim)
	}
	l := s.lanes[webhook]
	if l == nil {
		own.fail(store.ErrNotFound)
		return nil
	}
	e := l.find(id)
	if e == nil || e.place != was {
		own.fail(store.ErrConflict)
		return nil
	}
	sum, err := summarize(record)
	if err != nil {
		return err
	}
	s.drop(e)
	s.readmit(address{webhook, id}, e)
	l.count(e.state, -1)
	s.totals.count(e.state, -1)
	e.state, e.due, e.place = sum.state, sum.due, place{a.seq, where}
	l.count(e.state, 1)
	s.totals.count(e.state, 1)
	if e.state == codec.Pending {
		a.pend(l, e, record)
	} else {
		l.settle(e)
	}
	return nil
}

// kill makes dead what is pending of a webhook and has not changed since the message upto, but for some.
func (a *applying) kill(r *reader, own *op) {
	webhook, upto := r.uuid(), r.Uvarint()
	except := make(map[uuid.UUID]bool)
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		except[r.uuid()] = true
	}
	l := a.s.lanes[webhook]
	if l == nil || r.Bad {
		return
	}
	killed := 0
	for _, e := range l.entries {
		if e.state != codec.Pending || e.place.seq > upto || except[e.id] {
			continue
		}
		a.s.drop(e)
		e.state = codec.Dead
		l.settle(e)
		killed++
	}
	l.count(codec.Pending, -killed)
	l.count(codec.Dead, killed)
	a.s.totals.count(codec.Pending, -killed)
	a.s.totals.count(codec.Dead, killed)
	own.succeed(killed)
}

// prune erases what is delivered or dead and was captured before a time.
func (a *applying) prune(before int64, own *op) {
	pruned := 0
	for _, l := range a.s.lanes {
		if l.delivered+l.dead == 0 {
			continue
		}
		l.entries = slices.DeleteFunc(l.entries, func(e *entry) bool {
			if e.state == codec.Pending || e.created >= before {
				return false
			}
			l.count(e.state, -1)
			a.s.totals.count(e.state, -1)
			pruned++
			return true
		})
		if len(l.entries) < cap(l.entries)/4 {
			l.entries = slices.Clip(slices.Clone(l.entries))
		}
	}
	a.s.totals.pruned += uint64(pruned)
	own.succeed(pruned)
}
