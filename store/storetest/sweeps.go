package storetest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

var sweepTests = map[string]func(*fixture){
	"Kill makes pending deliveries dead and leaves claimed ones": func(f *fixture) {
		w, other := f.webhook(), f.webhook()
		ds := f.enqueue(w, 700)
		f.enqueue(other, 1)
		c := f.claim(w, Start, 1)
		n, err := f.Kill(f.ctx(), w.ID)
		f.ok(err)
		if n != 699 {
			f.Errorf("killed %d, want 699", n)
		}
		f.wantCounts(store.Counts{Enqueued: 701, Pending: 1, Delivering: 1, Dead: 699})
		f.wantIDs(f.claim(w, Start.Add(time.Hour), 1), nil)
		f.finish(c[0], store.Delivered, time.Time{})
		if got := f.get(ds[699]).State; got != store.Dead {
			f.Errorf("state of a killed delivery is %s", got)
		}
		f.ok(f.Replay(f.ctx(), w.ID, ds[5].ID, Start))
		f.wantIDs(f.claim(w, Start, 10), ds[5:6])
	},
	"Kill among concurrent claims accounts for every delivery": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 1000)
		var wg sync.WaitGroup
		var mu sync.Mutex
		delivered, killed := 0, 0
		wg.Go(func() {
			n, err := f.Kill(f.ctx(), w.ID)
			if err != nil {
				f.Error(err)
			}
			killed = n
		})
		for range 4 {
			wg.Go(func() {
				for {
					ds, err := f.Claim(f.ctx(), w.ID, Start.Add(time.Hour), 3)
					if err != nil || len(ds) == 0 {
						return
					}
					for _, d := range ds {
						if err := f.Finish(f.ctx(), Outcome(d, store.Delivered, time.Time{})); err != nil {
							f.Error(err)
						}
						mu.Lock()
						delivered++
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		for _, d := range f.claim(w, Start.Add(time.Hour), 1000) { // a claimer may have met a moment with all held
			f.finish(d, store.Delivered, time.Time{})
			delivered++
		}
		if killed+delivered != 1000 {
			f.Errorf("killed %d, delivered %d of 1000", killed, delivered)
		}
		f.wantCounts(store.Counts{Enqueued: 1000, Delivered: uint64(delivered), Dead: uint64(killed)})
	},
	"Kill of an unknown webhook kills nothing": func(f *fixture) {
		n, err := f.Kill(f.ctx(), ID(Start))
		f.ok(err)
		if n != 0 {
			f.Errorf("killed %d", n)
		}
	},
	"Replay makes delivered and dead deliveries pending": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 2)
		c := f.claim(w, Start.Add(time.Hour), 2)
		f.finish(c[0], store.Delivered, time.Time{})
		f.finish(c[1], store.Dead, time.Time{})
		now := Start.Add(3 * time.Hour)
		for _, d := range c {
			f.ok(f.Replay(f.ctx(), w.ID, d.ID, now))
			if got := f.get(d); got.State != store.Pending || !got.Due.Equal(now) || got.Spent != 1 || len(got.Attempts) != 1 {
				f.Errorf("replayed delivery is %+v", got)
			}
		}
		f.wantIDs(f.claim(w, now.Add(-1), 5), nil)
		f.wantIDs(f.claim(w, now, 5), c)
		f.wantCounts(store.Counts{Enqueued: 2, Delivering: 2})
	},
	"Replay makes a pending delivery due": func(f *fixture) {
		w := f.webhook()
		d := Delivery(w, Start)
		d.Due = Start.Add(time.Hour)
		f.ok(f.Enqueue(f.ctx(), d))
		f.ok(f.Replay(f.ctx(), w.ID, d.ID, Start))
		f.wantIDs(f.claim(w, Start, 5), []store.Delivery{d})
		f.wantIDs(f.claim(w, Start.Add(2*time.Hour), 5), nil)
	},
	"Replay leaves a claimed delivery alone": func(f *fixture) {
		w := f.webhook()
		d := f.enqueue(w, 1)[0]
		f.claim(w, Start, 1)
		f.ok(f.Replay(f.ctx(), w.ID, d.ID, Start))
		f.wantIDs(f.claim(w, Start, 1), nil)
		f.wantCounts(store.Counts{Enqueued: 1, Delivering: 1})
	},
	"Replay finds no unknown delivery": func(f *fixture) {
		w := f.webhook()
		wantError(f.T, f.Replay(f.ctx(), w.ID, ID(Start), Start), store.ErrNotFound)
		wantError(f.T, f.Replay(f.ctx(), w.ID, "no id", Start), store.ErrNotFound)
	},
	"Prune erases what is delivered or dead and old, and nothing else": func(f *fixture) {
		w := f.webhook()
		ds := f.enqueue(w, 600) // a second apart
		c := f.claim(w, Start.Add(time.Hour), 600)
		slices.SortFunc(c, byDue)
		f.ok(f.Release(f.ctx(), c[500:]...))
		for i, d := range c[:400] {
			f.finish(d, []store.State{store.Delivered, store.Dead}[i%2], time.Time{})
		}
		n, err := f.Prune(f.ctx(), Start.Add(300*time.Second))
		f.ok(err)
		if n != 300 {
			f.Errorf("pruned %d, want 300", n)
		}
		f.wantCounts(store.Counts{Enqueued: 600, Pending: 100, Delivering: 100, Delivered: 50, Dead: 50, Pruned: 300})
		_, err = f.Get(f.ctx(), w.ID, ds[299].ID)
		wantError(f.T, err, store.ErrNotFound)
		f.get(ds[300])
		n, err = f.Prune(f.ctx(), Start.Add(time.Hour))
		f.ok(err)
		if n != 100 {
			f.Errorf("pruned %d, want 100", n)
		}
	},
}

var listTests = map[string]func(*fixture){
	"a listing is newest first, page by page": func(f *fixture) {
		w, other := f.webhook(), f.webhook()
		ds := f.enqueue(w, 25)
		f.enqueue(other, 5)
		f.claim(w, Start, 1)
		slices.Reverse(ds)
		before := ""
		var got []store.Delivery
		for {
			page, err := f.List(f.ctx(), w.ID, before, 10)
			f.ok(err)
			if got = append(got, page...); len(page) < 10 {
				break
			}
			before = page[9].ID
		}
		f.wantIDs(got, ds)
		if got[24].State != store.Delivering || got[0].State != store.Pending {
			f.Errorf("states are %s and %s", got[24].State, got[0].State)
		}
	},
	"a listing goes on from an id that is gone": func(f *fixture) {
		w := f.webhook()
		ds := f.enqueue(w, 3)
		gone := ID(Start.Add(1500 * time.Millisecond))
		got, err := f.List(f.ctx(), w.ID, gone, 10)
		f.ok(err)
		f.wantIDs(got, []store.Delivery{ds[1], ds[0]})
	},
	"a listing of an unknown webhook is empty": func(f *fixture) {
		got, err := f.List(f.ctx(), ID(Start), "", 10)
		f.ok(err)
		f.wantIDs(got, nil)
	},
	"Get finds no unknown delivery": func(f *fixture) {
		w := f.webhook()
		for _, id := range []string{ID(Start), "", "no id"} {
			_, err := f.Get(f.ctx(), w.ID, id)
			wantError(f.T, err, store.ErrNotFound)
			_, err = f.Get(f.ctx(), id, ID(Start))
			wantError(f.T, err, store.ErrNotFound)
		}
	},
}

var lifeTests = map[string]func(*fixture){
	"a closed store says so to every call": func(f *fixture) {
		w := f.webhook()
		d := f.enqueue(w, 1)[0]
		f.ok(f.Close())
		f.ok(f.Close())
		for name, call := range closedCalls(f.Store, w, d) {
			wantErrorOf(f, name, call(context.Background()))
		}
	},
	"closing waits for calls in flight": func(f *fixture) {
		w := f.webhook()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for {
					if err := f.Enqueue(f.ctx(), Delivery(w, Start)); err != nil {
						wantErrorOf(f, "Enqueue", err)
						return
					}
				}
			})
		}
		f.eventually("enqueued", func() bool { c, err := f.Counts(f.ctx()); return err != nil || c.Enqueued > 100 })
		f.ok(f.Close())
		wg.Wait()
	},
}

