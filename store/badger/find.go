package badger

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// look bounds how much one call looks through.
type look struct {
	// time is how long a call looks through deliveries before it gives what it has found. It goes over it to look once
	// into each lane, without which nothing would be known about the order.
	time time.Duration
	// keys is how many keys are looked at until all lanes have been looked into, about.
	keys int
	// least and most bound how many keys of a lane are looked at in one go, which begins with a seek.
	least, most int
	// lanes is how many lanes are merged at most, one seek each; more of them are found by marks.
	lanes int
}

var ordinaryLook = look{time: 20 * time.Millisecond, keys: 16 << 10, least: 4, most: 1024, lanes: 64}

// Find returns deliveries of all webhooks, newest first. Of many webhooks it looks into those that have marks of the time that
// it has come to, see [markedFind]. Of few it merges the lanes, none of which is looked into on disk
// before its turn: what memory knows of it is enough until then. Looking goes over keys, which hold the state; only what
// is chosen by item is looked at in the record. A cursor is the id that all deliveries have been returned down to.
func (s *Store) Find(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Delivery, string, error) {
	bound := lastID
	if cursor != "" {
		var err error
		if bound, err = parseUUID(cursor); err != nil {
			return nil, "", fmt.Errorf("finding deliveries: %w", store.ErrCursor)
		}
	}
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if !f.Until.IsZero() {
		bound = minID(bound, firstID(f.Until.Add(idSlack)))
	}
	if limit <= 0 || s.noneIn(f.State) {
		return nil, "", nil
	}
	find := &find{s: s, filter: f, bound: bound, marked: s.markedAll.Load(), late: time.Now().Add(s.look.time)}
	if err := s.db.View(func(txn *badger.Txn) error { return find.run(ctx, txn, limit) }); err != nil {
		return nil, "", fmt.Errorf("finding deliveries: %w", closedError(err))
	}
	return find.found, find.next, nil
}

// noneIn reports whether no delivery is in a state, as the counters know.
func (s *Store) noneIn(state store.State) bool {
	c := s.counts.counts()
	switch state {
	case "":
		return c.Pending+c.Delivering+c.Delivered+c.Dead == 0
	case store.Pending:
		return c.Pending == 0
	case store.Delivering:
		return c.Delivering == 0
	case store.Delivered:
		return c.Delivered == 0
	case store.Dead:
		return c.Dead == 0
	}
	return true
}

// firstID is the least UUIDv7 of a moment.
func firstID(t time.Time) uuid {
	var u uuid
	if ms := t.UnixMilli(); ms > 0 {
		binary.BigEndian.PutUint64(u[:8], uint64(ms)<<16)
	}
	return u
}

// find is one Find at work.
type find struct {
	s      *Store
	filter store.Filter
	bound  uuid // ids are less
	marked bool // there were all marks before the snapshot was taken
	late   time.Time
	txn    *badger.Txn
	it     *badger.Iterator
	tracks tracks
	chunk  int

	found []store.Delivery
	next  string
}

// track is how far a lane has been looked through, from the greatest id down.
type track struct {
	lane *lane
	fits []uuid // seen and not taken yet, in descending order
	low  uuid   // ids from it on have been seen
	top  bool   // low is where it is because nothing has been seen
	done bool
}

// head is an id that none of what is to come of the track exceeds.
func (t *track) head() uuid {
	if len(t.fits) > 0 {
		return t.fits[0]
	}
	return t.low
}

// tracks is a heap, the greatest head first; of equal ones that which has been seen, as the other is only a bound.
type tracks []*track

func (h tracks) Len() int { return len(h) }
func (h tracks) Less(i, j int) bool {
	a, b := h[i].head(), h[j].head()
	return b.before(a) || a == b && len(h[i].fits) > 0 && len(h[j].fits) == 0
}
func (h tracks) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *tracks) Push(x any)   { *h = append(*h, x.(*track)) }
func (h *tracks) Pop() any {
	t := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return t
}

