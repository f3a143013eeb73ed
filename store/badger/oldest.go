package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// OldestPending tells when the event that has been owed longest was captured. Each lane remembers an id below which nothing
// is pending. The lanes are looked into in the order of these, until the next cannot have anything older: that is
// one lane as a rule. No key is gone over twice, unless something old is replayed. A lane that it does not get to the end of in
// look.time stands for what is due first in it, and the next call goes on.
func (s *Store) OldestPending(ctx context.Context) (time.Time, bool, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, false, err
	}
	defer s.leave()
	select {
	case s.looking <- struct{}{}:
	case <-ctx.Done():
		return time.Time{}, false, ctx.Err()
	}
	defer func() { <-s.looking }()
	var at time.Time
	found := false
	lanes := s.lanesPending() // before the snapshot: what it does not show, they are told of
	err := s.db.View(func(txn *badger.Txn) error {
		o := &oldest{late: time.Now().Add(s.look.time), each: min(s.look.most, 64), id: lastID}
		o.it = txn.NewIterator(badger.IteratorOptions{Prefix: []byte{prefixDelivery}})
		defer o.it.Close()
		if err := o.run(ctx, lanes); err != nil || o.lane == nil {
			return err
		}
		var err error
		at, err = s.capturedAt(txn, o.lane, o.id)
		found = true
		return err
	})
	if err != nil {
		return time.Time{}, false, fmt.Errorf("looking for the oldest delivery: %w", closedError(err))
	}
	return at, found, nil
}

// capturedAt is the CreatedAt of a delivery, as near as its id has it if its record is gone or cannot be read.
func (s *Store) capturedAt(txn *badger.Txn, l *lane, id uuid) (time.Time, error) {
	at, _ := id.time()
	item, err := txn.Get(deliveryKey(l.webhook, id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return at, nil
	}
	if err != nil {
		return at, err
	}
	d, err := s.decodeItem(l, item)
	if errors.Is(err, errCorrupt) {
		return at, nil
	}
	return d.CreatedAt, err
}

// pendingLane is a lane in which something may be pending, but nothing below from.
type pendingLane struct {
	lane *lane
	from uuid
}

// lanesPending begins a look into the lanes in which something may be pending, those that can have the oldest first.
func (s *Store) lanesPending() []pendingLane {
	var lanes []pendingLane
	for _, w := range s.directory.All() {
		if w.Status == store.Disabled {
			continue
		}
		l := s.find(w.ID)
		if l == nil {
			continue
		}
		if from, ok := l.beginLook(); ok {
			lanes = append(lanes, pendingLane{l, from})
		}
	}
	slices.SortFunc(lanes, func(a, b pendingLane) int { return bytes.Compare(a.from[:], b.from[:]) })
	return lanes
}

// beginLook reports false if memory knows that nothing is pending.
func (l *lane) beginLook() (uuid, bool) {
	l.lock()
	defer l.unlock()
	if l.gone {
		return uuid{}, false
	}
	if l.nonePending() {
		l.extent.from = lastID
		return uuid{}, false
	}
	return l.extent.beginLook(), true
}

// oldest is one OldestPending at work.
type oldest struct {
	it   *badger.Iterator
	late time.Time
	each int  // after how many keys the time is asked for
	id   uuid // the least found so far
	lane *lane
}

func (o *oldest) run(ctx context.Context, lanes []pendingLane) error {
	look := o.look
	for i, p := range lanes {
		if !p.from.before(o.id) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if i > 0 && time.Now().After(o.late) {
			look = func(p pendingLane) (uuid, bool) { return p.lane.anyPending() }
		}
		if id, found := look(p); found && id.before(o.id) {
			o.id, o.lane = id, p.lane
		}
	}
	return nil
}

// look finds the first pending delivery of a lane, or, when it is late, the one that is due first.
func (o *oldest) look(p pendingLane) (uuid, bool) {
	prefix := webhookKey(prefixDelivery, p.lane.webhook)
	looked := 0
	for o.it.Seek(deliveryKey(p.lane.webhook, p.from)); o.it.ValidForPrefix(prefix); o.it.Next() {
		id := deliveryID(o.it.Item().Key())
		if o.it.Item().UserMeta() == codec.Pending {
			p.lane.endLook(id)
			return id, true
		}
		if looked++; looked%o.each == 0 && time.Now().After(o.late) {
			p.lane.endLook(id)
			return p.lane.anyPending()
		}
	}
	p.lane.endLook(lastID)
	return uuid{}, false
}

func (l *lane) endLook(id uuid) {
	l.lock()
	defer l.unlock()
	l.extent.endLook(id)
}

// anyPending returns a pending delivery that memory knows, the one that is due first if it can be.
func (l *lane) anyPending() (uuid, bool) {
	l.lock()
	defer l.unlock()
	if len(l.window) > 0 {
		return l.window[0].slot.id(), true
	}
	for id := range l.claims {
		return id, true
	}
	return uuid{}, false
}
