package nats

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
	"github.com/bentihooks/bentihooks/store/storetest"
)

const testBeat = 200 * time.Millisecond

// several opens instances that share a prefix.
func several(t *testing.T, n int) []*Store {
	t.Helper()
	url, prefix := serverURL(t), newPrefix()
	ss := make([]*Store, n)
	for i := range ss {
		ss[i] = open(t, Options{URLs: []string{url}, Prefix: prefix, Replicas: 1, Name: fmt.Sprint(i), Logf: logTo(t), beat: testBeat})
	}
	eventually(t, "all have settled", func() bool {
		for _, s := range ss {
			s.mu.Lock()
			settled := s.isSettled() && len(s.current) == n
			s.mu.Unlock()
			if !settled {
				return false
			}
		}
		return true
	})
	return ss
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// subscribed makes webhooks through the first instance, and waits until all have them.
func subscribed(t *testing.T, ss []*Store, n int) []store.Webhook {
	t.Helper()
	ws := make([]store.Webhook, n)
	for i := range ws {
		ws[i] = storetest.Webhook("acme")
		ok(t, ss[0].CreateWebhook(t.Context(), ws[i], 1000))
	}
	for _, s := range ss {
		eventually(t, "the webhooks are everywhere", func() bool { return s.Directory().Len() == n })
	}
	return ws
}

// claimAll claims what an instance gets of all webhooks.
func claimAll(t *testing.T, s *Store, ws []store.Webhook) []store.Delivery {
	t.Helper()
	var all []store.Delivery
	for _, w := range ws {
		ds, err := s.Claim(t.Context(), w.ID, storetest.Start.Add(time.Hour), 1000)
		ok(t, err)
		all = append(all, ds...)
	}
	return all
}

func TestInstancesShareTheWorkAndNoneGetsWhatAnotherHas(t *testing.T) {
	t.Parallel()
	ss := several(t, 3)
	ws := subscribed(t, ss, 30)
	for i, w := range ws {
		ok(t, ss[i%3].Enqueue(t.Context(), storetest.Delivery(w, storetest.Start), storetest.Delivery(w, storetest.Start)))
	}
	seen := make(map[string]int)
	eventually(t, "all are claimed", func() bool {
		for i, s := range ss {
			for _, d := range claimAll(t, s, ws) {
				if other, twice := seen[d.ID]; twice {
					t.Fatalf("instances %d and %d both have %s", other, i, d.ID)
				}
				seen[d.ID] = i
			}
		}
		return len(seen) == 60
	})
	shares := make(map[int]int)
	for _, i := range seen {
		shares[i]++
	}
	if len(shares) != 3 {
		t.Errorf("the instances' shares are %v", shares)
	}
}

func TestWhatALostInstanceHeldIsClaimedByOthersAndItsOutcomesAreRefused(t *testing.T) {
	t.Parallel()
	ss := several(t, 2)
	ws := subscribed(t, ss, 10)
	for _, w := range ws {
		ok(t, ss[0].Enqueue(t.Context(), storetest.Delivery(w, storetest.Start)))
	}
	var lost []store.Delivery
	eventually(t, "the first has claimed its share", func() bool {
		lost = append(lost, claimAll(t, ss[0], ws)...)
		return len(lost) > 0
	})
	ss[0].crash()
	held := make(map[string]store.Delivery)
	eventually(t, "the second has all", func() bool {
		for _, d := range claimAll(t, ss[1], ws) {
			held[d.ID] = d
		}
		return len(held) == 10
	})
	for _, d := range lost {
		ok(t, ss[1].Finish(t.Context(), storetest.Outcome(held[d.ID], store.Delivered, time.Time{})))
	}
	// It comes back, with what it had claimed, as after a long sleep: another Store stands for that.
	back := open(t, ss[0].options)
	back.mu.Lock()
	for _, d := range lost {
		l := back.find(d.Webhook)
		id, _ := parseID(d.ID)
		e := *l.find(id)
		e.state = codec.Pending
		back.claims[address{l.webhook, id}] = &claim{lane: l, entry: &e, place: place{1, 1}, delivery: d}
	}
	back.mu.Unlock()
	for _, d := range lost {
		if err := back.Finish(t.Context(), storetest.Outcome(d, store.Dead, time.Time{})); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a stale outcome is taken: %v", err)
		}
		got, err := ss[1].Get(t.Context(), d.Webhook, d.ID)
		ok(t, err)
		if got.State != store.Delivered {
			t.Errorf("state is %s", got.State)
		}
	}
}

