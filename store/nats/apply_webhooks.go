package nats

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

func readWebhook(r *reader) (store.Webhook, error) {
	var w store.Webhook
	if err := json.Unmarshal(r.B, &w); err != nil {
		return w, fmt.Errorf("%w: webhook: %w", errCorrupt, err)
	}
	return w, nil
}

func (a *applying) create(r *reader, own *op) error {
	limit := r.Uvarint()
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
	rev := r.Uvarint()
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
		was := s.directory.Get(w.ID)
		s.directory.Put(w)
		// Who asked for the change may be another instance. What was held is due here.
		if was.Off() && !w.Off() && l.mine && len(l.queue) > 0 {
			a.due = append(a.due, dueWebhook{l.name, l.queue[0].due})
		}
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
	s.totals.count(codec.Pending, -l.pending)
	s.totals.count(codec.Delivered, -l.delivered)
	s.totals.count(codec.Dead, -l.dead)
	s.totals.dropped += uint64(l.pending)           //nolint:gosec // a count
	s.totals.pruned += uint64(l.delivered + l.dead) //nolint:gosec // a count
	for _, c := range s.claims {
		if c.lane == l && !c.held {
			c.gone = true
			s.orphans++
			signal(s.yields) // it may have been the last that stood against it
		}
	}
	for _, e := range l.entries {
		s.drop(e)
		e.index, e.state = -1, 0
	}
}
