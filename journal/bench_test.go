package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkAppend appends records of 500 bytes from several callers, each waiting for its own to be durable.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			r := openSized(b, filepath.Join(b.TempDir(), "reserve"), 64<<20)
			record := make([]byte, 500)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						err := r.Append(record)
						if errors.Is(err, ErrFull) {
							err = r.Drain(func([][]byte) error { return nil })
						}
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkOpenFull opens a reserve of 16 MiB that is full of records of 500 bytes, and drains it.
func BenchmarkOpenFull(b *testing.B) {
	path := filepath.Join(b.TempDir(), "reserve")
	r := openSized(b, path, 16<<20)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() { topUp(b, r, 500) })
	}
	wg.Wait()
	stop, handed := errors.New("enough"), 0
	for b.Loop() {
		shut(b, r)
		r = openSized(b, path, 16<<20)
		handed = 0
		err := r.Drain(func(records [][]byte) error {
			if handed += len(records); r.Len() == len(records) {
				return stop // keep the last batch for the next round
			}
			return nil
		})
		if !errors.Is(err, stop) {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(handed), "records")
}

var benchEntry = Entry{Time: time.Unix(1, 0), Method: "PUT", Path: "/prod/ticketing/v1/tickets/200/replies", Project: "acme", Item: "reply"}

func BenchmarkBeginEnd(b *testing.B) {
	f, _ := openNotes(b, filepath.Join(b.TempDir(), "inflight"), 4096)
	b.ReportAllocs()
	for b.Loop() {
		f.End(f.Begin(benchEntry))
	}
}

func BenchmarkBeginEndParallel(b *testing.B) {
	for _, parallel := range []int{1, 32} {
		b.Run(fmt.Sprint("goroutines=", parallel*runtime.GOMAXPROCS(0)), func(b *testing.B) {
			f, _ := openNotes(b, filepath.Join(b.TempDir(), "inflight"), 4096)
			b.SetParallelism(parallel)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					f.End(f.Begin(benchEntry))
				}
			})
			if f.Missed() > 0 {
				b.Errorf("%d missed", f.Missed())
			}
		})
	}
}

// BenchmarkBeginEndBesideFlushes measures the slowest calls while a reserve on the same disk is being flushed.
func BenchmarkBeginEndBesideFlushes(b *testing.B) {
	dir := b.TempDir()
	f, _ := openNotes(b, filepath.Join(dir, "inflight"), 4096)
	r := openSized(b, filepath.Join(dir, "reserve"), 16<<20)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for record := make([]byte, 500); ; {
			select {
			case <-stop:
				return
			default:
			}
			if errors.Is(r.Append(record), ErrFull) {
				_ = r.Drain(func([][]byte) error { return nil })
			}
		}
	})
	var worst time.Duration
	slow := 0
	for b.Loop() {
		start := time.Now()
		f.End(f.Begin(benchEntry))
		took := time.Since(start)
		worst = max(worst, took)
		if took > time.Millisecond {
			slow++
		}
	}
	close(stop)
	wg.Wait()
	b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
	b.ReportMetric(float64(slow), "over-1ms")
}