func TestAWebhookMovesOnlyWhenNothingOfItIsClaimed(t *testing.T) {
	t.Parallel()
	ss := several(t, 1)
	ws := subscribed(t, ss, 20)
	for _, w := range ws {
		ok(t, ss[0].Enqueue(t.Context(), storetest.Delivery(w, storetest.Start), storetest.Delivery(w, storetest.Start.Add(time.Second))))
	}
	held := make(map[string]bool)
	var first []store.Delivery
	for _, w := range ws {
		ds, err := ss[0].Claim(t.Context(), w.ID, storetest.Start, 1)
		ok(t, err)
		first = append(first, ds...)
		held[w.ID] = true
	}
	o := ss[0].options
	o.Name = "another"
	second := open(t, o) // waits for its turn, in vain
	if ds := claimAll(t, second, ws); len(ds) > 0 {
		t.Fatalf("%d claimed while the first holds some of the same webhooks", len(ds))
	}
	for _, d := range first {
		ok(t, ss[0].Finish(t.Context(), storetest.Outcome(d, store.Delivered, time.Time{})))
	}
	n := 0
	eventually(t, "the second gets its share", func() bool { n += len(claimAll(t, second, ws)); return n > 0 })
}

// What is attempted of a webhook that is deleted stands against nothing: there is nothing left to be delivered twice.
func TestWebhooksMoveThoughOneIsDeletedWhileSomethingOfItIsClaimed(t *testing.T) {
	t.Parallel()
	ss := several(t, 1)
	ws := subscribed(t, ss, 20)
	for _, w := range ws {
		ok(t, ss[0].Enqueue(t.Context(), storetest.Delivery(w, storetest.Start)))
	}
	claimed := claimAll(t, ss[0], ws)
	o := ss[0].options
	o.Name = "another"
	ss = append(ss, open(t, o)) // waits for its turn, in vain
	for _, w := range ws {
		ok(t, ss[1].DeleteWebhook(t.Context(), w.ID))
	}
	for _, s := range ss {
		eventually(t, "all have settled", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.isSettled() && len(s.current) == 2
		})
	}
	ok(t, ss[0].Release(t.Context(), claimed...))
}

// While a machine sleeps its monotonic clock may stand still, and the others take over.
func TestALeaseEndsThoughTheMonotonicClockStoodStill(t *testing.T) {
	t.Parallel()
	s := open(t, alone(t, serverURL(t), newPrefix()))
	ws := subscribed(t, []*Store{s}, 1)
	d := storetest.Delivery(ws[0], storetest.Start)
	ok(t, s.Enqueue(t.Context(), d))
	due := make(chan time.Time, 10)
	s.OnDue(func(_ string, at time.Time) { due <- at })
	s.mu.Lock()
	s.leaseWall = time.Now().Round(0)
	s.mu.Unlock()
	if ds := claimAll(t, s, ws); len(ds) > 0 {
		t.Error("claimed without a lease")
	}
	ok(t, s.beatOnce())
	if len(due) != 1 || !(<-due).Equal(d.Due) {
		t.Error("nobody is told what is due with the new lease")
	}
	if ds := claimAll(t, s, ws); len(ds) != 1 {
		t.Errorf("claimed %v", ds)
	}
}

func TestAnyInstanceReplaysAndKills(t *testing.T) {
	t.Parallel()
	ss := several(t, 2)
	ws := subscribed(t, ss, 6)
	for _, w := range ws {
		d := storetest.Delivery(w, storetest.Start.Add(48*time.Hour))
		ok(t, ss[0].Enqueue(t.Context(), d, storetest.Delivery(w, storetest.Start.Add(96*time.Hour))))
		eventually(t, "the other has it", func() bool { _, err := ss[1].Get(t.Context(), w.ID, d.ID); return err == nil })
		for i, s := range ss {
			ok(t, s.Replay(t.Context(), w.ID, d.ID, storetest.Start.Add(time.Duration(i)*time.Minute)))
		}
		for _, s := range ss {
			eventually(t, "both have the later replay", func() bool {
				got, err := s.Get(t.Context(), w.ID, d.ID)
				ok(t, err)
				return got.Due.Equal(storetest.Start.Add(time.Minute))
			})
		}
		n, err := ss[0].Kill(t.Context(), w.ID) // the owner's knowledge decides
		ok(t, err)
		m, err := ss[1].Kill(t.Context(), w.ID)
		ok(t, err)
		if n != 2 || m != 0 {
			t.Errorf("killed %d and %d, want 2 and 0", n, m)
		}
	}
}

func TestAnUpdateIsNotLostToAnotherInstance(t *testing.T) {
	t.Parallel()
	ss := several(t, 3)
	w := subscribed(t, ss, 1)[0]
	errs := make(chan error)
	for i := range 30 {
		go func() {
			_, err := ss[i%3].UpdateWebhook(t.Context(), w.ID, func(w *store.Webhook) error { w.Secret += "x"; return nil })
			errs <- err
		}()
	}
	for range 30 {
		ok(t, <-errs)
	}
	for _, s := range ss {
		eventually(t, "all updates are everywhere", func() bool { return len(s.Directory().Get(w.ID).Secret) == len(w.Secret)+30 })
	}
}

