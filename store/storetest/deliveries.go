package storetest

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// sameWebhook and sameDelivery compare what was stored with what was given: times as moments, nil like empty.
func sameWebhook(a, b store.Webhook) bool {
	ok := a.CreatedAt.Equal(b.CreatedAt) && a.UpdatedAt.Equal(b.UpdatedAt) && a.PreviousUntil.Equal(b.PreviousUntil) &&
		slices.Equal(a.Events, b.Events)
	for _, w := range []*store.Webhook{&a, &b} {
		w.CreatedAt, w.UpdatedAt, w.PreviousUntil, w.Events = Start, Start, Start, nil
	}
	return ok && reflect.DeepEqual(a, b)
}

func sameDelivery(a, b store.Delivery) bool {
	ok := a.CreatedAt.Equal(b.CreatedAt) && (a.State != store.Pending || a.Due.Equal(b.Due)) &&
		bytes.Equal(a.Payload, b.Payload) && slices.EqualFunc(a.Attempts, b.Attempts, sameAttempt)
	for _, d := range []*store.Delivery{&a, &b} {
		d.CreatedAt, d.Due, d.Payload, d.Attempts = Start, Start, nil, nil
	}
	return ok && reflect.DeepEqual(a, b)
}

func sameAttempt(a, b store.Attempt) bool {
	return a.N == b.N && a.At.Equal(b.At) && a.Status == b.Status && a.Duration == b.Duration &&
		a.Error == b.Error && bytes.Equal(a.Response, b.Response)
}

var enqueueTests = map[string]func(*fixture){
	"an enqueued delivery comes back as it was given": func(f *fixture) {
		d := Delivery(f.webhook(), Start.Add(123456789))
		d.Ping, d.TraceContext, d.Payload = true, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", []byte{0, 255, '"'}
		f.ok(f.Enqueue(f.ctx(), d))
		if got := f.get(d); !sameDelivery(got, d) {
			f.Errorf("got %+v, want %+v", got, d)
		}
		c := f.claim(store.Webhook{ID: d.Webhook}, d.Due, 1)
		d.State = store.Delivering
		if len(c) != 1 || !sameDelivery(c[0], d) {
			f.Errorf("claimed %+v, want %+v", c, d)
		}
	},
	"a delivery is got without its webhook": func(f *fixture) {
		w, other := f.webhook(), f.webhook()
		ds := f.enqueue(w, 2)
		f.enqueue(other, 2)
		f.finish(f.claim(w, Start, 1)[0], store.Dead, time.Time{})
		for _, d := range ds {
			got, err := f.Get(f.ctx(), "", d.ID)
			f.ok(err)
			if want := f.get(d); !sameDelivery(got, want) {
				f.Errorf("got %+v, want %+v", got, want)
			}
		}
		for _, id := range []string{"", "x", ID(Start), ID(Start.Add(time.Hour))} {
			_, err := f.Get(f.ctx(), "", id)
			wantError(f.T, err, store.ErrNotFound)
		}
		f.ok(f.DeleteWebhook(f.ctx(), w.ID))
		_, err := f.Get(f.ctx(), "", ds[0].ID)
		wantError(f.T, err, store.ErrNotFound)
	},
	"payloads of any size come back byte for byte": func(f *fixture) {
		w := f.webhook()
		for _, size := range []int{0, 1, 1000, 1 << 10, 5000, 1 << 16, 1 << 20} {
			d := Delivery(w, Start)
			d.Payload = []byte(strings.Repeat("x", size))
			f.ok(f.Enqueue(f.ctx(), d))
			if !bytes.Equal(f.get(d).Payload, d.Payload) {
				f.Errorf("payload of %d bytes differs", size)
			}
			if c := f.claim(w, Start, 1); len(c) != 1 || !bytes.Equal(c[0].Payload, d.Payload) {
				f.Errorf("payload of %d bytes differs when claimed", size)
			}
		}
	},
	"a fan-out of a thousand is enqueued at once": func(f *fixture) {
		var ds []store.Delivery
		for range 10 {
			w := f.webhook()
			for range 100 {
				ds = append(ds, Delivery(w, Start))
			}
		}
		f.ok(f.Enqueue(f.ctx(), ds...))
		f.wantCounts(store.Counts{Enqueued: 1000, Pending: 1000})
	},
	"a delivery that is there already is left as it is": func(f *fixture) {
		w := f.webhook()
		ds := f.enqueue(w, 2)
		f.finish(f.claim(w, Start, 1)[0], store.Delivered, time.Time{})
		f.ok(f.Enqueue(f.ctx(), ds...))
		twice := Delivery(w, Start)
		f.ok(f.Enqueue(f.ctx(), twice, twice))
		if got := f.get(ds[0]).State; got != store.Delivered {
			f.Errorf("state is %s after enqueueing again", got)
		}
		f.wantCounts(store.Counts{Enqueued: 3, Pending: 2, Delivered: 1})
		f.wantIDs(f.claim(w, Start.Add(time.Hour), 10), []store.Delivery{twice, ds[1]})
	},
	"a delivery that is claimed is left as it is": func(f *fixture) {
		w := f.webhook()
		ds := f.enqueue(w, 1)
		f.claim(w, Start, 1)
		f.ok(f.Enqueue(f.ctx(), ds...))
		f.wantIDs(f.claim(w, Start, 1), nil)
		f.wantCounts(store.Counts{Enqueued: 1, Delivering: 1})
	},
	"a delivery for no webhook counts as dropped": func(f *fixture) {
		f.ok(f.Enqueue(f.ctx(), Delivery(f.webhook(), Start), Delivery(Webhook("acme"), Start)))
		f.wantCounts(store.Counts{Enqueued: 2, Pending: 1, Dropped: 1})
	},
	"a context that has ended stores nothing": func(f *fixture) {
		ctx, cancel := context.WithCancel(f.ctx())
		cancel()
		wantError(f.T, f.Enqueue(ctx, Delivery(f.webhook(), Start)), context.Canceled)
		f.wantCounts(store.Counts{})
	},
	"OnDue tells of every delivery that becomes pending": func(f *fixture) {
		w := f.webhook()
		var mu sync.Mutex
		var got []string
		f.OnDue(func(webhook string, due time.Time) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprint(webhook == w.ID, due.Sub(Start)))
		})
		f.enqueue(w, 1)
		c := f.claim(w, Start, 1)
		f.ok(f.Release(f.ctx(), c...))
		c = f.claim(w, Start, 1)
		f.finish(c[0], store.Pending, Start.Add(time.Minute))
		c = f.claim(w, Start.Add(time.Hour), 1)
		f.finish(c[0], store.Dead, time.Time{})
		f.ok(f.Replay(f.ctx(), w.ID, c[0].ID, Start.Add(2*time.Minute)))
		f.OnDue(nil)
		f.enqueue(w, 1)
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"true 0s", "true 0s", "true 1m0s", "true 2m0s"}; !reflect.DeepEqual(got, want) {
			f.Errorf("OnDue said %v, want %v", got, want)
		}
	},
}
