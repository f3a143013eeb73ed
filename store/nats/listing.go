package nats

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// maxLook is how many deliveries one Find looks at.
const maxLook = 100_000

// Get returns one delivery, of any webhook if none is named. ErrNotFound, also for ids that are no UUIDs. Delivering is what is claimed on this instance.
func (s *Store) Get(ctx context.Context, webhook, id string) (store.Delivery, error) {
	if err := s.enter(ctx); err != nil {
		return store.Delivery{}, err
	}
	defer s.leave()
	r, err := s.look(webhook, id)
	if err != nil {
		return store.Delivery{}, fmt.Errorf("getting delivery: %w", err)
	}
	ds, err := s.read(ctx, []ref{r})
	if err != nil {
		return store.Delivery{}, fmt.Errorf("getting delivery: %w", err)
	}
	return ds[0], nil
}

func (s *Store) look(webhook, id string) (ref, error) {
	key, err := parseID(id)
	if err != nil {
		return ref{}, store.ErrNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := []string{webhook}
	if webhook == "" {
		names = names[:0]
		for _, w := range s.directory.All() {
			names = append(names, w.ID)
		}
	}
	for _, name := range names {
		l := s.find(name)
		if l == nil {
			continue
		}
		if e := l.find(key); e != nil {
			return s.refer(l, e), nil
		}
	}
	return ref{}, store.ErrNotFound
}

// List returns deliveries of a webhook, newest first. There are none of an unknown webhook. A before that is no UUID is an
// error.
func (s *Store) List(ctx context.Context, webhook, before string, limit int) ([]store.Delivery, error) {
	bound := uuid.Max
	if before != "" {
		var err error
		if bound, err = parseID(before); err != nil {
			return nil, fmt.Errorf("listing deliveries: %w", err)
		}
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	var refs []ref
	s.mu.Lock()
	if l := s.find(webhook); l != nil {
		for i := l.below(bound) - 1; i >= 0 && len(refs) < limit; i-- {
			refs = append(refs, s.refer(l, l.entries[i]))
		}
	}
	s.mu.Unlock()
	ds, err := s.present(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	return ds, nil
}

// present reads what is to be shown. What was pruned meanwhile is left out; so is a record that cannot be read, unless that
// is so of all.
func (s *Store) present(ctx context.Context, refs []ref) ([]store.Delivery, error) {
	ds, err := s.read(ctx, refs)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	ds = slices.DeleteFunc(ds, func(d store.Delivery) bool { return d.ID == "" })
	if err != nil && len(ds) == 0 {
		return nil, err
	}
	return ds, nil
}

// Find returns deliveries of all webhooks, newest first. It merges the lanes in memory and reads only the records of the
// page. A cursor is the id that all deliveries have been returned down to.
func (s *Store) Find(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Delivery, string, error) {
	bound := uuid.Max
	if cursor != "" {
		var err error
		if bound, err = parseID(cursor); err != nil {
			return nil, "", fmt.Errorf("finding deliveries: %w", store.ErrCursor)
		}
	}
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, "", nil
	}
	refs, next := s.search(f, bound, limit)
	ds, err := s.present(ctx, refs)
	if err != nil {
		return nil, "", fmt.Errorf("finding deliveries: %w", err)
	}
	return ds, next, nil
}

func (s *Store) search(f store.Filter, bound uuid.UUID, limit int) (refs []ref, next string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h tracks
	for _, w := range s.candidates(f) {
		l := s.find(w.ID)
		if l == nil || l.none(f.State) {
			continue
		}
		if at := l.below(bound); at > 0 {
			h = append(h, track{l, at - 1})
		}
	}
	heap.Init(&h)
	since, until := codec.Nanos(f.Since), codec.Nanos(f.Until)
	for looked := 1; len(h) > 0; looked++ {
		l, e := h[0].lane, h[0].head()
		if s.fits(&f, l, e, since, until) {
			refs = append(refs, s.refer(l, e))
		}
		if h[0].at--; h[0].at < 0 {
			heap.Pop(&h)
		} else {
			heap.Fix(&h, 0)
		}
		if len(h) > 0 && (len(refs) == limit || looked == maxLook) {
			return refs, e.id.String()
		}
	}
	return refs, ""
}

// candidates are the webhooks that f does not rule out.
func (s *Store) candidates(f store.Filter) []*store.Webhook {
	switch {
	case f.Webhook != "":
		w := s.directory.Get(f.Webhook)
		if w == nil || f.Project != "" && f.Project != w.Project {
			return nil
		}
		return []*store.Webhook{w}
	case f.Project != "":
		return s.directory.Project(f.Project)
	}
	return s.directory.All()
}

// none reports whether nothing of the lane can be in a state, or in any.
func (l *lane) none(state store.State) bool {
	switch state {
	case "":
		return len(l.entries) == 0
	case store.Pending, store.Delivering:
		return l.pending == 0
	case store.Delivered:
		return l.delivered == 0
	case store.Dead:
		return l.dead == 0
	}
	return true
}

func (s *Store) fits(f *store.Filter, l *lane, e *entry, since, until int64) bool {
	if !f.Since.IsZero() && e.created < since || !f.Until.IsZero() && e.created >= until {
		return false
	}
	if f.Item != "" && s.items[e.item] != f.Item {
		return false
	}
	if f.State == "" {
		return true
	}
	state := codec.State(e.state)
	if c := s.claims[address{l.webhook, e.id}]; e.claimed && c != nil && !c.held {
		state = store.Delivering
	}
	return state == f.State
}

// track is how far a lane has been looked through, from the greatest id down.
type track struct {
	lane *lane
	at   int
}

func (t *track) head() *entry { return t.lane.entries[t.at] }

// tracks is a heap, the greatest head first.
type tracks []track

func (h tracks) Len() int           { return len(h) }
func (h tracks) Less(i, j int) bool { return less(h[j].head().id, h[i].head().id) }
func (h tracks) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push serves [heap.Push] only.
func (h *tracks) Push(x any) { *h = append(*h, x.(track)) }

// Pop serves [heap.Pop] only.
func (h *tracks) Pop() any {
	t := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return t
}

// OldestPending tells when the event that has been owed longest was captured. Each lane remembers an id below which nothing is
// pending, so that nothing is gone over twice unless something old is replayed.
func (s *Store) OldestPending(ctx context.Context) (time.Time, bool, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, false, err
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest *entry
	for _, w := range s.directory.All() {
		l := s.find(w.ID)
		if w.Status == store.Disabled || l == nil || l.pending == 0 {
			continue
		}
		if e := l.oldest(); e != nil && (oldest == nil || e.created < oldest.created) {
			oldest = e
		}
	}
	if oldest == nil {
		return time.Time{}, false, nil
	}
	return codec.Time(oldest.created), true, nil
}

// oldest is the pending delivery with the least id.
func (l *lane) oldest() *entry {
	for i := l.below(l.floor); i < len(l.entries); i++ {
		if l.entries[i].state == codec.Pending {
			l.floor = l.entries[i].id
			return l.entries[i]
		}
	}
	l.floor = uuid.Max
	return nil
}
