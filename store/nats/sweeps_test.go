package nats

import (
	"errors"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store/storetest"
)

// Who looked while the delivery was held was told that there is nothing.
func TestWhatWasHeldIsDueAgainWhenItsReplayFails(t *testing.T) {
	t.Parallel()
	o := byHand(t)
	s := open(t, o)
	w := subscribed(t, []*Store{s}, 1)[0]
	d := storetest.Delivery(w, storetest.Start)
	ok(t, s.Enqueue(t.Context(), d))
	ok(t, s.Close())
	s = open(t, o) // does not hold the record in memory
	id, _ := parseID(d.ID)
	s.mu.Lock()
	s.find(w.ID).find(id).place.at++
	s.mu.Unlock()
	due := make(chan time.Time, 10)
	s.OnDue(func(_ string, at time.Time) { due <- at })
	if err := s.Replay(t.Context(), w.ID, d.ID, storetest.Start.Add(time.Hour)); !errors.Is(err, errCorrupt) {
		t.Fatalf("replayed, %v", err)
	}
	if len(due) != 1 || !(<-due).Equal(d.Due) {
		t.Error("nobody is told that it is due")
	}
}
