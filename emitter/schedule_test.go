package emitter

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bentihooks/bentihooks/store"
)

// TestScheduleKeepsItsPromises drives a schedule at random and checks after each step that the books are right,
// no limit is passed, and no lane with work is lost.
func TestScheduleKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newSchedule(Config{
			MaxConcurrent: rapid.IntRange(1, 12).Draw(t, "max concurrent"),
			MaxPerWebhook: rapid.IntRange(1, 6).Draw(t, "max per webhook"),
		})
		now := time.Unix(1_700_000_000, 0)
		busy := map[*lane]bool{}
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("w", rapid.IntRange(0, 9).Draw(t, "webhook")) })
		held := func() (ls []*lane) { // lanes with an attempt in flight, in a stable order
			for i := range 10 {
				if l := s.lanes[fmt.Sprint("w", i)]; l != nil && l.inFlight > 0 {
					ls = append(ls, l)
				}
			}
			return ls
		}
		t.Repeat(map[string]func(*rapid.T){
			"note": func(t *rapid.T) {
				wait := time.Duration(rapid.IntRange(-5, 20).Draw(t, "seconds")) * time.Second
				status := rapid.SampledFrom([]store.Status{store.Active, store.Failing}).Draw(t, "status")
				s.note(s.lane(name.Draw(t, "lane"), status), now.Add(wait))
			},
			"turn": func(t *rapid.T) {
				suspects := s.suspectInFlight
				l, n := s.turn(now)
				if l == nil {
					return
				}
				if n < 1 || n > quantum || busy[l] {
					t.Fatalf("turn of %d for a lane with busy=%v", n, busy[l])
				}
				if l.inFlight > s.limit(l) {
					t.Fatalf("lane holds %d of %d", l.inFlight, s.limit(l))
				}
				if l.suspect && suspects+n > s.maxSuspect() {
					t.Fatalf("suspects hold %d of %d", suspects+n, s.maxSuspect())
				}
				busy[l] = true
			},
			"looked": func(t *rapid.T) {
				for _, l := range held() {
					if busy[l] {
						delete(busy, l)
						has := rapid.Bool().Draw(t, "more")
						s.looked(l, now.Add(time.Duration(rapid.IntRange(-1, 5).Draw(t, "s"))*time.Second), has)
						return
					}
				}
			},
			"end": func(t *rapid.T) {
				for _, l := range held() {
					if !busy[l] || l.inFlight > 1 {
						delivered := rapid.Bool().Draw(t, "delivered")
						s.observe(l, delivered, rapid.Bool().Draw(t, "ping"))
						if !delivered || !s.settle(l) {
							s.give(l, 1)
						}
						return
					}
				}
			},
			"settled": func(*rapid.T) {
				for i := range 10 {
					if l := s.lanes[fmt.Sprint("w", i)]; l != nil && l.settling > 0 {
						s.settled(l)
						return
					}
				}
			},
			"time": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(-10, 10).Draw(t, "s")) * time.Second) },
			"limit": func(t *rapid.T) {
				s.maxConcurrent = rapid.IntRange(1, 12).Draw(t, "max concurrent")
				s.maxPerWebhook = rapid.IntRange(1, 6).Draw(t, "max per webhook")
			},
			"": func(t *rapid.T) { checkBooks(t, s) },
		})
		// At the end all attempts succeed and all turns find nothing: everything with work must get its turn.
		now = now.Add(time.Hour)
		for l := range busy {
			s.looked(l, time.Time{}, false)
		}
		for _, l := range s.lanes {
			for l.settling > 0 {
				s.settled(l)
			}
			for l.inFlight > 0 {
				s.observe(l, true, false)
				s.give(l, 1)
			}
		}
		for range 200 {
			if l, n := s.turn(now); l != nil {
				s.observe(l, true, false)
				s.give(l, n)
				s.looked(l, time.Time{}, false)
			}
		}
		for _, l := range s.lanes {
			if l.has || l.queued || l.idle() {
				t.Fatalf("lane left behind: %+v", l)
			}
		}
	})
}

func checkBooks(t *rapid.T, s *schedule) {
	inFlight, suspects, extras, settling := 0, 0, 0, 0
	for _, l := range s.lanes {
		inFlight += l.inFlight
		settling += l.settling
		extras += extra(l.inFlight)
		if l.suspect {
			suspects += l.inFlight
		}
		places := 0
		for _, in := range []bool{l.busy, l.queued, l.index >= 0} {
			if in {
				places++
			}
		}
		if places > 1 {
			t.Fatalf("lane in %d places: %+v", places, l)
		}
		if l.has && places == 0 && l.inFlight == 0 {
			t.Fatalf("lane with work is lost: %+v", l)
		}
		if l.inFlight < 0 {
			t.Fatalf("lane holds %d", l.inFlight)
		}
	}
	if inFlight != s.inFlight || suspects != s.suspectInFlight || extras != s.extra || settling != s.settling {
		t.Fatalf("books say %d, %d, %d and %d, lanes %d, %d, %d and %d",
			s.inFlight, s.suspectInFlight, s.extra, s.settling, inFlight, suspects, extras, settling)
	}
}

