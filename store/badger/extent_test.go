package badger

import (
	"context"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// What is committed while somebody looks through an older snapshot must not be ruled out by what he learns.
func TestAnExtentDoesNotForgetWhatCameDuringALook(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	w := webhooks(t, s, 1)[0]
	ctx := context.Background()
	enqueue := func(at time.Duration) store.Delivery {
		d := storetest.Delivery(w, storetest.Start.Add(at))
		if err := s.Enqueue(ctx, d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	enqueue(0)
	lanes := s.lanesPending()
	f := &find{s: s, bound: lastID, marked: true, late: time.Now().Add(time.Minute)}
	o := &oldest{late: f.late, each: 1, id: lastID}
	var newest store.Delivery
	err := s.db.View(func(txn *badger.Txn) error {
		enqueue(-time.Minute)
		newest = enqueue(time.Minute)
		if err := f.run(ctx, txn, 10); err != nil {
			return err
		}
		o.it = txn.NewIterator(badger.IteratorOptions{Prefix: []byte{prefixDelivery}})
		defer o.it.Close()
		return o.run(ctx, lanes)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.found) != 1 {
		t.Fatalf("the snapshot showed %d deliveries, want 1", len(f.found))
	}
	if at, _, err := s.OldestPending(ctx); err != nil || !at.Equal(storetest.Start.Add(-time.Minute)) {
		t.Errorf("the oldest is of %v, %v", at, err)
	}
	ds, _, err := s.Find(ctx, store.Filter{}, "", 10)
	if err != nil || len(ds) != 3 || ds[0].ID != newest.ID {
		t.Errorf("found %d, %v", len(ds), err)
	}
}

// What an enqueue of unknown outcome may have stored is found if it did.
func TestAnExtentKnowsWhatMayHaveBeenCommitted(t *testing.T) {
	t.Parallel()
	lose := false
	s := open(t, Options{commit: func(commit func() error) error {
		err := commit()
		if lose {
			return context.DeadlineExceeded
		}
		return err
	}})
	w := webhooks(t, s, 1)[0]
	ctx := context.Background()
	find := func() int {
		ds, _, err := s.Find(ctx, store.Filter{}, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(ds)
	}
	if err := s.Enqueue(ctx, storetest.Delivery(w, storetest.Start)); err != nil || find() != 1 {
		t.Fatal(err)
	}
	if _, _, err := s.OldestPending(ctx); err != nil {
		t.Fatal(err)
	}
	lose = true
	for _, at := range []time.Duration{time.Minute, -time.Minute} {
		if err := s.Enqueue(ctx, storetest.Delivery(w, storetest.Start.Add(at))); err == nil {
			t.Fatal("the commit was to fail")
		}
	}
	lose = false
	if got := find(); got != 3 {
		t.Errorf("found %d, want 3", got)
	}
	if at, _, err := s.OldestPending(ctx); err != nil || !at.Equal(storetest.Start.Add(-time.Minute)) {
		t.Errorf("the oldest is of %v, %v", at, err)
	}
}
