package badger

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// marksOf returns how many marks there are of a kind, and fails for each delivery that has none.
func marksOf(t *testing.T, s *Store, kind byte) int {
	t.Helper()
	n := 0
	err := s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(iterateAll)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().Key()
			if key[0] == kind {
				n++
			}
			if key[0] != prefixDelivery || kind == prefixDeadMark && it.Item().UserMeta() != codec.Dead {
				continue
			}
			mark, err := txn.Get(markKey(kind, deliveryID(key).stretch(), uuid(key[1:17])))
			if err != nil {
				t.Errorf("delivery %v has no mark %q: %v", deliveryID(key), kind, err)
				continue
			}
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			if item, _ := peekItem(value); mark.UserMeta() != 0 && mark.UserMeta()&itemBit(item) == 0 {
				t.Errorf("the mark of delivery %v is not for %s", deliveryID(key), item)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantMarks(t *testing.T, s *Store, all, dead int) {
	t.Helper()
	if got := [2]int{marksOf(t, s, prefixMark), marksOf(t, s, prefixDeadMark)}; got != [2]int{all, dead} {
		t.Errorf("%d marks and %d of dead ones, want %d and %d", got[0], got[1], all, dead)
	}
}

func foundIDs(t *testing.T, s *Store, f store.Filter, limit int) []string {
	t.Helper()
	var ids []string
	for cursor := ""; ; {
		ds, next, err := s.Find(t.Context(), f, cursor, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			ids = append(ids, d.ID)
		}
		if next == "" {
			return ids
		}
		if next == cursor {
			t.Fatalf("cursor %s leads to itself", cursor)
		}
		cursor = next
	}
}

func TestABusyWebhookHasAMarkForEachStretchOfTime(t *testing.T) {
	t.Parallel()
	s := open(t, Options{look: markedLook})
	w := webhooks(t, s, 1)[0]
	at, _ := uuid{1: 0x99, 6: 0x70}.time() // where a stretch begins
	for i := range 200 {
		d := storetest.Delivery(w, at.Add(time.Duration(i)*5*time.Millisecond)) // a second, so four stretches
		d.Item = []string{"ticket", "reply", "user"}[i%3]
		if err := s.Enqueue(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	wantMarks(t, s, 4, 0)
	for _, item := range []string{"ticket", "reply", "user", "media"} {
		want := map[string]int{"ticket": 67, "reply": 67, "user": 66}[item]
		if got := foundIDs(t, s, store.Filter{Item: item}, 10); len(got) != want {
			t.Errorf("%d of %s are found, want %d", len(got), item, want)
		}
	}
}

func TestAFullStretchOfTimeIsPagedWhole(t *testing.T) {
	t.Parallel()
	s := open(t, Options{look: markedLook})
	var all, pending []string
	for i, w := range webhooks(t, s, 3) {
		for range 20 * i {
			d := storetest.Delivery(w, storetest.Start)
			if err := s.Enqueue(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			all = append(all, d.ID)
		}
		claimed, err := s.Claim(t.Context(), w.ID, storetest.Start, 15)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range all[len(all)-20*i:] {
			if !slices.ContainsFunc(claimed, func(d store.Delivery) bool { return d.ID == id }) {
				pending = append(pending, id)
			}
		}
	}
	for _, limit := range []int{1, 7, 20, 60, 500} {
		for state, want := range map[store.State][]string{"": all, store.Pending: pending} {
			want = slices.Sorted(slices.Values(want))
			slices.Reverse(want)
			if got := foundIDs(t, s, store.Filter{State: state}, limit); !slices.Equal(got, want) {
				t.Errorf("in pages of %d, %d in state %q are found, want %d in order", limit, len(got), state, len(want))
			}
		}
	}
}

func TestMarksOfADirectoryWithoutAnyAreMadeInTheBackground(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	ws := webhooks(t, s, 5)
	for i := range 50 {
		for _, w := range ws {
			d := storetest.Delivery(w, storetest.Start.Add(time.Duration(i)*time.Second))
			if err := s.Enqueue(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Kill(t.Context(), ws[0].ID); err != nil {
		t.Fatal(err)
	}
	all, dead := foundIDs(t, s, store.Filter{}, 100), foundIDs(t, s, store.Filter{State: store.Dead}, 100)
	wantMarks(t, s, 250, 50)
	if err := s.db.DropPrefix([]byte{prefixMark}, []byte{prefixDeadMark}); err != nil {
		t.Fatal(err)
	}
	set(t, s, formatKey, []byte{1}, 0)
	s.Close()

	s = open(t, Options{Dir: dir, look: markedLook})
	late := time.After(time.Minute)
	for done := false; !done; {
		done = s.markedAll.Load() // before it looks
		if got := foundIDs(t, s, store.Filter{}, 100); !slices.Equal(got, all) {
			t.Fatalf("%d are found, want %d, with all marks: %t", len(got), len(all), done)
		}
		if got := foundIDs(t, s, store.Filter{State: store.Dead}, 100); !slices.Equal(got, dead) {
			t.Fatalf("%d dead ones are found, want %d", len(got), len(dead))
		}
		if d, err := s.Get(t.Context(), "", all[77]); err != nil || d.ID != all[77] {
			t.Fatalf("got %s, %v", d.ID, err)
		}
		select {
		case <-late:
			t.Fatal("not within a minute")
		default:
		}
	}
	wantMarks(t, s, 250, 50)
	if version, err := s.readFormat(); err != nil || version != formatVersion {
		t.Errorf("format is %d, %v", version, err)
	}
}

func TestMarksGoWithTheLastDeliveryThatTheyAreFor(t *testing.T) {
	t.Parallel()
	s := open(t, Options{look: markedLook})
	w, doomed := webhooks(t, s, 1)[0], webhooks(t, s, 1)[0]
	enqueue := func(w store.Webhook, at time.Duration) store.Delivery {
		t.Helper()
		d := storetest.Delivery(w, storetest.Start.Add(at))
		if err := s.Enqueue(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	finish := func(n int, state store.State) {
		t.Helper()
		ds, err := s.Claim(t.Context(), w.ID, storetest.Start.Add(time.Hour), n)
		if err != nil || len(ds) != n {
			t.Fatalf("claimed %d, %v", len(ds), err)
		}
		for _, d := range ds {
			if err := s.Finish(t.Context(), storetest.Outcome(d, state, time.Time{})); err != nil {
				t.Fatal(err)
			}
		}
	}
	prune := func(before time.Duration) {
		t.Helper()
		if _, err := s.Prune(t.Context(), storetest.Start.Add(before)); err != nil {
			t.Fatal(err)
		}
	}
	enqueue(w, 0)
	enqueue(w, 0)
	d := enqueue(w, time.Second)
	finish(1, store.Delivered)
	finish(2, store.Dead)
	wantMarks(t, s, 2, 2)
	if err := s.Replay(t.Context(), w.ID, d.ID, storetest.Start); err != nil {
		t.Fatal(err)
	}
	wantMarks(t, s, 2, 2)
	prune(-time.Hour) // nothing but the mark of what is dead no more
	wantMarks(t, s, 2, 1)
	prune(2 * time.Second)
	wantMarks(t, s, 1, 0)
	finish(1, store.Dead)
	wantMarks(t, s, 1, 1)
	prune(2 * time.Second)
	wantMarks(t, s, 0, 0)

	// What was the last mark has to be written again.
	enqueue(w, time.Second)
	wantMarks(t, s, 1, 0)
	finish(1, store.Dead)
	wantMarks(t, s, 1, 1)

	enqueue(doomed, time.Second)
	if err := s.DeleteWebhook(t.Context(), doomed.ID); err != nil {
		t.Fatal(err)
	}
	if got := foundIDs(t, s, store.Filter{}, 10); len(got) != 1 {
		t.Errorf("%d are found, want 1", len(got))
	}
	for late := time.After(time.Minute); ; {
		prune(2 * time.Second)
		if marksOf(t, s, prefixMark) == 0 {
			break
		}
		select {
		case <-late:
			t.Fatal("not within a minute")
		default:
		}
	}
}

func TestAMarkIsWrittenAgainAfterACommitThatFailed(t *testing.T) {
	t.Parallel()
	var f fault
	s := open(t, Options{commit: f.commit, look: markedLook})
	w := webhooks(t, s, 1)[0]
	d := storetest.Delivery(w, storetest.Start)
	if err := f.during(func() error { return s.Enqueue(t.Context(), d) }); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Enqueue(t.Context(), storetest.Delivery(w, storetest.Start)); err != nil {
			t.Fatal(err)
		}
	}
	wantMarks(t, s, 1, 0)
	c, err := s.Claim(t.Context(), w.ID, storetest.Start, 2)
	if err != nil || len(c) != 2 {
		t.Fatal(len(c), err)
	}
	dead := func(d store.Delivery) error {
		return s.Finish(t.Context(), storetest.Outcome(d, store.Dead, time.Time{}))
	}
	if err := f.during(func() error { return dead(c[0]) }); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if err := dead(c[1]); err != nil {
		t.Fatal(err)
	}
	wantMarks(t, s, 1, 1)
}

// TestReplaysShareACommit has three replays of each of many deliveries wait for the same commit.
func TestReplaysShareACommit(t *testing.T) {
	t.Parallel()
	var commits atomic.Int64
	var held atomic.Bool
	holds, release := make(chan struct{}), make(chan struct{})
	s := open(t, Options{commit: func(commit func() error) error {
		commits.Add(1)
		if held.CompareAndSwap(true, false) {
			close(holds)
			<-release
		}
		return commit()
	}})
	ws := webhooks(t, s, 2)
	w := ws[0]
	var ds []store.Delivery
	for i := range 100 {
		ds = append(ds, storetest.Delivery(w, storetest.Start.Add(time.Duration(i)*time.Second)))
	}
	if err := s.Enqueue(t.Context(), ds...); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kill(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	const replays = 300
	errs := make(chan error, replays+1)
	held.Store(true)
	other := storetest.Delivery(ws[1], storetest.Start)
	go func() { errs <- s.Enqueue(t.Context(), other) }()
	<-holds
	before := commits.Load()
	for i := range replays {
		go func() { errs <- s.Replay(t.Context(), w.ID, ds[i%len(ds)].ID, storetest.Start.Add(time.Hour)) }()
	}
	for late := time.Now().Add(time.Minute); len(s.ops) < replays && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	close(release)
	if err := <-errs; err != nil {
		t.Error(err)
	}
	for range replays {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if made := commits.Load() - before; made > 3 {
		t.Errorf("%d replays took %d commits", replays, made)
	}
	wantCounts(t, s, store.Counts{Enqueued: 101, Pending: 101})
	claimed := make(map[string]bool)
	for len(claimed) < 100 {
		got, err := s.Claim(t.Context(), w.ID, storetest.Start.Add(time.Hour), 30)
		if err != nil || len(got) == 0 {
			t.Fatalf("after %d: claimed %d, %v", len(claimed), len(got), err)
		}
		for _, d := range got {
			if claimed[d.ID] {
				t.Fatalf("%s is claimed twice", d.ID)
			}
			claimed[d.ID] = true
		}
	}
	if got, err := s.Claim(t.Context(), w.ID, storetest.Start.Add(2*time.Hour), 1); err != nil || len(got) != 0 {
		t.Errorf("claimed %d more, %v", len(got), err)
	}
}

func TestACallWritesNoMoreMarksThanItCounts(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	ws := webhooks(t, s, 2)
	var ds []store.Delivery
	for i := range 60 {
		d := storetest.Delivery(ws[i%2], storetest.Start.Add(time.Duration(i*i%3)*time.Second))
		d.Item = []string{"ticket", "reply", "user", "media"}[i/7%4]
		ds = append(ds, d)
	}
	items, err := encodeAll(ds, store.Pending)
	if err != nil {
		t.Fatal(err)
	}
	b := s.newBatch()
	defer b.txn.Discard()
	c := &enqueue{s: s, items: items, marks: countMarks(items)}
	if err := c.prepare(b); err != nil {
		t.Fatal(err)
	}
	if len(b.marked) > c.marks || c.marks >= len(ds) {
		t.Errorf("%d marks are written, %d counted", len(b.marked), c.marks)
	}
	for _, m := range b.marked {
		m.known = false
	}
}
