package storetest

import (
	"slices"
	"sync"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

var claimTests = map[string]func(*fixture){
	"claims come longest due first, and nothing before it is due": func(f *fixture) {
		w := f.webhook()
		ds := f.enqueue(w, 10)
		slices.Reverse(ds)
		for i := range ds { // due the other way round than captured
			ds[i].ID, ds[i].Due = ID(Start), Start.Add(time.Hour+time.Duration(i)*time.Second)
		}
		f.ok(f.Enqueue(f.ctx(), ds...))
		got := f.claim(w, Start.Add(time.Minute), 100)
		if len(got) != 10 {
			f.Errorf("claimed %d, want the 10 that are due", len(got))
		}
		f.wantIDs(f.claim(w, Start.Add(time.Hour+3*time.Second), 100), ds[:4])
		got = f.claim(w, Start.Add(2*time.Hour), 100)
		slices.SortFunc(got, byDue)
		f.wantIDs(got, ds[4:])
	},
	"one that comes late but is due earlier goes first": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 200)
		early := Delivery(w, Start.Add(-time.Hour))
		f.ok(f.Enqueue(f.ctx(), early))
		f.wantIDs(f.claim(w, Start, 1), []store.Delivery{early})
	},
	"a claimed delivery is not handed out again until it is released": func(f *fixture) {
		w := f.webhook()
		ds := f.enqueue(w, 3)
		c := f.claim(w, Start.Add(time.Hour), 2)
		f.wantIDs(f.claim(w, Start.Add(time.Hour), 5), ds[2:])
		f.wantCounts(store.Counts{Enqueued: 3, Delivering: 3})
		if got := f.get(ds[0]).State; got != store.Delivering {
			f.Errorf("state of a claimed delivery is %s", got)
		}
		f.ok(f.Release(f.ctx(), c...))
		f.wantCounts(store.Counts{Enqueued: 3, Pending: 2, Delivering: 1})
		f.wantIDs(f.claim(w, Start.Add(time.Hour), 5), ds[:2])
	},
	"a released delivery is pending and due as before": func(f *fixture) {
		w := f.webhook()
		d := f.enqueue(w, 1)[0]
		f.ok(f.Release(f.ctx(), f.claim(w, Start, 1)...))
		if got := f.get(d); !sameDelivery(got, d) {
			f.Errorf("got %+v, want %+v", got, d)
		}
	},
	"a claimed delivery stays claimed while many that are due earlier come and go": func(f *fixture) {
		w := f.webhook()
		late := Delivery(w, Start.Add(time.Hour))
		f.ok(f.Enqueue(f.ctx(), late))
		held := f.claim(w, late.Due, 1)
		ds := f.enqueue(w, 200)
		got := f.claim(w, late.Due, 500)
		slices.SortFunc(got, byDue)
		f.wantIDs(got, ds)
		if _, ok, err := f.NextDue(f.ctx(), w.ID); ok || err != nil {
			f.Errorf("NextDue sees a claimed delivery: %v, %v", ok, err)
		}
		f.ok(f.Release(f.ctx(), held...))
		f.wantIDs(f.claim(w, late.Due, 500), held)
	},
	"releasing what is not claimed does nothing": func(f *fixture) {
		w := f.webhook()
		ds := f.enqueue(w, 1)
		f.ok(f.Release(f.ctx(), ds...))
		f.ok(f.Release(f.ctx(), Delivery(w, Start), Delivery(Webhook("acme"), Start)))
		f.wantCounts(store.Counts{Enqueued: 1, Pending: 1})
		f.wantIDs(f.claim(w, Start, 2), ds)
	},
	"there is nothing to claim of an unknown webhook": func(f *fixture) {
		f.wantIDs(f.claim(Webhook("acme"), Start, 1), nil)
	},
	"webhooks do not see each other's deliveries": func(f *fixture) {
		w, v := f.webhook(), f.webhook()
		dw, dv := f.enqueue(w, 2), f.enqueue(v, 3)
		f.wantIDs(f.claim(v, Start.Add(time.Hour), 10), dv)
		f.wantIDs(f.claim(w, Start.Add(time.Hour), 10), dw)
	},
	"NextDue is the earliest unclaimed delivery": func(f *fixture) {
		w := f.webhook()
		next := func(want time.Duration, wantOK bool) {
			f.Helper()
			got, ok, err := f.NextDue(f.ctx(), w.ID)
			f.ok(err)
			if ok != wantOK || ok && !got.Equal(Start.Add(want)) {
				f.Errorf("NextDue is %v, %v, want %v, %v", got, ok, Start.Add(want), wantOK)
			}
		}
		next(0, false)
		f.enqueue(w, 2)
		next(0, true)
		c := f.claim(w, Start, 1)
		next(time.Second, true)
		f.claim(w, Start.Add(time.Second), 1)
		next(0, false)
		f.finish(c[0], store.Pending, Start.Add(time.Minute))
		next(time.Minute, true)
	},
	"a long backlog is claimed exactly once and, but for the latest, in due order": func(f *fixture) {
		w := f.webhook()
		const total = 3000
		ds := make([]store.Delivery, total)
		waiting := make([]time.Time, total) // when those that have not been claimed are due, the earliest first
		for i := range ds {
			ds[i] = Delivery(w, Start)
			ds[i].Due = Start.Add(time.Duration(i*7919%total) * time.Second)
			waiting[i] = Start.Add(time.Duration(i) * time.Second)
		}
		for chunk := range slices.Chunk(ds, 500) {
			f.ok(f.Enqueue(f.ctx(), chunk...))
		}
		now := Start.Add(total * time.Second)
		seen := make(map[string]bool)
		for len(waiting) > 0 {
			got := f.claim(w, now, 37)
			if len(got) != min(37, len(waiting)) {
				f.Fatalf("claimed %d of %d", len(got), len(waiting))
			}
			for _, d := range got {
				if seen[d.ID] {
					f.Fatalf("delivery %s is handed out twice", d.ID)
				}
				seen[d.ID] = true
			}
			slices.SortFunc(got, byDue)
			f.wantEarliest(got, waiting)
			waiting = slices.DeleteFunc(waiting, func(t time.Time) bool {
				return slices.ContainsFunc(got, func(d store.Delivery) bool { return d.Due.Equal(t) })
			})
			f.finish(got[0], store.Delivered, time.Time{})
		}
		f.wantIDs(f.claim(w, now, 1), nil)
	},
	"an event is not stuck behind a backlog": func(f *fixture) {
		w := f.webhook()
		for range 10 {
			f.enqueue(w, 300)
		}
		f.claim(w, Start, 1)
		fresh := Delivery(w, Start.Add(time.Hour))
		f.ok(f.Enqueue(f.ctx(), fresh))
		got := f.claim(w, Start.Add(time.Hour), 300)
		if !slices.ContainsFunc(got, func(d store.Delivery) bool { return d.ID == fresh.ID }) {
			f.Errorf("after %d claims of a backlog of 3000, the event that came last has not been handed out", len(got))
		}
	},
	"concurrent claims and finishes handle every delivery exactly once": concurrentLife,
}

