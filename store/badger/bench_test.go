package badger

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// callers runs fn b.N times in n goroutines.
func callers(b *testing.B, n int, fn func()) {
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for taken.Add(1) <= int64(b.N) {
				fn()
			}
		})
	}
	wg.Wait()
}

func webhooks(tb testing.TB, s *Store, n int) []store.Webhook {
	tb.Helper()
	ws := make([]store.Webhook, n)
	var wg sync.WaitGroup
	for i := range ws {
		ws[i] = storetest.Webhook("acme")
		wg.Go(func() {
			if err := s.CreateWebhook(context.Background(), ws[i], 1<<20); err != nil {
				tb.Error(err)
			}
		})
	}
	wg.Wait()
	return ws
}

func fanOut(ws []store.Webhook) []store.Delivery {
	now := time.Now()
	ds := make([]store.Delivery, len(ws))
	for i, w := range ws {
		ds[i] = storetest.Delivery(w, now)
	}
	return ds
}

func BenchmarkEnqueue(b *testing.B) {
	for _, fan := range []int{1, 100} {
		for _, n := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("fan-out=%d/callers=%d", fan, n), func(b *testing.B) {
				eachKey(b, func(b *testing.B, key []byte) { benchmarkEnqueue(b, key, fan, n) })
			})
		}
	}
}

// eachKey runs a benchmark with and without encryption.
func eachKey(b *testing.B, run func(b *testing.B, key []byte)) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": keyA} {
		b.Run(name, func(b *testing.B) { run(b, key) })
	}
}

func benchmarkEnqueue(b *testing.B, key []byte, fan, n int) {
	s := open(b, Options{EncryptionKey: key})
	ws := webhooks(b, s, fan)
	b.ResetTimer()
	callers(b, n, func() {
		if err := s.Enqueue(context.Background(), fanOut(ws)...); err != nil {
			b.Error(err)
		}
	})
	b.ReportMetric(float64(fan*b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

func BenchmarkLife(b *testing.B) { eachKey(b, benchmarkLife) }

func benchmarkLife(b *testing.B, key []byte) {
	s := open(b, Options{EncryptionKey: key})
	ws := webhooks(b, s, 1)
	ctx := context.Background()
	b.ResetTimer()
	callers(b, 64, func() {
		if err := s.Enqueue(ctx, fanOut(ws)...); err != nil {
			b.Error(err)
		}
		ds, err := s.Claim(ctx, ws[0].ID, time.Now(), 1)
		if err != nil {
			b.Error(err)
		}
		for _, d := range ds {
			if err := s.Finish(ctx, storetest.Outcome(d, store.Delivered, time.Time{})); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkOpenBacklog opens a store with as many pending deliveries of 1,000 webhooks as BENTI_BACKLOG says, asks each
// webhook for its next due time and claims of each.
func BenchmarkOpenBacklog(b *testing.B) {
	total, _ := strconv.Atoi(os.Getenv("BENTI_BACKLOG"))
	if total == 0 {
		b.Skip("set BENTI_BACKLOG to a number of deliveries")
	}
	dir := b.TempDir()
	s := open(b, Options{Dir: dir})
	ws := webhooks(b, s, 1000)
	begin := time.Now()
	for range total / len(ws) {
		if err := s.Enqueue(context.Background(), fanOut(ws)...); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("loaded at %.0f/s, RssAnon %d MiB", float64(total)/time.Since(begin).Seconds(), rssAnon(b))
	debug.FreeOSMemory()
	b.Logf("RssAnon at rest %d MiB", rssAnon(b))
	s.Close()
	debug.FreeOSMemory()
	var due, claim time.Duration
	for b.Loop() {
		s = open(b, Options{Dir: dir})
		begin = time.Now()
		for _, w := range ws {
			if _, ok, err := s.NextDue(context.Background(), w.ID); err != nil || !ok {
				b.Fatal(ok, err)
			}
		}
		due = time.Since(begin)
		begin = time.Now()
		for _, w := range ws {
			if ds, err := s.Claim(context.Background(), w.ID, time.Now(), 1); err != nil || len(ds) != 1 {
				b.Fatal(len(ds), err)
			}
		}
		claim = time.Since(begin)
		b.StopTimer()
		b.Logf("RssAnon %d MiB", rssAnon(b))
		s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(due.Milliseconds()), "ms-NextDue")
	b.ReportMetric(float64(claim.Milliseconds()), "ms-Claim")
}

// rssAnon is the process's anonymous memory in MiB.
func rssAnon(tb testing.TB) int {
	if runtime.GOOS != "linux" {
		return 0
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "RssAnon:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		tb.Fatal(err)
	}
	return kib >> 10
}

func BenchmarkRecord(b *testing.B) {
	w := storetest.Webhook("acme")
	d := storetest.Delivery(w, storetest.Start)
	webhook, _ := parseUUID(d.Webhook)
	id, _ := parseUUID(d.ID)
	record := encodeDelivery(&d)
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			encodeDelivery(&d)
		}
		b.ReportMetric(float64(len(record)), "bytes")
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			if _, err := decodeDelivery(webhook, id, record); err != nil {
				b.Fatal(err)
			}
		}
	})
}
