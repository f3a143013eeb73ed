package badger

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// BenchmarkFind pages through as many deliveries as BENTI_BACKLOG says, over as many webhooks as BENTI_WEBHOOKS says (1,000),
// for each of several filters. Nine in ten of the deliveries are delivered; of the rest one in a hundred is dead.
func BenchmarkFind(b *testing.B) {
	total, _ := strconv.Atoi(os.Getenv("BENTI_BACKLOG"))
	if total == 0 {
		b.Skip("set BENTI_BACKLOG to a number of deliveries")
	}
	count, _ := strconv.Atoi(os.Getenv("BENTI_WEBHOOKS"))
	dir := b.TempDir()
	s := open(b, Options{Dir: dir})
	ws := webhooks(b, s, cmp.Or(count, 1000))
	begin := time.Now()
	for chunk := range slices.Chunk(ws, 1000) {
		for range total / len(ws) {
			if err := s.Enqueue(context.Background(), fanOut(chunk)...); err != nil {
				b.Fatal(err)
			}
		}
	}
	deliver(b, s, ws, total/len(ws)*9/10)
	b.Logf("loaded in %v", time.Since(begin).Round(time.Second))
	s.Close()
	s = open(b, Options{Dir: dir})
	report := func(b *testing.B, pages []time.Duration) {
		slices.Sort(pages)
		b.ReportMetric(float64(pages[len(pages)/2].Microseconds())/1000, "ms-p50")
		b.ReportMetric(float64(pages[len(pages)-1].Microseconds())/1000, "ms-max")
		b.ReportMetric(float64(len(pages)), "pages")
	}
	b.Run("oldest", func(b *testing.B) {
		var took []time.Duration
		for range 50 {
			begin := time.Now()
			if _, _, err := s.OldestPending(context.Background()); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(begin))
		}
		report(b, took)
	})
	w := ws[len(ws)/2]
	for _, f := range []store.Filter{
		{},
		{State: store.Pending},
		{State: store.Delivered},
		{State: store.Dead},
		{State: store.Delivering},
		{Item: "ticket"},
		{Item: "user"},
		{Project: "acme"},
		{Webhook: w.ID},
		{Webhook: w.ID, State: store.Dead},
		{Since: begin.Add(time.Second), Until: begin.Add(2 * time.Second)},
	} {
		b.Run(fmt.Sprintf("state=%s,item=%s,project=%s,webhook=%t,since=%t", f.State, f.Item, f.Project, f.Webhook != "", !f.Since.IsZero()), func(b *testing.B) {
			var took []time.Duration
			cursor := ""
			for range 200 {
				begin := time.Now()
				_, next, err := s.Find(context.Background(), f, cursor, 50)
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
				if cursor = next; next == "" {
					break
				}
			}
			report(b, took)
		})
	}
}

// deliver finishes n deliveries of each webhook: one in a thousand is dead then.
func deliver(b *testing.B, s *Store, ws []store.Webhook, n int) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 256)
	for _, w := range ws {
		for left := n; left > 0; {
			ds, err := s.Claim(context.Background(), w.ID, time.Now(), min(left, 64))
			if err != nil || len(ds) == 0 {
				b.Fatal(err)
			}
			left -= len(ds)
			for i, d := range ds {
				state := store.Delivered
				if (left+i)%1000 == 0 {
					state = store.Dead
				}
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					if err := s.Finish(context.Background(), storetest.Outcome(d, state, time.Time{})); err != nil {
						b.Error(err)
					}
				})
			}
		}
	}
	wg.Wait()
}
