package nats

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
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
}

const maxItems = 1<<16 - 1

func newState() state {
	return state{
		lanes: make(map[uuid.UUID]*lane), items: []string{""}, itemNo: make(map[string]uint16),
		parts: make(map[proposal]*parts), large: make(map[uint64][]uint64),
	}
}

// count adds n to the number of deliveries in a state.
func (t *totals) count(state byte, n int) {
	switch state {
	case statePending:
		t.pending += uint64(n) //nolint:gosec // negative ones wrap to the right sum
	case stateDelivered:
		t.delivered += uint64(n) //nolint:gosec // likewise
	case stateDead:
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
	if m.part+1 < m.parts {
		return nil, false
	}
	delete(s.parts, key)
	s.large[seq] = p.seqs
	return p.content, true
}

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
	r := reader{b: body}
	var err error
	switch kind {
	case kindBeat:
		a.beat(&r)
	case kindLeave:
		a.moved = a.s.membership.leave(a.seq, a.instance) || a.moved
	case kindYield:
		a.moved = a.s.membership.yield(a.instance, r.uvarint()) || a.moved
	case kindCreate:
		err = a.create(&r, own)
	case kindUpdate:
		err = a.update(&r, own)
	case kindDelete:
		a.delete(r.uuid(), own)
	case kindEnqueue:
		err = a.enqueue(&r, at)
	case kindPut:
		err = a.put(&r, at, own)
	case kindKill:
		a.kill(&r, own)
	case kindPrune:
		a.prune(r.varint(), own)
	default:
		return fmt.Errorf("a change of kind %d is in the log, which this instance does not know: is another newer?", kind)
	}
	if err == nil && r.bad {
		err = fmt.Errorf("%w: fields of a change do not fit", errCorrupt)
	}
	return err
}

func (a *applying) beat(r *reader) {
	claims, name, place := r.uvarint(), r.text(), ""
	if len(r.b) > 0 { // it is not in the log of older instances
		place = r.text()
	}
	if r.bad {
		return
	}
	a.s.meet(a.seq, a.instance, name, place)
	if a.s.beat(a.seq, a.instance, name, claims) {
		a.moved = true
	}
}

func readWebhook(r *reader) (store.Webhook, error) {
	var w store.Webhook
	if err := json.Unmarshal(r.b, &w); err != nil {
		return w, fmt.Errorf("%w: webhook: %w", errCorrupt, err)
	}
	return w, nil
}

func (a *applying) create(r *reader, own *op) error {
	limit := r.uvarint()
	w, err := readWebhook(r)
	if err != nil {
		return err
	}
	id, err := parseID(w.ID)
	if err != nil {
		return err
	}
	s := a.s
	switch {
	case s.lanes[id] != nil:
		own.fail(fmt.Errorf("%w: the id is in use", store.ErrConflict))
	case s.directory.Duplicate(&w) != nil:
		own.fail(store.ErrDuplicate)
	case uint64(len(s.directory.Project(w.Project))) >= limit:
		own.fail(store.ErrLimit)
	default:
		l := &lane{webhook: id, name: w.ID, rev: a.seq, floor: uuid.Max}
		s.lanes[id] = l
		s.assign(l)
		s.directory.Put(w)
	}
	return nil
}

func (a *applying) update(r *reader, own *op) error {
	rev := r.uvarint()
	w, err := readWebhook(r)
	if err != nil {
		return err
	}
	s := a.s
	l := s.find(w.ID)
	switch {
	case l == nil:
		own.fail(store.ErrNotFound)
	case l.rev != rev:
		own.fail(errStale)
	case s.directory.Duplicate(&w) != nil:
		own.fail(store.ErrDuplicate)
	default:
		l.rev = a.seq
		s.directory.Put(w)
	}
	return nil
}

func (a *applying) delete(id uuid.UUID, own *op) {
	s := a.s
	l := s.lanes[id]
	if l == nil {
		own.fail(store.ErrNotFound)
		return
	}
	delete(s.lanes, id)
	s.directory.Delete(l.name)
	s.totals.count(statePending, -l.pending)
	s.totals.count(stateDelivered, -l.delivered)
	s.totals.count(stateDead, -l.dead)
	s.totals.dropped += uint64(l.pending)           //nolint:gosec // a count
	s.totals.pruned += uint64(l.delivered + l.dead) //nolint:gosec // a count
	for _, c := range s.claims {
		if c.lane == l && !c.held {
			c.gone = true
			s.orphans++
		}
	}
	for _, e := range l.entries {
		s.drop(e)
		e.index, e.state = -1, 0
	}
}

// enqueue adds the deliveries of a change that are not there yet. A place is that of the length before a record, counted
// from the beginning of the content, in which the change's body begins at at.
func (a *applying) enqueue(r *reader, at uint32) error {
	s := a.s
	size := len(r.b)
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		webhook, id := r.uuid(), r.uuid()
		where := at + uint32(size-len(r.b)) //nolint:gosec // a content is shorter than 4 GiB
		record := r.bytes()
		if r.bad {
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
		if e.state == statePending {
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
	size := len(r.b)
	webhook, id, was := r.uuid(), r.uuid(), r.place()
	where := at + uint32(size-len(r.b)) //nolint:gosec // likewise
	record := r.bytes()
	if r.bad {
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
	l.count(e.state, -1)
	s.totals.count(e.state, -1)
	e.state, e.due, e.place = sum.state, sum.due, place{a.seq, where}
	l.count(e.state, 1)
	s.totals.count(e.state, 1)
	if e.state == statePending {
		a.pend(l, e, record)
	} else {
		l.settle(e)
	}
	return nil
}

// kill makes dead what is pending of a webhook and has not changed since the message upto, but for some.
func (a *applying) kill(r *reader, own *op) {
	webhook, upto := r.uuid(), r.uvarint()
	except := make(map[uuid.UUID]bool)
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		except[r.uuid()] = true
	}
	l := a.s.lanes[webhook]
	if l == nil || r.bad {
		return
	}
	killed := 0
	for _, e := range l.entries {
		if e.state != statePending || e.place.seq > upto || except[e.id] {
			continue
		}
		a.s.drop(e)
		e.state = stateDead
		l.settle(e)
		killed++
	}
	l.count(statePending, -killed)
	l.count(stateDead, killed)
	a.s.totals.count(statePending, -killed)
	a.s.totals.count(stateDead, killed)
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
			if e.state == statePending || e.created >= before {
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

// forgetParts drops the parts of proposals that nobody will send whole any more.
func (s *state) forgetParts() {
	for key := range s.parts {
		if s.members[key.instance] == nil {
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
