package badger

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

var errDisk = errors.New("disk on fire")

// fault makes commits fail, before or after they happen, while it is set.
type fault struct{ set, happens atomic.Bool }

func (f *fault) commit(commit func() error) error {
	if !f.set.Load() {
		return commit()
	}
	if f.happens.Load() {
		if err := commit(); err != nil {
			return err
		}
	}
	return errDisk
}

// during makes the commits of a call fail.
func (f *fault) during(call func() error) error {
	f.set.Store(true)
	defer f.set.Store(false)
	return call()
}

// TestAFailedCommitCanBeRepeated covers both ways in which it can have failed: unknown outcomes must not be counted twice,
// nor be lost to claims.
func TestAFailedCommitCanBeRepeated(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]bool{"before it happened": false, "after it happened": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var f fault
			f.happens.Store(happens)
			s := open(t, Options{commit: f.commit})
			w := webhooks(t, s, 1)[0]
			d := storetest.Delivery(w, storetest.Start)
			try := func(call func() error) {
				t.Helper()
				if err := f.during(call); !errors.Is(err, errDisk) {
					t.Fatalf("error is %v", err)
				}
				checkSum(t, s)
				if err := call(); err != nil {
					t.Fatal(err)
				}
			}
			try(func() error { return s.Enqueue(t.Context(), d) })
			wantCounts(t, s, store.Counts{Enqueued: 1, Pending: 1})
			c := claimOne(t, s, w)
			try(func() error { return s.Finish(t.Context(), storetest.Outcome(c, store.Pending, storetest.Start)) })
			wantCounts(t, s, store.Counts{Enqueued: 1, Pending: 1})
			c = claimOne(t, s, w)
			if len(c.Attempts) != 1 {
				t.Errorf("%d attempts are kept, want 1", len(c.Attempts))
			}
			if err := f.during(func() error {
				return s.Finish(t.Context(), storetest.Outcome(c, store.Pending, storetest.Start))
			}); !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
			if err := s.Release(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			c = claimOne(t, s, w)
			if want := map[bool]int{false: 1, true: 2}[happens]; len(c.Attempts) != want {
				t.Errorf("%d attempts are kept, want %d", len(c.Attempts), want)
			}
			try(func() error { return s.Finish(t.Context(), storetest.Outcome(c, store.Dead, time.Time{})) })
			wantCounts(t, s, store.Counts{Enqueued: 1, Dead: 1})
			try(func() error { return s.Replay(t.Context(), w.ID, d.ID, storetest.Start) })
			wantCounts(t, s, store.Counts{Enqueued: 1, Pending: 1})
			try(func() error { _, err := s.Kill(t.Context(), w.ID); return err })
			wantCounts(t, s, store.Counts{Enqueued: 1, Dead: 1})
			try(func() error { _, err := s.Prune(t.Context(), storetest.Start.Add(time.Hour)); return err })
			wantCounts(t, s, store.Counts{Enqueued: 1, Pruned: 1})
		})
	}
}

// TestAFinishThatIsRepeatedBeforeItsEndLosesNothing is about a disk that hangs for longer than a caller waits, and then
// fails: the repeated call must not take the first one's being under way for its having worked.
func TestAFinishThatIsRepeatedBeforeItsEndLosesNothing(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{"it fails": errDisk, "it works": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hang atomic.Bool
			begun, end := make(chan struct{}), make(chan struct{})
			s := open(t, Options{commit: func(commit func() error) error {
				if !hang.CompareAndSwap(true, false) {
					return commit()
				}
				close(begun)
				<-end
				if failure != nil {
					return failure
				}
				return commit()
			}})
			release := sync.OnceFunc(func() { close(end) })
			t.Cleanup(release) // or closing the store would wait for ever
			w := webhooks(t, s, 1)[0]
			if err := s.Enqueue(t.Context(), storetest.Delivery(w, storetest.Start)); err != nil {
				t.Fatal(err)
			}
			o := storetest.Outcome(claimOne(t, s, w), store.Delivered, time.Time{})
			hang.Store(true)
			ctx, leave := context.WithCancel(t.Context())
			go func() { <-begun; leave() }()
			if err := s.Finish(ctx, o); !errors.Is(err, context.Canceled) {
				t.Fatalf("error is %v", err)
			}
			repeated := make(chan error, 1)
			go func() { repeated <- s.Finish(t.Context(), o) }()
			select {
			case err := <-repeated:
				t.Fatalf("the repeated call ends with %v though the outcome of the first is not known", err)
			case <-time.After(50 * time.Millisecond): // enough to see it fail, and never too short
			}
			release()
			if err := <-repeated; failure == nil && !errors.Is(err, store.ErrConflict) || failure != nil && err != nil {
				t.Errorf("repeating it ends with %v", err)
			}
			wantCounts(t, s, store.Counts{Enqueued: 1, Delivered: 1})
		})
	}
}

