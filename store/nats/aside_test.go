package nats

import (
	"strings"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store/storetest"
)

// A record may be lost or damaged: somebody deletes a message, a disk fails. What is behind it is delivered all the same.
func TestWhatCannotBeReadIsPassedOverUntilItCan(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, s *Store, e *entry){
		"lost": func(t *testing.T, s *Store, e *entry) { ok(t, s.stream.DeleteMsg(t.Context(), e.place.seq)) },
		"damaged": func(_ *testing.T, s *Store, e *entry) {
			s.mu.Lock()
			defer s.mu.Unlock()
			e.place.at++
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(chan string, 10)
			o := byHand(t)
			s := open(t, o)
			w := subscribed(t, []*Store{s}, 1)[0]
			bad, good, last := storetest.Delivery(w, storetest.Start), storetest.Delivery(w, storetest.Start), storetest.Delivery(w, storetest.Start)
			if name == "lost" {
				ok(t, s.Enqueue(t.Context(), bad)) // in a message of its own
			}
			ok(t, s.Enqueue(t.Context(), bad, good, last)) // what is there already is left as it is
			ok(t, s.saveSnapshot(t.Context()))
			ok(t, s.Close())
			o.Logf = func(level, message string) {
				if level == "error" {
					told <- message
				}
			}
			s = open(t, o) // holds none of the records in memory
			id, _ := parseID(bad.ID)
			s.mu.Lock()
			e := s.find(w.ID).find(id)
			was := e.place
			s.mu.Unlock()
			lose(t, s, e)
			claims := func(want ...string) {
				t.Helper()
				for _, id := range append(want, "") {
					ds, err := s.Claim(t.Context(), w.ID, storetest.Start, 1)
					ok(t, err)
					if id == "" && len(ds) > 0 || id != "" && (len(ds) != 1 || ds[0].ID != id) {
						t.Fatalf("got %v, want %q", ds, id)
					}
				}
			}
			claims(good.ID, last.ID)
			if _, found, err := s.NextDue(t.Context(), w.ID); err != nil || found {
				t.Errorf("more is due: %v, %v", found, err)
			}
			due := make(chan time.Time, 10)
			s.OnDue(func(_ string, at time.Time) { due <- at })
			ok(t, s.keepLog()) // tries it again
			claims()
			if len(due) != 1 || len(told) != 1 || !strings.Contains(<-told, bad.ID) {
				t.Errorf("it was tried again %d times, want once, and told of %d times more than once", len(due), len(told))
			}
			if name == "damaged" {
				s.mu.Lock()
				e.place = was
				s.mu.Unlock()
				ok(t, s.keepLog())
				claims(bad.ID)
				return
			}
			if n, err := s.Kill(t.Context(), w.ID); err != nil || n != 1 {
				t.Errorf("killed %d, %v", n, err)
			}
		})
	}
}