func TestLanesTakeTurns(t *testing.T) {
	t.Parallel()
	s := newSchedule(Config{MaxConcurrent: 100, MaxPerWebhook: 8})
	for _, name := range []string{"a", "b", "c"} {
		l := s.lane(name, store.Active)
		l.limit = 8
		s.note(l, time.Time{})
	}
	var order string
	for range 9 {
		l, n := s.turn(time.Now())
		order += l.webhook
		s.give(l, n) // done at once, with more to do
		s.looked(l, time.Time{}, true)
	}
	for _, name := range []string{"a", "b", "c"} {
		if got := count(order, name); got != 3 {
			t.Errorf("%s had %d of 9 turns: %s", name, got, order)
		}
	}
}

func count(s, one string) (n int) {
	for _, r := range s {
		if string(r) == one {
			n++
		}
	}
	return n
}

func TestSuspectsLeaveHalfOfTheSlots(t *testing.T) {
	t.Parallel()
	s := newSchedule(Config{MaxConcurrent: 10, MaxPerWebhook: 8})
	for i := range 20 {
		s.note(s.lane(fmt.Sprint("dead", i), store.Failing), time.Time{})
	}
	now := time.Now()
	for range 5 {
		if l, n := s.turn(now); l == nil || n != 1 {
			t.Fatalf("a suspect got %d slots, want 1", n)
		}
	}
	if l, _ := s.turn(now); l != nil {
		t.Fatal("suspects got more than half of the slots")
	}
	s.note(s.lane("healthy", store.Active), time.Time{})
	if l, _ := s.turn(now); l == nil || l.webhook != "healthy" {
		t.Fatal("the healthy one had to wait")
	}
}

func TestHealthyLanesDoNotStarveSuspects(t *testing.T) {
	t.Parallel()
	s := newSchedule(Config{MaxConcurrent: 4, MaxPerWebhook: 4})
	for i := range 10 {
		s.note(s.lane(fmt.Sprint("healthy", i), store.Active), time.Time{})
	}
	s.note(s.lane("dead", store.Failing), time.Time{})
	for range 3 {
		if l, _ := s.turn(time.Now()); l.webhook == "dead" {
			return
		}
	}
	t.Fatal("the suspect had no turn among the first three")
}

func TestLaneGrowsWithSuccessAndShrinksWithFailure(t *testing.T) {
	t.Parallel()
	s := newSchedule(Config{MaxConcurrent: 256, MaxPerWebhook: 8})
	l := s.lane("w", store.Active)
	for i, want := range []int{1, 2, 4, 8, 8} {
		if got := s.limit(l); got != want {
			t.Errorf("limit after %d successes is %d, want %d", i, got, want)
		}
		s.observe(l, true, false)
	}
	s.observe(l, false, false)
	if got := s.limit(l); got != 1 || !l.suspect {
		t.Errorf("limit after a failure is %d, want 1", got)
	}
}

func TestAGrownLaneNeedNotWaitForASlotOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newSchedule(Config{MaxConcurrent: 256, MaxPerWebhook: 8})
	l := s.lane("w", store.Active)
	s.note(l, time.Time{})
	s.turn(time.Now())
	s.looked(l, time.Time{}, true)
	if again, _ := s.turn(time.Now()); again != nil {
		t.Fatal("a new lane got more than one slot")
	}
	s.observe(l, true, false) // delivered, but its outcome is still being stored
	if again, n := s.turn(time.Now()); again != l || n != 1 {
		t.Errorf("the lane got %d slots, want another", n)
	}
}

func TestIdleLanesAreForgotten(t *testing.T) {
	t.Parallel()
	s := newSchedule(Config{MaxConcurrent: 4, MaxPerWebhook: 4})
	for i := range 1000 {
		l := s.lane(fmt.Sprint(i), store.Active)
		s.note(l, time.Time{})
		l, n := s.turn(time.Now())
		s.observe(l, i%2 == 0, false)
		s.give(l, n)
		s.looked(l, time.Time{}, false)
	}
	if len(s.lanes) != 500 {
		t.Errorf("%d lanes kept, want only the 500 that failed", len(s.lanes))
	}
	s.sweep(func(string) bool { return false })
	if len(s.lanes) != 0 || s.inFlight != 0 || s.suspectInFlight != 0 {
		t.Errorf("%d lanes kept of deleted webhooks", len(s.lanes))
	}
}
