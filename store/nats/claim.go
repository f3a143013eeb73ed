package nats

import (
	"context"
	"fmt"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// Claim hands out up to n deliveries of a webhook that are due, those due longest first; of a long backlog, every fourth is
// one of the latest. There is nothing to claim of a webhook that another instance delivers for. It costs a round trip only for
// records that are not in memory, many of which share one.
func (s *Store) Claim(ctx context.Context, webhook string, now time.Time, n int) ([]store.Delivery, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	var out []store.Delivery
	for again := true; again && len(out) < n; {
		var ds []store.Delivery
		var err error
		ds, again, err = s.claimOnce(ctx, webhook, codec.Nanos(now), n-len(out))
		if out = append(out, ds...); len(out) == 0 && err != nil {
			return nil, fmt.Errorf("claiming: %w", err)
		}
	}
	return out, nil
}

// claimOnce claims up to n, and reports whether fewer came because something cannot be read, and is out of the way now.
func (s *Store) claimOnce(ctx context.Context, webhook string, now int64, n int) (out []store.Delivery, again bool, err error) {
	cs, refs, err := s.claim(ctx, webhook, now, n)
	if err != nil {
		return nil, false, err
	}
	ds, errs := s.readEach(ctx, refs)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range cs {
		switch {
		case unreadable(errs[i]):
			s.setAside(c, errs[i])
			again = true
		case errs[i] != nil: // another time
			s.endClaim(c)
			err = errs[i]
		case c.gone:
			s.endClaim(c)
		default:
			ds[i].State = store.Delivering
			c.delivery = ds[i]
			out = append(out, ds[i])
		}
	}
	return out, again && err == nil, err
}

// claim takes what is due out of the queue.
func (s *Store) claim(ctx context.Context, webhook string, now int64, n int) ([]*claim, []ref, error) {
	if err := s.lockUnmoved(ctx, webhook); err != nil {
		return nil, nil, err
	}
	defer s.mu.Unlock()
	l := s.find(webhook)
	if l == nil || !s.mayClaim(l) {
		return nil, nil, nil
	}
	var cs []*claim
	var refs []ref
	for len(cs) < n {
		e := l.next(now)
		if e == nil {
			break
		}
		refs = append(refs, s.refer(l, e))
		s.drop(e)
		cs = append(cs, s.beginClaim(l, e, false))
	}
	return cs, refs, nil
}

// mayClaim reports whether a lane is ours. mu is held.
func (s *Store) mayClaim(l *lane) bool { return l.mine && l.killing == 0 && s.leased() }

func (s *Store) beginClaim(l *lane, e *entry, held bool) *claim {
	c := &claim{lane: l, entry: e, place: e.place, held: held}
	key := address{l.webhook, e.id}
	e.claimed = true
	s.claims[key] = c
	if s.aside[key] {
		s.aside[key] = false
	}
	return c
}

// endClaim puts the delivery back where it belongs. mu is held.
func (s *Store) endClaim(c *claim) {
	key := address{c.lane.webhook, c.entry.id}
	if s.claims[key] != c {
		return
	}
	delete(s.claims, key)
	c.entry.claimed = false
	if c.gone {
		s.orphans--
		return
	}
	if s.lanes[c.lane.webhook] == c.lane {
		c.lane.settle(c.entry)
	}
	if !c.held && c.lane.owner != s.instance {
		signal(s.yields)
	}
}

// NextDue tells when the next unclaimed delivery of a webhook is due, if this instance delivers for it.
func (s *Store) NextDue(ctx context.Context, webhook string) (time.Time, bool, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, false, err
	}
	defer s.leave()
	if err := s.lockUnmoved(ctx, webhook); err != nil {
		return time.Time{}, false, err
	}
	defer s.mu.Unlock()
	l := s.find(webhook)
	if l == nil || !s.mayClaim(l) || len(l.queue) == 0 {
		return time.Time{}, false, nil
	}
	return codec.Time(l.queue[0].due), true, nil
}

// Finish records the outcome of a claimed delivery. Of o.Delivery only the ids count: the rest is what Claim handed out. A
// response is cut to store.MaxResponse bytes. ErrConflict also if another instance has changed the delivery meanwhile, because
// this one was thought lost.
func (s *Store) Finish(ctx context.Context, o store.Outcome) error {
	if codec.StateNumber(o.State) == 0 {
		return fmt.Errorf("finishing delivery: state %q is no outcome", o.State)
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	c, err := s.beginFinish(o)
	if err != nil {
		return fmt.Errorf("finishing delivery %s: %w", o.Delivery.ID, err)
	}
	if c == nil {
		return nil
	}
	d := c.delivery
	d.Attempts = append(d.Attempts[:len(d.Attempts):len(d.Attempts)], o.Attempt)
	d.State = o.State
	if o.State == store.Pending {
		d.Due = o.Due
	}
	err = s.submit(ctx, newPut(c, &d))
	s.mu.Lock()
	c.finishing = false
	gone := c.gone
	s.mu.Unlock()
	if err != nil && !gone {
		return fmt.Errorf("finishing delivery %s: %w", o.Delivery.ID, err)
	}
	return nil
}

// beginFinish makes the claim ready to be finished, by this call alone; nil if the webhook has been deleted, which ends it.
func (s *Store) beginFinish(o store.Outcome) (*claim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.claimed(o.Delivery)
	if err != nil {
		return nil, err
	}
	if c.gone {
		s.endClaim(c)
		return nil, nil //nolint:nilnil // nothing to be done
	}
	c.finishing = true
	return c, nil
}

// claimed finds the claim of a delivery that nobody is finishing. mu is held.
func (s *Store) claimed(d store.Delivery) (*claim, error) {
	webhook, err := parseID(d.Webhook)
	if err != nil {
		return nil, store.ErrConflict
	}
	id, err := parseID(d.ID)
	if err != nil {
		return nil, store.ErrConflict
	}
	c := s.claims[address{webhook, id}]
	if c == nil || c.held || c.finishing {
		return nil, store.ErrConflict
	}
	return c, nil
}

// newPut replaces the record that c claims.
func newPut(c *claim, d *store.Delivery) *op {
	o := newOp(kindPut, putBody(c.lane, c.entry, c.place, d))
	o.claim = c
	return o
}

func putBody(l *lane, e *entry, was place, d *store.Delivery) []byte {
	record := encodeDelivery(d)
	b := make([]byte, 0, 64+len(record))
	b = append(b, l.webhook[:]...)
	b = append(b, e.id[:]...)
	return codec.Append(was.append(b), record)
}

// Release ends claims without an attempt. Deliveries that are not claimed, or are being finished, are passed over.
func (s *Store) Release(ctx context.Context, deliveries ...store.Delivery) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.mu.Lock()
	var due []dueWebhook
	for i := range deliveries {
		c, err := s.claimed(deliveries[i])
		if err != nil {
			continue
		}
		due = append(due, s.release(c)...)
	}
	s.mu.Unlock()
	s.notify(due)
	return nil
}

// release ends a claim without a change, and returns what is due again. mu is held.
func (s *Store) release(c *claim) []dueWebhook {
	s.endClaim(c)
	if c.gone || c.entry.index < 0 || !c.lane.mine {
		return nil
	}
	return []dueWebhook{{c.lane.name, c.entry.due}}
}