func (f *find) run(ctx context.Context, txn *badger.Txn, limit int) error {
	f.txn = txn
	f.it = txn.NewIterator(badger.IteratorOptions{Prefix: []byte{prefixDelivery}, Reverse: true})
	defer f.it.Close()
	webhooks := f.webhooks()
	if f.filter.State != store.Pending && f.byMarks(len(webhooks)) {
		return f.runMarks(ctx, limit)
	}
	f.begin(webhooks)
	if f.byMarks(len(f.tracks)) { // though memory knows of many that nothing is pending
		return f.runMarks(ctx, limit)
	}
	for len(f.tracks) > 0 && len(f.found) < limit {
		t := f.tracks[0]
		if len(t.fits) > 0 {
			id := t.fits[0]
			t.fits = t.fits[1:]
			if err := f.take(t.lane, id); err != nil {
				return err
			}
			f.settle(t)
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		// Short of the bound something has been ruled out: a caller that goes on gets on.
		if t.low.before(f.bound) && time.Now().After(f.late) {
			f.next = t.low.String()
			return nil
		}
		if err := f.look(t); err != nil {
			return err
		}
		f.settle(t)
	}
	if len(f.tracks) > 0 {
		f.next = f.found[len(f.found)-1].ID
	}
	return nil
}

// settle puts the first track where it belongs now.
func (f *find) settle(t *track) {
	if t.done && len(t.fits) == 0 {
		heap.Pop(&f.tracks)
		return
	}
	heap.Fix(&f.tracks, 0)
}

// begin makes the tracks of the lanes that may have something.
func (f *find) begin(webhooks []*store.Webhook) {
	floor := f.floor()
	for _, w := range webhooks {
		l := f.s.find(w.ID)
		if l == nil {
			continue
		}
		if t := l.track(f.bound, f.filter.State); t != nil && !t.low.before(floor) {
			f.tracks = append(f.tracks, t)
		}
	}
	heap.Init(&f.tracks)
	look := f.s.look
	f.chunk = min(max(look.keys/max(len(f.tracks), 1), look.least), look.most)
}

// floor is an id that none that fits is below of.
func (f *find) floor() uuid {
	if f.filter.Since.IsZero() {
		return uuid{}
	}
	return firstID(f.filter.Since.Add(-idSlack))
}

func (f *find) webhooks() []*store.Webhook {
	directory := f.s.Directory()
	switch {
	case f.filter.Webhook != "":
		w := directory.Get(f.filter.Webhook)
		if w == nil || f.filter.Project != "" && f.filter.Project != w.Project {
			return nil
		}
		return []*store.Webhook{w}
	case f.filter.Project != "":
		return directory.Project(f.filter.Project)
	}
	return directory.All()
}

// track begins to look through a lane from bound down; nil if memory knows that there is nothing.
func (l *lane) track(bound uuid, state store.State) *track {
	l.lock()
	defer l.unlock()
	t := &track{lane: l, low: bound, top: bound == lastID}
	switch {
	case l.gone, state == store.Pending && l.nonePending():
		return nil
	case state == store.Delivering:
		t.fits, t.done = l.claimedBelow(bound), true
		if len(t.fits) == 0 {
			return nil
		}
	case l.extent.topKnown:
		t.low, t.top = minID(bound, l.extent.top.next()), false
	}
	return t
}

// nonePending reports whether memory knows that nothing of the lane is pending or being delivered.
func (l *lane) nonePending() bool {
	return l.cursor == endSlot && len(l.window)+len(l.fresh)+len(l.claims) == 0
}

// claimedBelow returns what is being delivered, in descending order.
func (l *lane) claimedBelow(bound uuid) []uuid {
	var ids []uuid
	for id, c := range l.claims {
		if !c.held && id.before(bound) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(u, v uuid) int { return bytes.Compare(v[:], u[:]) })
	return ids
}

// look goes on through the keys of a track's lane.
func (f *find) look(t *track) error {
	floor := f.floor()
	prefix := webhookKey(prefixDelivery, t.lane.webhook)
	f.it.Seek(deliveryKey(t.lane.webhook, t.low))
	for seen := 0; f.it.ValidForPrefix(prefix); f.it.Next() {
		item := f.it.Item()
		id := deliveryID(item.Key())
		if !id.before(t.low) {
			continue
		}
		if t.top {
			t.lane.learnTop(id)
			t.top = false
		}
		if id.before(floor) {
			break
		}
		if seen == f.chunk {
			return nil
		}
		seen++
		t.low = id
		fits, err := f.mayFit(item)
		if err != nil {
			return err
		}
		if fits {
			t.fits = append(t.fits, id)
		}
	}
	if t.top {
		t.lane.learnTop(uuid{})
	}
	t.done = true
	return nil
}

func (l *lane) learnTop(id uuid) {
	l.lock()
	defer l.unlock()
	l.extent.learnTop(id)
}

// mayFit rules out what key and record say at a glance.
func (f *find) mayFit(item *badger.Item) (bool, error) {
	state := f.filter.State
	if state == store.Delivering {
		state = store.Pending
	}
	if state != "" && codec.StateNumber(state) != item.UserMeta() {
		return false, nil
	}
	if f.filter.Item == "" {
		return true, nil
	}
	fits := false
	err := item.Value(func(v []byte) error {
		name, ok := peekItem(v)
		fits = !ok || name == f.filter.Item // what cannot be read is told apart when it is taken
		return nil
	})
	return fits, err
}

// take moves a delivery that has been seen into the page, if it fits.
func (f *find) take(l *lane, id uuid) error {
	item, err := f.txn.Get(deliveryKey(l.webhook, id))
	if errors.Is(err, badger.ErrKeyNotFound) { // claimed and gone
		return nil
	}
	if err != nil {
		return err
	}
	d, err := f.s.decodeItem(l, item)
	if errors.Is(err, errCorrupt) {
		return nil
	}
	if err == nil && f.filter.Matches(&d) {
		f.found = append(f.found, d)
	}
	return err
}
