package main

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOpenLoopKeepsItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		var meant []time.Duration
		s, err := openLoop(4, 100, 2*time.Second, func(_ int, at time.Time) error {
			mu.Lock()
			defer mu.Unlock()
			meant = append(meant, at.Sub(start))
			return nil
		})
		if err != nil || s.n != 200 {
			t.Fatalf("%d calls, %v; want 200", s.n, err)
		}
		if last := 1990 * time.Millisecond; meant[199] != last || s.elapsed != last {
			t.Errorf("the last call was meant for %v, and the loop took %v; want %v", meant[199], s.elapsed, last)
		}
		if got := s.quantile(1); got != 0 {
			t.Errorf("a call that takes no time had a latency of %v", got)
		}
	})
}

// What has to wait because the server stalls counts as late, though it was not sent yet.
func TestOpenLoopCountsFromWhenACallWasMeant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := true
		s, err := openLoop(1, 10, time.Second, func(int, time.Time) error {
			if first {
				time.Sleep(500 * time.Millisecond)
			}
			first = false
			return nil
		})
		if err != nil || s.n != 10 {
			t.Fatalf("%d calls, %v", s.n, err)
		}
		// 500 ms, then those meant for 100, 200, 300 and 400 ms, all done at 500 ms.
		for q, want := range map[float64]time.Duration{1: 500, 0.9: 400, 0.8: 300, 0.7: 200, 0.6: 100, 0.5: 0} {
			if got := s.quantile(q); got != want*time.Millisecond {
				t.Errorf("quantile %v is %v, want %v", q, got, want*time.Millisecond)
			}
		}
	})
}

func TestClosedLoopCallsAgainWhenAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := closedLoop(3, time.Second, func(int, time.Time) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		if err != nil || s.n != 30 || s.elapsed != time.Second || s.quantile(0.5) != 100*time.Millisecond {
			t.Errorf("%d calls in %v, %v", s.n, s.elapsed, err)
		}
	})
}

func TestLoopsEndWithTheFirstError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		s, err := closedLoop(3, time.Hour, func(worker int, _ time.Time) error {
			time.Sleep(time.Second)
			if worker == 1 {
				return broken
			}
			return nil
		})
		if !errors.Is(err, broken) || s.elapsed > 2*time.Second {
			t.Errorf("after %v: %v", s.elapsed, err)
		}
	})
}
