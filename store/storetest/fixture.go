package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// fixture is a store under test with the steps that most tests are made of. They fail the test on an error.
type fixture struct {
	*testing.T
	store.Store
}

func (f *fixture) ctx() context.Context { return f.T.Context() }

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) webhook() store.Webhook {
	f.Helper()
	w := Webhook("acme")
	f.ok(f.CreateWebhook(f.ctx(), w, 1000))
	return w
}

// enqueue enqueues n deliveries, a second apart.
func (f *fixture) enqueue(w store.Webhook, n int) []store.Delivery {
	f.Helper()
	ds := make([]store.Delivery, n)
	for i := range ds {
		ds[i] = Delivery(w, Start.Add(time.Duration(i)*time.Second))
	}
	f.ok(f.Enqueue(f.ctx(), ds...))
	return ds
}

func (f *fixture) claim(w store.Webhook, now time.Time, n int) []store.Delivery {
	f.Helper()
	ds, err := f.Claim(f.ctx(), w.ID, now, n)
	f.ok(err)
	return ds
}

func (f *fixture) get(d store.Delivery) store.Delivery {
	f.Helper()
	d, err := f.Get(f.ctx(), d.Webhook, d.ID)
	f.ok(err)
	return d
}

func (f *fixture) finish(d store.Delivery, state store.State, due time.Time) {
	f.Helper()
	f.ok(f.Finish(f.ctx(), Outcome(d, state, due)))
}

func (f *fixture) counts() store.Counts {
	f.Helper()
	c, err := f.Counts(f.ctx())
	f.ok(err)
	return c
}

// sum checks that nothing was lost.
func (f *fixture) sum() {
	f.Helper()
	c, err := f.Counts(context.Background())
	if errors.Is(err, store.ErrClosed) {
		return
	}
	f.ok(err)
	if s := c.Pending + c.Delivering + c.Delivered + c.Dead + c.Dropped + c.Pruned; s != c.Enqueued {
		f.Errorf("counts do not add up: %+v", c)
	}
}

func (f *fixture) wantCounts(want store.Counts) {
	f.Helper()
	if got := f.counts(); got != want {
		f.Errorf("counts are %+v, want %+v", got, want)
	}
}

// eventually waits for what an engine may do after the call that asked for it.
func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			f.Fatalf("not within 10 s: %s", what)
		}
	}
}

func (f *fixture) wantIDs(got, want []store.Delivery) {
	f.Helper()
	if !reflect.DeepEqual(ids(got), ids(want)) {
		f.Errorf("got deliveries %v, want %v", ids(got), ids(want))
	}
}

func ids(ds []store.Delivery) []string {
	var s []string
	for _, d := range ds {
		s = append(s, d.ID)
	}
	return s
}

// Outcome is an outcome of a claimed delivery with its next attempt.
func Outcome(d store.Delivery, state store.State, due time.Time) store.Outcome {
	a := store.Attempt{
		N: len(d.Attempts) + 1, At: Start.Add(time.Hour), Status: 200,
		Duration: 123 * time.Millisecond, Response: []byte("thanks"),
	}
	if state != store.Delivered {
		a.Status, a.Error = 503, "receiver answered 503"
	}
	return store.Outcome{Delivery: d, Attempt: a, State: state, Due: due}
}

// wantEarliest wants claims, sorted, to be those due first of what waits, but for the share of the latest.
func (f *fixture) wantEarliest(got []store.Delivery, waiting []time.Time) {
	f.Helper()
	for i := range len(got) - latest(len(got)) {
		if !got[i].Due.Equal(waiting[i]) {
			f.Fatalf("claim %d is due at %v, want %v", i, got[i].Due, waiting[i])
		}
	}
}

// maxPages is how many pages a Find may take in a test before it counts as one that never ends.
const maxPages = 100_000

// findAll goes through all pages of a Find from a cursor on.
func findAll(ctx context.Context, s store.Store, filter store.Filter, cursor string, limit int) ([]store.Delivery, error) {
	var ds []store.Delivery
	for range maxPages {
		page, next, err := s.Find(ctx, filter, cursor, limit)
		if err != nil {
			return nil, err
		}
		if len(page) > limit {
			return nil, fmt.Errorf("a page of %d, want at most %d", len(page), limit)
		}
		if ds = append(ds, page...); next == "" {
			return ds, nil
		}
		cursor = next
	}
	return nil, errors.New("there is no end to the pages")
}

func newestFirst(a, b store.Delivery) int { return cmp.Compare(b.ID, a.ID) }
