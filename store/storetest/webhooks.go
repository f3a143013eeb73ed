package storetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

var webhookTests = map[string]func(*fixture){
	"a created webhook is in the directory as it was given": func(f *fixture) {
		w := Webhook("acme")
		w.Item, w.Events, w.PreviousSecret, w.PreviousUntil = "", []string{"answer", "close-ticket"}, "old", Start.Add(time.Hour)
		f.ok(f.CreateWebhook(f.ctx(), w, 10))
		got := f.Directory().Get(w.ID)
		if got == nil {
			f.Fatal("webhook is not in the directory")
		}
		equalWebhooks(f.T, *got, w)
	},
	"the same webhook twice is a duplicate": func(f *fixture) {
		w := f.webhook()
		v := Webhook(w.Project)
		v.URL = w.URL
		wantError(f.T, f.CreateWebhook(f.ctx(), v, 10), store.ErrDuplicate)
		v.Project = "other"
		f.ok(f.CreateWebhook(f.ctx(), v, 10))
	},
	"two instance webhooks of one URL share no event": func(f *fixture) {
		instance := func(events ...string) store.Webhook {
			w := Webhook("acme")
			w.Item, w.Events, w.URL = "", events, "https://receiver.example/"
			return w
		}
		f.ok(f.CreateWebhook(f.ctx(), instance("answer", "close-ticket"), 10))
		wantError(f.T, f.CreateWebhook(f.ctx(), instance("create-ticket", "close-ticket"), 10), store.ErrDuplicate)
		f.ok(f.CreateWebhook(f.ctx(), instance("create-ticket"), 10))
		w := Webhook("acme")
		w.URL = "https://receiver.example/"
		f.ok(f.CreateWebhook(f.ctx(), w, 10))
	},
	"a project has no more webhooks than its limit": func(f *fixture) {
		f.ok(f.CreateWebhook(f.ctx(), Webhook("acme"), 2))
		f.ok(f.CreateWebhook(f.ctx(), Webhook("acme"), 2))
		wantError(f.T, f.CreateWebhook(f.ctx(), Webhook("acme"), 2), store.ErrLimit)
		f.ok(f.CreateWebhook(f.ctx(), Webhook("other"), 2))
	},
	"the limit and duplicates hold under concurrent creation": func(f *fixture) {
		same := Webhook("acme").URL
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				w := Webhook("acme")
				if i%2 == 0 {
					w.URL = same
				}
				err := f.CreateWebhook(f.ctx(), w, 5)
				if err != nil && !errors.Is(err, store.ErrLimit) && !errors.Is(err, store.ErrDuplicate) {
					f.Error(err)
				}
			})
		}
		wg.Wait()
		n := 0
		for _, w := range f.Directory().Project("acme") {
			if w.URL == same {
				n++
			}
		}
		if got := f.Directory().Len(); got != 5 || n > 1 {
			f.Errorf("%d webhooks, %d of them the same, want 5 and at most 1", got, n)
		}
	},
	"an update stores what change leaves": func(f *fixture) {
		w := f.webhook()
		want := w
		want.URL, want.Secret, want.Status, want.UpdatedAt = "https://new.example/", "new", store.Failing, Start.Add(time.Hour)
		got, err := f.UpdateWebhook(f.ctx(), w.ID, func(w *store.Webhook) error { *w = want; return nil })
		f.ok(err)
		equalWebhooks(f.T, got, want)
		equalWebhooks(f.T, *f.Directory().Get(w.ID), want)
	},
	"an update cannot change id, project and creation time": func(f *fixture) {
		w := f.webhook()
		got, err := f.UpdateWebhook(f.ctx(), w.ID, func(w *store.Webhook) error {
			w.ID, w.Project, w.CreatedAt = ID(Start), "other", Start.Add(time.Hour)
			return nil
		})
		f.ok(err)
		equalWebhooks(f.T, got, w)
	},
	"an error of change changes nothing": func(f *fixture) {
		w := f.webhook()
		mine := errors.New("mine")
		_, err := f.UpdateWebhook(f.ctx(), w.ID, func(w *store.Webhook) error { w.Secret = "no"; return mine })
		wantError(f.T, err, mine)
		equalWebhooks(f.T, *f.Directory().Get(w.ID), w)
	},
	"an update into a duplicate changes nothing": func(f *fixture) {
		w, v := f.webhook(), f.webhook()
		_, err := f.UpdateWebhook(f.ctx(), w.ID, func(w *store.Webhook) error { w.URL = v.URL; return nil })
		wantError(f.T, err, store.ErrDuplicate)
		equalWebhooks(f.T, *f.Directory().Get(w.ID), w)
	},
	"an update of an unknown webhook finds nothing": func(f *fixture) {
		_, err := f.UpdateWebhook(f.ctx(), ID(Start), func(*store.Webhook) error { return nil })
		wantError(f.T, err, store.ErrNotFound)
	},
	"updates of one webhook happen one after the other": func(f *fixture) {
		w := f.webhook()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := f.UpdateWebhook(f.ctx(), w.ID, func(w *store.Webhook) error { w.Secret += "x"; return nil })
				if err != nil {
					f.Error(err)
				}
			})
		}
		wg.Wait()
		if got := len(f.Directory().Get(w.ID).Secret) - len(w.Secret); got != 20 {
			f.Errorf("%d of 20 updates are left", got)
		}
	},
	"a deleted webhook is gone with its deliveries": func(f *fixture) {
		w, other := f.webhook(), f.webhook()
		ds := f.enqueue(w, 5)
		kept := f.enqueue(other, 2)
		c := f.claim(w, Start, 1)
		f.finish(c[0], store.Delivered, time.Time{})
		f.ok(f.DeleteWebhook(f.ctx(), w.ID))
		if f.Directory().Get(w.ID) != nil {
			f.Error("webhook is still in the directory")
		}
		f.wantIDs(f.claim(w, Start.Add(time.Hour), 10), nil)
		if _, ok, err := f.NextDue(f.ctx(), w.ID); ok || err != nil {
			f.Errorf("NextDue of a deleted webhook: %v, %v", ok, err)
		}
		_, err := f.Get(f.ctx(), w.ID, ds[1].ID)
		wantError(f.T, err, store.ErrNotFound)
		wantError(f.T, f.Replay(f.ctx(), w.ID, ds[0].ID, Start), store.ErrNotFound)
		want := store.Counts{Enqueued: 7, Pending: 2, Dropped: 4, Pruned: 1}
		f.eventually("deliveries of a deleted webhook erased", func() bool { return f.counts() == want })
		f.wantIDs(f.claim(other, Start.Add(time.Hour), 10), kept)
	},
	"a webhook can be created again after its deletion": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 1)
		f.ok(f.DeleteWebhook(f.ctx(), w.ID))
		v := Webhook(w.Project)
		v.URL = w.URL
		f.ok(f.CreateWebhook(f.ctx(), v, 1000))
		f.wantIDs(f.claim(v, Start, 1), nil)
	},
	"deleting an unknown webhook finds nothing": func(f *fixture) {
		wantError(f.T, f.DeleteWebhook(f.ctx(), ID(Start)), store.ErrNotFound)
	},
	"a delivery claimed before its webhook was deleted ends as dropped": func(f *fixture) {
		w := f.webhook()
		f.enqueue(w, 3)
		c := f.claim(w, Start.Add(time.Hour), 3)
		f.ok(f.DeleteWebhook(f.ctx(), w.ID))
		f.finish(c[0], store.Delivered, time.Time{})
		f.finish(c[1], store.Pending, Start)
		f.ok(f.Release(f.ctx(), c[2]))
		want := store.Counts{Enqueued: 3, Dropped: 3}
		f.eventually("claimed deliveries dropped", func() bool { return f.counts() == want })
	},
}

func equalWebhooks(t *testing.T, got, want store.Webhook) {
	t.Helper()
	if !sameWebhook(got, want) {
		t.Errorf("webhook is %+v, want %+v", got, want)
	}
}

func wantError(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error is %v, want %v", got, want)
	}
}
