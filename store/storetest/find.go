package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/bentihooks/bentihooks/store"
)

func (f *fixture) findAll(filter store.Filter, limit int) []store.Delivery {
	f.Helper()
	ds, err := findAll(f.ctx(), f.Store, filter, "", limit)
	f.ok(err)
	return ds
}

var findTests = map[string]func(*fixture){
	"Find merges all webhooks, newest first, whatever the pages": func(f *fixture) {
		var want []store.Delivery
		for i := range 7 {
			w := f.webhook()
			for n := range 30 {
				want = append(want, Delivery(w, Start.Add(time.Duration(n*7+i)*time.Second)))
			}
		}
		f.ok(f.Enqueue(f.ctx(), want...))
		slices.SortFunc(want, newestFirst)
		for _, limit := range []int{1, 3, 50, 500} {
			f.wantIDs(f.findAll(store.Filter{}, limit), want)
		}
	},
	"Find returns what Get does": func(f *fixture) {
		w := f.webhook()
		d := Delivery(w, Start)
		d.Ping, d.Payload, d.TraceContext = true, make([]byte, 5000), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		f.ok(f.Enqueue(f.ctx(), d))
		f.finish(f.claim(w, Start, 1)[0], store.Dead, time.Time{})
		got := f.findAll(store.Filter{State: store.Dead}, 5)
		if len(got) != 1 || !sameDelivery(got[0], f.get(d)) {
			f.Errorf("found %+v, want %+v", got, f.get(d))
		}
	},
	"each filter chooses what it says, and all of them together": func(f *fixture) {
		acme, other := f.webhook(), Webhook("other")
		f.ok(f.CreateWebhook(f.ctx(), other, 10))
		var all []store.Delivery
		for i, w := range []store.Webhook{acme, acme, acme, acme, acme, other, other, f.webhook()} {
			d := Delivery(w, Start.Add(time.Duration(i)*time.Minute))
			if i%2 == 1 {
				d.Item = "reply"
			}
			all = append(all, d)
		}
		f.ok(f.Enqueue(f.ctx(), all...))
		c := f.claim(acme, Start.Add(3*time.Minute), 4)
		f.finish(c[0], store.Delivered, time.Time{})
		f.finish(c[1], store.Dead, time.Time{})
		f.finish(c[2], store.Pending, Start.Add(time.Hour))
		for i := range all {
			all[i] = f.get(all[i])
		}
		slices.SortFunc(all, newestFirst)
		for _, filter := range []store.Filter{
			{State: store.Pending},
			{State: store.Delivering},
			{State: store.Delivered},
			{State: store.Dead},
			{State: store.Dropped},
			{Project: "other"},
			{Project: "nobody"},
			{Webhook: acme.ID},
			{Webhook: ID(Start)},
			{Webhook: "no id"},
			{Webhook: acme.ID, Project: "other"},
			{Item: "reply"},
			{Item: "user"},
			{Since: Start.Add(3 * time.Minute)},
			{Until: Start.Add(3 * time.Minute)},
			{Since: Start.Add(2*time.Minute + 1), Until: Start.Add(5*time.Minute + 1)},
			{Since: Start.Add(5 * time.Minute), Until: Start.Add(5 * time.Minute)},
			{Since: Start.Add(-24 * time.Hour), Until: Start.Add(24 * time.Hour)},
			{Since: Start.Add(time.Hour)},
			{Until: Start.Add(-time.Hour)},
			{State: store.Pending, Project: "acme", Webhook: acme.ID, Item: "ticket", Since: Start, Until: Start.Add(time.Hour)},
		} {
			want := slices.DeleteFunc(slices.Clone(all), func(d store.Delivery) bool { return !filter.Matches(&d) })
			if got := f.findAll(filter, 2); fmt.Sprint(ids(got)) != fmt.Sprint(ids(want)) {
				f.Errorf("%+v finds %v, want %v", filter, ids(got), ids(want))
			}
		}
	},
	"Find goes on after the delivery that its cursor is about is gone": func(f *fixture) {
		w := f.webhook()
		ds := f.enqueue(w, 4)
		for _, d := range f.claim(w, Start.Add(time.Hour), 4) {
			f.finish(d, store.Dead, time.Time{})
		}
		page, next, err := f.Find(f.ctx(), store.Filter{}, "", 1)
		f.ok(err)
		f.wantIDs(page, ds[3:])
		_, err = f.Prune(f.ctx(), Start.Add(time.Second))
		f.ok(err)
		page, err = findAll(f.ctx(), f.Store, store.Filter{}, next, 10)
		f.ok(err)
		f.wantIDs(page, []store.Delivery{ds[2], ds[1]})
	},
	"Find does not show the deliveries of a deleted webhook": func(f *fixture) {
		w, other := f.webhook(), f.webhook()
		f.enqueue(w, 3)
		kept := f.enqueue(other, 1)
		f.ok(f.DeleteWebhook(f.ctx(), w.ID))
		f.wantIDs(f.findAll(store.Filter{}, 10), kept)
		f.wantIDs(f.findAll(store.Filter{Webhook: w.ID}, 10), nil)
	},
	"Find of nothing has no next page": func(f *fixture) {
		ds, next, err := f.Find(f.ctx(), store.Filter{}, "", 10)
		f.ok(err)
		if len(ds) != 0 || next != "" {
			f.Errorf("found %v, next %q", ids(ds), next)
		}
	},
	"a cursor that no Find gave out is an error": func(f *fixture) {
		f.enqueue(f.webhook(), 1)
		for _, cursor := range []string{"x", "0", "'; --", "\x00", "ffffffff"} {
			_, _, err := f.Find(f.ctx(), store.Filter{}, cursor, 10)
			wantError(f.T, err, store.ErrCursor)
		}
	},
	"Find among concurrent inserts returns what was there exactly once": findAmongInserts,
}