func TestAStreamThatWouldLoseMessagesIsRefused(t *testing.T) {
	t.Parallel()
	s := several(t, 1)[0]
	config := s.wantedStream()
	config.MaxAge = time.Hour
	_, err := s.js.UpdateStream(t.Context(), config)
	ok(t, err)
	o := s.options
	o.Name = "another"
	if _, err := Open(o); err == nil {
		t.Fatal("opened")
	} else if want := "max_age is 1h0m0s, not unlimited"; !strings.Contains(err.Error(), want) {
		t.Errorf("error is %q, want it to say %q", err, want)
	}
}

// An instance that slept while the log went on without it, and was cut off, must not go on with what it missed missing.
func TestAnInstanceThatWasAwayTooLongIsBrokenAndStartsAnew(t *testing.T) {
	t.Parallel()
	s := several(t, 1)[0]
	w := subscribed(t, []*Store{s}, 1)[0]
	ok(t, s.Enqueue(t.Context(), storetest.Delivery(w, storetest.Start)))
	o := s.options
	o.Name, o.Passive = "sleeper", true
	sleeper := open(t, o)
	sleeper.mu.Lock()
	sleeper.applied = 1 // where it fell asleep
	sleeper.mu.Unlock()
	ok(t, s.saveSnapshot(t.Context()))
	s.mu.Lock()
	to := s.applied
	s.mu.Unlock()
	ok(t, s.stream.Purge(t.Context(), jetstream.WithPurgeSequence(to)))
	_ = sleeper.follow()
	if _, err := sleeper.Counts(t.Context()); err == nil || sleeper.Broken() == nil {
		t.Fatal("it goes on")
	}
	again := open(t, o)
	counts, err := again.Counts(t.Context())
	ok(t, err)
	if counts.Pending != 1 {
		t.Errorf("opened again it counts %+v", counts)
	}
}

// What does not fit into one message is read from all of its parts, also by an instance that starts from a snapshot.
func TestALargeDeliveryIsReadFromItsParts(t *testing.T) {
	t.Parallel()
	s := several(t, 1)[0]
	w := subscribed(t, []*Store{s}, 1)[0]
	d := storetest.Delivery(w, storetest.Start)
	d.Payload = bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	ok(t, s.Enqueue(t.Context(), d))
	ok(t, s.saveSnapshot(t.Context()))
	o := s.options
	o.Name, o.Passive = "reader", true
	for _, from := range []string{"snapshot", "log"} {
		if from == "log" {
			ok(t, s.stream.Purge(t.Context(), jetstream.WithPurgeSubject(s.names.snapshot)))
		}
		reader := open(t, o)
		got, err := reader.Get(t.Context(), w.ID, d.ID)
		ok(t, err)
		if !bytes.Equal(got.Payload, d.Payload) || !got.Due.Equal(d.Due) {
			t.Errorf("from the %s come %d bytes, due at %v", from, len(got.Payload), got.Due)
		}
	}
}

// The instance that an operator asks wakes its own emitter alone. That of the owner may have forgotten the webhook by then.
func TestTheOwnerIsToldOfAWebhookThatAnotherInstanceSwitchesOn(t *testing.T) {
	t.Parallel()
	for _, off := range []store.Status{store.Disabled, store.Gone} {
		t.Run(string(off), func(t *testing.T) {
			t.Parallel()
			ss := several(t, 2)
			w := subscribed(t, ss, 1)[0]
			owner, other := ownerAndOther(ss, w)
			d := storetest.Delivery(w, storetest.Start)
			ok(t, other.Enqueue(t.Context(), d))
			become := func(status store.Status) {
				_, err := other.UpdateWebhook(t.Context(), w.ID, func(w *store.Webhook) error { w.Status = status; return nil })
				ok(t, err)
			}
			become(off)
			eventually(t, "the owner knows that it is off", func() bool { return owner.Directory().Get(w.ID).Off() })
			told := make(chan time.Time, 10)
			owner.OnDue(func(webhook string, due time.Time) {
				if webhook == w.ID {
					told <- due
				}
			})
			// Only the first and the last of these switch it on.
			for _, status := range []store.Status{store.Active, store.Failing, store.Active, off, store.Active} {
				become(status)
			}
			eventually(t, "the owner is told twice", func() bool { return len(told) > 1 })
			if due := <-told; !due.Equal(d.Due) || len(told) != 1 {
				t.Errorf("the owner was told that what waits is due at %v, and %d times more; want %v, and once more", due, len(told), d.Due)
			}
		})
	}
}

// ownerAndOther tells two instances apart.
func ownerAndOther(ss []*Store, w store.Webhook) (owner, other *Store) {
	ss[0].mu.Lock()
	defer ss[0].mu.Unlock()
	if ss[0].find(w.ID).mine {
		return ss[0], ss[1]
	}
	return ss[1], ss[0]
}