func claimOne(t *testing.T, s *Store, w store.Webhook) store.Delivery {
	t.Helper()
	ds, err := s.Claim(t.Context(), w.ID, storetest.Start, 5)
	if err != nil || len(ds) != 1 {
		t.Fatalf("claimed %v, %v", ds, err)
	}
	return ds[0]
}

func checkSum(t *testing.T, s *Store) {
	t.Helper()
	c, err := s.Counts(t.Context())
	if err != nil || c.Enqueued != c.Pending+c.Delivering+c.Delivered+c.Dead+c.Dropped+c.Pruned {
		t.Errorf("counts are %+v, %v", c, err)
	}
}

func wantCounts(t *testing.T, s *Store, want store.Counts) {
	t.Helper()
	if got, err := s.Counts(t.Context()); err != nil || got != want {
		t.Errorf("counts are %+v, %v, want %+v", got, err, want)
	}
}

func TestWebhooksAfterAFailedCommitAreThoseOnDisk(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]bool{"before it happened": false, "after it happened": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var f fault
			f.happens.Store(happens)
			s := open(t, Options{commit: f.commit})
			w := storetest.Webhook("acme")
			f.during(func() error { return s.CreateWebhook(t.Context(), w, 10) })
			if got := s.Directory().Get(w.ID) != nil; got != happens {
				t.Errorf("webhook is there: %v", got)
			}
			v := webhooks(t, s, 2)[0]
			f.during(func() error { return s.DeleteWebhook(t.Context(), v.ID) })
			if got := s.Directory().Get(v.ID) == nil; got != happens {
				t.Errorf("webhook is gone: %v", got)
			}
		})
	}
}

func TestAFailedSyncOfTheValueLogIsAnError(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	ds := fanOut(webhooks(t, s, 1))
	s.log.Errorf("Error while curlf sync: %v\n", errDisk)
	if err := s.Enqueue(t.Context(), ds...); err == nil {
		t.Error("nobody noticed")
	}
	if err := s.Enqueue(t.Context(), ds...); err != nil {
		t.Error(err)
	}
}

func TestACallTooLargeForATransactionIsRefusedWhole(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	w := webhooks(t, s, 1)[0]
	ds := make([]store.Delivery, 20_000)
	for i := range ds {
		ds[i] = storetest.Delivery(w, storetest.Start)
	}
	if err := s.Enqueue(t.Context(), ds...); err == nil {
		t.Error("enqueued")
	}
	wantCounts(t, s, store.Counts{})
	if err := s.Enqueue(t.Context(), ds[:5000]...); err != nil {
		t.Error(err)
	}
}

func TestAFanOutOfAThousandLargePayloadsFitsIntoATransaction(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	w := webhooks(t, s, 1)[0]
	for _, size := range []int{900, 20_000} {
		ds := make([]store.Delivery, 1000)
		for i := range ds {
			ds[i] = storetest.Delivery(w, storetest.Start)
			ds[i].Payload = make([]byte, size)
		}
		if err := s.Enqueue(t.Context(), ds...); err != nil {
			t.Error(err)
		}
	}
	wantCounts(t, s, store.Counts{Enqueued: 2000, Pending: 2000})
}

// TestCallersThatDoNotWaitHurtNobody gives up calls at random moments: what they asked for happens or not, as a whole.
func TestCallersThatDoNotWaitHurtNobody(t *testing.T) {
	t.Parallel()
	s := open(t, Options{})
	w := webhooks(t, s, 1)[0]
	for i := range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Microsecond)
		s.Enqueue(ctx, storetest.Delivery(w, storetest.Start), storetest.Delivery(w, storetest.Start))
		ds, _ := s.Claim(ctx, w.ID, storetest.Start, 2)
		for _, d := range ds {
			s.Finish(ctx, storetest.Outcome(d, store.Delivered, time.Time{}))
			s.Release(t.Context(), d) // unless it is being finished
		}
		cancel()
	}
	// A change of its own transaction comes behind all others.
	if err := s.CreateWebhook(t.Context(), storetest.Webhook("other"), 1); err != nil {
		t.Fatal(err)
	}
	ds, err := s.Claim(t.Context(), w.ID, storetest.Start, 1000)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Counts(t.Context())
	if err != nil || c.Pending != 0 || c.Delivering != uint64(len(ds)) || c.Enqueued%2 != 0 {
		t.Errorf("counts are %+v after claiming %d", c, len(ds))
	}
	checkSum(t, s)
}