func findAmongInserts(f *fixture) {
	ws := []store.Webhook{f.webhook(), f.webhook(), f.webhook()}
	there := make(map[string]bool)
	for i := range 300 {
		d := Delivery(ws[i%3], Start.Add(time.Duration(i)*time.Second))
		there[d.ID] = true
		f.ok(f.Enqueue(f.ctx(), d))
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				d := Delivery(ws[n%3], Start.Add(time.Duration(n*i)*time.Second))
				if err := f.Enqueue(f.ctx(), d); err != nil {
					f.Error(err)
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer close(done)
	for range 5 {
		seen := make(map[string]bool)
		last, cursor := "g", ""
		for {
			page, next, err := f.Find(f.ctx(), store.Filter{}, cursor, 17)
			f.ok(err)
			for _, d := range page {
				if d.ID >= last {
					f.Fatalf("%s comes after %s", d.ID, last)
				}
				last, seen[d.ID] = d.ID, true
			}
			if cursor = next; next == "" {
				break
			}
		}
		for id := range there {
			if !seen[id] {
				f.Fatalf("%s was there, and not found", id)
			}
		}
	}
}

var oldestTests = map[string]func(*fixture){
	"OldestPending is the earliest of what is owed, over all webhooks": func(f *fixture) {
		f.wantOldest(time.Time{})
		w, v := f.webhook(), f.webhook()
		f.enqueue(w, 3)
		early := Delivery(v, Start.Add(-time.Hour))
		early.Due = Start.Add(24 * time.Hour) // due last
		f.ok(f.Enqueue(f.ctx(), early))
		f.wantOldest(early.CreatedAt)
		c := f.claim(v, early.Due, 1)
		f.wantOldest(early.CreatedAt) // being delivered is still owed
		f.finish(c[0], store.Pending, Start.Add(48*time.Hour))
		f.wantOldest(early.CreatedAt)
		f.finish(f.claim(v, Start.Add(48*time.Hour), 1)[0], store.Delivered, time.Time{})
		f.wantOldest(Start)
		for i, d := range f.claim(w, Start.Add(time.Hour), 3) {
			f.finish(d, store.Dead, time.Time{})
			if i < 2 {
				f.wantOldest(Start.Add(time.Duration(i+1) * time.Second))
			}
		}
		f.wantOldest(time.Time{})
		f.ok(f.Replay(f.ctx(), v.ID, early.ID, Start.Add(72*time.Hour)))
		f.wantOldest(early.CreatedAt)
	},
	"one captured earlier that comes later is the oldest": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 3)
		f.wantOldest(Start)
		f.ok(f.Enqueue(f.ctx(), Delivery(w, Start.Add(-time.Minute))))
		f.wantOldest(Start.Add(-time.Minute))
	},
	"what is held for a disabled webhook is not the oldest until it is enabled": func(f *fixture) {
		w, v := f.webhook(), f.webhook()
		f.enqueue(w, 2)
		f.ok(f.Enqueue(f.ctx(), Delivery(v, Start.Add(time.Hour))))
		f.setStatus(w, store.Disabled)
		f.wantOldest(Start.Add(time.Hour))
		f.setStatus(w, store.Active)
		f.wantOldest(Start)
	},
	"what went with its webhook is not the oldest": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 2)
		f.wantOldest(Start)
		f.ok(f.DeleteWebhook(f.ctx(), w.ID))
		f.wantOldest(time.Time{})
	},
}