func wantErrorOf(f *fixture, name string, err error) {
	f.Helper()
	if err == nil {
		f.Errorf("%s succeeds on a closed store", name)
		return
	}
	wantError(f.T, err, store.ErrClosed)
}

func closedCalls(s store.Store, w store.Webhook, d store.Delivery) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"CreateWebhook": func(ctx context.Context) error { return s.CreateWebhook(ctx, Webhook("acme"), 10) },
		"UpdateWebhook": func(ctx context.Context) error {
			_, err := s.UpdateWebhook(ctx, w.ID, func(*store.Webhook) error { return nil })
			return err
		},
		"DeleteWebhook": func(ctx context.Context) error { return s.DeleteWebhook(ctx, w.ID) },
		"Enqueue":       func(ctx context.Context) error { return s.Enqueue(ctx, d) },
		"Claim":         func(ctx context.Context) error { _, err := s.Claim(ctx, w.ID, Start, 1); return err },
		"NextDue":       func(ctx context.Context) error { _, _, err := s.NextDue(ctx, w.ID); return err },
		"Finish":        func(ctx context.Context) error { return s.Finish(ctx, Outcome(d, store.Delivered, Start)) },
		"Release":       func(ctx context.Context) error { return s.Release(ctx, d) },
		"Kill":          func(ctx context.Context) error { _, err := s.Kill(ctx, w.ID); return err },
		"Replay":        func(ctx context.Context) error { return s.Replay(ctx, w.ID, d.ID, Start) },
		"Prune":         func(ctx context.Context) error { _, err := s.Prune(ctx, Start); return err },
		"Get":           func(ctx context.Context) error { _, err := s.Get(ctx, w.ID, d.ID); return err },
		"List":          func(ctx context.Context) error { _, err := s.List(ctx, w.ID, "", 1); return err },
		"Find": func(ctx context.Context) error {
			_, _, err := s.Find(ctx, store.Filter{}, "", 1)
			return err
		},
		"OldestPending": func(ctx context.Context) error { _, _, err := s.OldestPending(ctx); return err },
		"Counts":        func(ctx context.Context) error { _, err := s.Counts(ctx); return err },
	}
}
