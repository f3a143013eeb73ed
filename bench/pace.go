package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// call makes one request. at is when it was meant to be made.
type call func(worker int, at time.Time) error

// closedLoop has each worker call again as soon as it was answered, for the given time.
func closedLoop(workers int, d time.Duration, do call) (sample, error) {
	end := time.Now().Add(d)
	return loop(workers, func(int64) (time.Time, bool) {
		now := time.Now()
		return now, now.Before(end)
	}, do)
}

// countedLoop is closedLoop for so many calls.
func countedLoop(workers, n int, do call) (sample, error) {
	return loop(workers, func(i int64) (time.Time, bool) { return time.Now(), i < int64(n) }, do)
}

// openLoop makes rate calls per second for the given time, whether earlier ones were answered or not, as long as
// one of the workers is free. Latencies count from when a call was meant to be made, so that one that had to wait
// for a worker, because calls before it were slow, shows that.
func openLoop(workers int, rate float64, d time.Duration, do call) (sample, error) {
	start := time.Now()
	total := int64(rate * d.Seconds())
	return loop(workers, func(i int64) (time.Time, bool) {
		at := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if i >= total {
			return at, false
		}
		time.Sleep(time.Until(at))
		return at, true
	}, do)
}

// loop runs the workers until next, which gets the number of the call from 0, reports false, or one of them fails.
func loop(workers int, next func(i int64) (time.Time, bool), do call) (sample, error) {
	var (
		taken  atomic.Int64
		failed atomic.Bool
		wg     sync.WaitGroup
	)
	latencies := make([][]time.Duration, workers)
	errs := make([]error, workers)
	start := time.Now()
	for w := range workers {
		wg.Go(func() {
			for !failed.Load() {
				at, ok := next(taken.Add(1) - 1)
				if !ok {
					return
				}
				if errs[w] = do(w, at); errs[w] != nil {
					failed.Store(true)
					return
				}
				latencies[w] = append(latencies[w], time.Since(at))
			}
		})
	}
	wg.Wait()
	s := sample{elapsed: time.Since(start)}
	for _, ls := range latencies {
		s.latencies = append(s.latencies, ls...)
	}
	s.n = len(s.latencies)
	return s, errors.Join(errs...)
}

// sleep waits, or returns the error of ctx if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