func (f *fixture) setStatus(w store.Webhook, status store.Status) {
	f.Helper()
	_, err := f.UpdateWebhook(f.ctx(), w.ID, func(w *store.Webhook) error { w.Status = status; return nil })
	f.ok(err)
}

// wantOldest waits for an engine to find its way to the oldest; the zero time for none.
func (f *fixture) wantOldest(want time.Time) {
	f.Helper()
	f.eventually(fmt.Sprintf("the oldest is of %v", want), func() bool {
		at, found, err := f.OldestPending(f.ctx())
		f.ok(err)
		if found && at.Before(want) {
			f.Fatalf("the oldest is of %v, which is before %v", at, want)
		}
		return found == !want.IsZero() && at.Equal(want)
	})
}

func (m *model) disable(rt *rapid.T) {
	w := m.webhook(rt)
	status := rapid.SampledFrom([]store.Status{store.Active, store.Disabled}).Draw(rt, "status")
	_, err := m.s.UpdateWebhook(m.ctx(), w.ID, func(w *store.Webhook) error { w.Status = status; return nil })
	must(rt, err)
}

func (m *model) find(rt *rapid.T) {
	filter := store.Filter{
		State: rapid.SampledFrom([]store.State{"", store.Pending, store.Delivering, store.Delivered, store.Dead}).Draw(rt, "state"),
		Item:  rapid.SampledFrom([]string{"", "ticket", "reply"}).Draw(rt, "item"),
	}
	if rapid.Bool().Draw(rt, "one") {
		filter.Webhook = m.webhook(rt).ID
	}
	if rapid.Bool().Draw(rt, "since") {
		filter.Since = moment(rt, "from")
	}
	if rapid.Bool().Draw(rt, "until") {
		filter.Until = moment(rt, "to")
	}
	got, err := findAll(m.ctx(), m.s, filter, "", rapid.IntRange(1, 20).Draw(rt, "limit"))
	must(rt, err)
	want := m.some(filter.Matches)
	slices.Reverse(want)
	if len(got) != len(want) {
		rt.Fatalf("%+v finds %v, want %v", filter, ids(got), want)
	}
	for i := range got {
		if !sameDelivery(got[i], *want[i]) {
			rt.Fatalf("found %+v, want %+v", got[i], *want[i])
		}
	}
}

func (m *model) oldest(rt *rapid.T) {
	var want time.Time
	for _, d := range m.some(func(d *store.Delivery) bool { return d.State == store.Pending || d.State == store.Delivering }) {
		if m.s.Directory().Get(d.Webhook).Status == store.Disabled {
			continue
		}
		if want.IsZero() || d.CreatedAt.Before(want) {
			want = d.CreatedAt
		}
	}
	var got time.Time
	for range 5000 {
		var found bool
		var err error
		got, found, err = m.s.OldestPending(m.ctx())
		must(rt, err)
		if found == !want.IsZero() && got.Equal(want) {
			return
		}
	}
	rt.Fatalf("the oldest is of %v, want %v", got, want)
}
