package nats

import (
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// The log is cut off behind what is listed, and what waits longer than that is moved out of the way.
func TestTheLogIsCutOffBehindWhatIsListed(t *testing.T) {
	t.Parallel()
	o := alone(t, serverURL(t), newPrefix())
	o.snapshotTail, o.purgeAge, o.keepEvery = 1, time.Nanosecond, time.Hour // by hand
	s := open(t, o)
	w := subscribed(t, []*Store{s}, 1)[0]
	waiting := storetest.Delivery(w, storetest.Start)
	waiting.Due = storetest.Start.Add(24 * time.Hour)
	old, fresh := storetest.Delivery(w, storetest.Start.Add(time.Second)), storetest.Delivery(w, storetest.Start.Add(time.Hour))
	for _, d := range []store.Delivery{waiting, old, fresh} {
		ok(t, s.Enqueue(t.Context(), d))
		if d.ID == waiting.ID {
			continue
		}
		ds, err := s.Claim(t.Context(), w.ID, d.Due, 1)
		ok(t, err)
		ok(t, s.Finish(t.Context(), storetest.Outcome(ds[0], store.Delivered, time.Time{})))
	}
	begins := func(d store.Delivery) uint64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		id, _ := parseID(d.ID)
		return s.find(w.ID).find(id).place.seq
	}
	first := func() uint64 {
		info, err := s.stream.Info(t.Context())
		ok(t, err)
		return info.State.FirstSeq
	}
	ok(t, s.keepLog()) // moves what waits, which is in front of all that is delivered
	if got, want := first(), begins(old); got != want {
		t.Errorf("the log begins with %d, want %d, where the oldest delivered one is", got, want)
	}
	_, err := s.Prune(t.Context(), storetest.Start.Add(time.Minute))
	ok(t, err)
	ok(t, s.keepLog())
	if got, want := first(), begins(fresh); got != want {
		t.Errorf("the log begins with %d, want %d, where the oldest delivered one is", got, want)
	}
	ok(t, s.Close())
	s = open(t, o)
	for _, d := range []store.Delivery{waiting, fresh} {
		got, err := s.Get(t.Context(), w.ID, d.ID)
		ok(t, err)
		if string(got.Payload) != string(d.Payload) {
			t.Errorf("got %+v", got)
		}
	}
	if due, found, err := s.NextDue(t.Context(), w.ID); err != nil || !found || !due.Equal(waiting.Due) {
		t.Errorf("the next is due at %v, %v, %v", due, found, err)
	}
}