// concurrentLife has producers and consumers share a few webhooks. Every delivery fails once before it succeeds.
func concurrentLife(f *fixture) {
	const producers, each, consumers = 8, 100, 8
	ws := []store.Webhook{f.webhook(), f.webhook(), f.webhook()}
	var made, used sync.WaitGroup
	var mu sync.Mutex
	done, busy := make(map[string]int), make(map[string]bool)
	for range producers {
		made.Go(func() {
			for i := range each {
				if err := f.Enqueue(f.ctx(), Delivery(ws[i%len(ws)], Start)); err != nil {
					f.Error(err)
				}
			}
		})
	}
	finish := func(d store.Delivery) {
		mu.Lock()
		if busy[d.ID] {
			f.Errorf("delivery %s handed out twice at a time", d.ID)
		}
		busy[d.ID] = true
		mu.Unlock()
		state := store.Delivered
		if len(d.Attempts) == 0 {
			state = store.Pending
		}
		mu.Lock()
		busy[d.ID] = false // before Finish, after which it may be claimed again at once
		if state == store.Delivered {
			done[d.ID]++
		}
		mu.Unlock()
		if err := f.Finish(f.ctx(), Outcome(d, state, Start.Add(time.Second))); err != nil {
			f.Error(err)
		}
	}
	finished := func() int { mu.Lock(); defer mu.Unlock(); return len(done) }
	deadline := time.Now().Add(time.Minute)
	for c := range consumers {
		used.Go(func() {
			for i := c; finished() < producers*each && time.Now().Before(deadline) && !f.Failed(); i++ {
				ds, err := f.Claim(f.ctx(), ws[i%len(ws)].ID, Start.Add(time.Hour), 5)
				if err != nil {
					f.Error(err)
				}
				for _, d := range ds {
					finish(d)
				}
			}
		})
	}
	made.Wait()
	used.Wait()
	for id, n := range done {
		if n != 1 {
			f.Errorf("delivery %s delivered %d times", id, n)
		}
	}
	f.wantCounts(store.Counts{Enqueued: producers * each, Delivered: producers * each})
}

