package storetest

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bentihooks/bentihooks/store"
)

// RunDurable holds an engine to what the contract says about closing, crashing and opening again, and compares it with
// a model through random histories. It uses directories of t.TempDir.
func RunDurable(t *testing.T, e Engine) {
	t.Helper()
	for name, test := range durableTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &reopener{Engine: e, dir: t.TempDir(), tempDir: t.TempDir}
			s, err := e.Open(r.dir)
			if err != nil {
				t.Fatal(err)
			}
			f := &fixture{T: t, Store: s}
			t.Cleanup(func() { f.Close() })
			for _, again := range []func(*fixture){f.closeAndOpen(r), f.crashAndOpen(r)} {
				test(f, again)
				f.sum()
			}
		})
	}
	t.Run("random histories agree with the model", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(rt *rapid.T) { checkModel(t, rt, e) })
	})
}

// reopener opens a store again, after a crash from what that left.
type reopener struct {
	Engine
	dir     string
	tempDir func() string
}

func (r *reopener) afterClose(s store.Store) (store.Store, error) {
	if err := s.Close(); err != nil {
		return nil, err
	}
	return r.Open(r.dir)
}

func (r *reopener) afterCrash(s store.Store) (store.Store, error) {
	if r.Crash == nil {
		return r.afterClose(s)
	}
	left := r.tempDir()
	if err := r.Crash(r.dir, left); err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	r.dir = left
	return r.Open(left)
}

func (f *fixture) closeAndOpen(r *reopener) func(*fixture) {
	return func(f *fixture) {
		f.Helper()
		s, err := r.afterClose(f.Store)
		f.ok(err)
		f.Store = s
	}
}

func (f *fixture) crashAndOpen(r *reopener) func(*fixture) {
	return func(f *fixture) {
		f.Helper()
		s, err := r.afterCrash(f.Store)
		f.ok(err)
		f.Store = s
	}
}

// durableTests run twice on one store, with again closing it first and then crashing it.
var durableTests = map[string]func(f *fixture, again func(*fixture)){
	"webhooks and deliveries survive": func(f *fixture, again func(*fixture)) {
		w := f.webhook()
		ds := f.enqueue(w, 3)
		c := f.claim(w, Start.Add(time.Hour), 3)
		f.finish(c[0], store.Delivered, time.Time{})
		f.finish(c[1], store.Dead, time.Time{})
		f.finish(c[2], store.Pending, Start.Add(time.Minute))
		before := f.counts()
		want := []store.Delivery{f.get(ds[0]), f.get(ds[1]), f.get(ds[2])}
		again(f)
		equalWebhooks(f.T, *f.Directory().Get(w.ID), w)
		f.wantCounts(before)
		for i := range want {
			if got := f.get(ds[i]); !sameDelivery(got, want[i]) {
				f.Errorf("got %+v, want %+v", got, want[i])
			}
		}
		got := f.claim(w, Start.Add(time.Hour), 5)
		f.wantIDs(got, ds[2:])
		f.finish(got[0], store.Delivered, time.Time{})
	},
	"what was claimed is due again": func(f *fixture, again func(*fixture)) {
		w := f.webhook()
		ds := f.enqueue(w, 200)
		f.claim(w, Start.Add(time.Hour), 150)
		again(f)
		due, ok, err := f.NextDue(f.ctx(), w.ID)
		f.ok(err)
		if !ok || !due.Equal(Start) {
			f.Errorf("NextDue is %v, %v", due, ok)
		}
		got := f.claim(w, Start.Add(time.Hour), 500)
		f.wantIDs(got, ds)
		for _, d := range got {
			f.finish(d, store.Delivered, time.Time{})
		}
	},
	"an update survives": func(f *fixture, again func(*fixture)) {
		w := f.webhook()
		want, err := f.UpdateWebhook(f.ctx(), w.ID, func(w *store.Webhook) error { w.Secret = "new"; return nil })
		f.ok(err)
		again(f)
		equalWebhooks(f.T, *f.Directory().Get(w.ID), want)
	},
	"a deletion survives and goes on": func(f *fixture, again func(*fixture)) {
		w := f.webhook()
		f.enqueue(w, 2000)
		f.claim(w, Start.Add(time.Hour), 10)
		dropped := f.counts().Dropped
		f.ok(f.DeleteWebhook(f.ctx(), w.ID))
		again(f)
		if f.Directory().Get(w.ID) != nil {
			f.Error("deleted webhook is back")
		}
		f.eventually("deliveries erased", func() bool { return f.counts().Dropped == dropped+2000 })
	},
	"kills, replays and prunes survive": func(f *fixture, again func(*fixture)) {
		w := f.webhook()
		ds := f.enqueue(w, 10)
		_, err := f.Kill(f.ctx(), w.ID)
		f.ok(err)
		f.ok(f.Replay(f.ctx(), w.ID, ds[7].ID, Start))
		_, err = f.Prune(f.ctx(), Start.Add(5*time.Second))
		f.ok(err)
		before := f.counts()
		again(f)
		f.wantCounts(before)
		got, err := f.List(f.ctx(), w.ID, "", 100)
		f.ok(err)
		f.wantIDs(got, []store.Delivery{ds[9], ds[8], ds[7], ds[6], ds[5]})
		c := f.claim(w, Start.Add(time.Hour), 10)
		f.wantIDs(c, ds[7:8])
		f.ok(f.Release(f.ctx(), c...))
	},
}