var finishTests = map[string]func(*fixture){
	"finishing records the attempt and the state": func(f *fixture) {
		for _, state := range []store.State{store.Delivered, store.Dead, store.Pending} {
			w := f.webhook()
			f.enqueue(w, 1)
			d := f.claim(w, Start, 1)[0]
			o := Outcome(d, state, Start.Add(time.Minute))
			f.ok(f.Finish(f.ctx(), o))
			want := d
			want.State, want.Attempts = state, []store.Attempt{o.Attempt}
			if state == store.Pending {
				want.Due = o.Due
			}
			if got := f.get(d); !sameDelivery(got, want) {
				f.Errorf("got %+v, want %+v", got, want)
			}
		}
		f.wantCounts(store.Counts{Enqueued: 3, Pending: 1, Delivered: 1, Dead: 1})
	},
	"a retried delivery is claimed when it is due again, with its attempts": func(f *fixture) {
		w := f.webhook()
		d := f.enqueue(w, 1)[0]
		for n := range 5 {
			due := Start.Add(time.Duration(n) * time.Minute)
			f.wantIDs(f.claim(w, due.Add(-time.Second), 1), nil)
			c := f.claim(w, due, 1)
			if len(c) != 1 || c[0].ID != d.ID || len(c[0].Attempts) != n {
				f.Fatalf("attempt %d: claimed %+v", n, c)
			}
			f.finish(c[0], store.Pending, due.Add(time.Minute))
		}
	},
	"a retry due at the same time as before is not lost": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 1)
		f.finish(f.claim(w, Start, 1)[0], store.Pending, Start)
		if got := f.claim(w, Start, 1); len(got) != 1 {
			f.Error("retry is lost")
		}
	},
	"finishing what is not claimed conflicts": func(f *fixture) {
		w := f.webhook()
		d := f.enqueue(w, 1)[0]
		wantError(f.T, f.Finish(f.ctx(), Outcome(d, store.Delivered, time.Time{})), store.ErrConflict)
		c := f.claim(w, Start, 1)[0]
		f.finish(c, store.Delivered, time.Time{})
		wantError(f.T, f.Finish(f.ctx(), Outcome(c, store.Dead, time.Time{})), store.ErrConflict)
		wantError(f.T, f.Finish(f.ctx(), Outcome(Delivery(w, Start), store.Dead, time.Time{})), store.ErrConflict)
		f.wantCounts(store.Counts{Enqueued: 1, Delivered: 1})
	},
	"two finishes of one claim do not both succeed": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 1)
		c := f.claim(w, Start, 1)[0]
		errs := make(chan error, 2)
		for range 2 {
			go func() { errs <- f.Finish(f.ctx(), Outcome(c, store.Delivered, time.Time{})) }()
		}
		if a, b := <-errs, <-errs; (a == nil) == (b == nil) {
			f.Errorf("errors are %v and %v, want one", a, b)
		}
		f.wantCounts(store.Counts{Enqueued: 1, Delivered: 1})
	},
	"a response longer than an attempt keeps is cut": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 1)
		o := Outcome(f.claim(w, Start, 1)[0], store.Dead, time.Time{})
		o.Attempt.Response = make([]byte, 3*store.MaxResponse)
		f.ok(f.Finish(f.ctx(), o))
		if got := len(f.get(o.Delivery).Attempts[0].Response); got > store.MaxResponse {
			f.Errorf("%d bytes of the response are kept", got)
		}
	},
}
