package storetest

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bentihooks/bentihooks/store"
)

// model is what a store is compared with: maps, and no cleverness. State Delivering marks what is claimed.
type model struct {
	t          *testing.T
	s          store.Store
	r          *reopener
	webhooks   []store.Webhook
	deliveries map[string]*store.Delivery
	deleted    []store.Delivery // claimed, of a webhook that was deleted
	counts     store.Counts     // only what cannot be counted in deliveries
}

// checkModel runs one random history.
func checkModel(t *testing.T, rt *rapid.T, e Engine) {
	dir := func() string {
		d, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		return d
	}
	m := &model{t: t, r: &reopener{Engine: e, dir: dir(), tempDir: dir}, deliveries: make(map[string]*store.Delivery)}
	s, err := e.Open(m.r.dir)
	if err != nil {
		rt.Fatal(err)
	}
	m.s = s
	defer func() {
		m.s.Close()
		os.RemoveAll(m.r.dir)
	}()
	m.create(rt)
	rt.Repeat(map[string]func(*rapid.T){
		"":        m.check,
		"create":  m.create,
		"delete":  m.delete,
		"enqueue": m.enqueue,
		"disable": m.disable,
		"again":   m.enqueueAgain,
		"claim":   m.claim,
		"next":    m.nextDue,
		"finish":  m.finish,
		"release": m.release,
		"replay":  m.replay,
		"kill":    m.kill,
		"prune":   m.prune,
		"list":    m.list,
		"find":    m.find,
		"oldest":  m.oldest,
		"reopen":  m.reopen,
	})
}

func (m *model) ctx() context.Context { return m.t.Context() }

func must(rt *rapid.T, err error) {
	rt.Helper()
	if err != nil {
		rt.Fatal(err)
	}
}

func moment(rt *rapid.T, label string) time.Time {
	return Start.Add(time.Duration(rapid.IntRange(0, 20).Draw(rt, label)) * time.Second)
}

func (m *model) webhook(rt *rapid.T) store.Webhook {
	if len(m.webhooks) == 0 {
		rt.Skip("no webhook")
	}
	return m.webhooks[rapid.IntRange(0, len(m.webhooks)-1).Draw(rt, "webhook")]
}

// some returns the deliveries that fit, in order of their ids.
func (m *model) some(fits func(*store.Delivery) bool) []*store.Delivery {
	var ds []*store.Delivery
	for _, d := range m.deliveries {
		if fits(d) {
			ds = append(ds, d)
		}
	}
	slices.SortFunc(ds, func(a, b *store.Delivery) int { return cmp.Compare(a.ID, b.ID) })
	return ds
}

func pick(rt *rapid.T, ds []*store.Delivery) *store.Delivery {
	if len(ds) == 0 {
		rt.Skip("no delivery")
	}
	return ds[rapid.IntRange(0, len(ds)-1).Draw(rt, "delivery")]
}

func (m *model) create(rt *rapid.T) {
	w := Webhook("acme")
	err := m.s.CreateWebhook(m.ctx(), w, 3)
	if len(m.webhooks) >= 3 {
		if !errors.Is(err, store.ErrLimit) {
			rt.Fatalf("creating beyond the limit: %v", err)
		}
		return
	}
	must(rt, err)
	m.webhooks = append(m.webhooks, w)
}

func (m *model) delete(rt *rapid.T) {
	w := m.webhook(rt)
	must(rt, m.s.DeleteWebhook(m.ctx(), w.ID))
	m.webhooks = slices.DeleteFunc(m.webhooks, func(v store.Webhook) bool { return v.ID == w.ID })
	for _, d := range m.some(func(d *store.Delivery) bool { return d.Webhook == w.ID }) {
		delete(m.deliveries, d.ID)
		switch d.State {
		case store.Pending:
			m.counts.Dropped++
		case store.Delivering:
			m.deleted = append(m.deleted, *d)
		default:
			m.counts.Pruned++
		}
	}
}

func (m *model) enqueue(rt *rapid.T) {
	w := m.webhook(rt)
	ds := make([]store.Delivery, rapid.IntRange(1, 6).Draw(rt, "n"))
	for i := range ds {
		ds[i] = Delivery(w, moment(rt, "created"))
		ds[i].Due = moment(rt, "due")
		ds[i].Item = rapid.SampledFrom([]string{"ticket", "reply"}).Draw(rt, "item")
		ds[i].Payload = make([]byte, rapid.SampledFrom([]int{0, 100, 1000, 5000}).Draw(rt, "size"))
	}
	must(rt, m.s.Enqueue(m.ctx(), ds...))
	for i := range ds {
		m.deliveries[ds[i].ID] = &ds[i]
		m.counts.Enqueued++
	}
}

func (m *model) enqueueAgain(rt *rapid.T) {
	d := *pick(rt, m.some(func(*store.Delivery) bool { return true }))
	d.Due = moment(rt, "due")
	must(rt, m.s.Enqueue(m.ctx(), d))
}

// due returns the pending deliveries of a webhook in the order in which they have to be claimed.
func (m *model) due(w store.Webhook) []*store.Delivery {
	ds := m.some(func(d *store.Delivery) bool { return d.Webhook == w.ID && d.State == store.Pending })
	slices.SortStableFunc(ds, func(a, b *store.Delivery) int { return a.Due.Compare(b.Due) })
	return ds
}

func (m *model) claim(rt *rapid.T) {
	w, now, n := m.webhook(rt), moment(rt, "now"), rapid.IntRange(0, 8).Draw(rt, "n")
	got, err := m.s.Claim(m.ctx(), w.ID, now, n)
	must(rt, err)
	want := slices.DeleteFunc(m.due(w), func(d *store.Delivery) bool { return d.Due.After(now) })
	if len(got) != min(n, len(want)) {
		rt.Fatalf("claimed %v, want %d of %v", ids(got), n, want)
	}
	slices.SortFunc(got, byDue) // engines may order those due at the same time as they like
	for i, d := range got {
		at := slices.IndexFunc(want, func(w *store.Delivery) bool { return w.ID == d.ID })
		if at < 0 || !sameDelivery(d, with(*want[at], store.Delivering)) {
			rt.Fatalf("claimed %+v, want %v", d, want)
		}
		if i < len(got)-latest(len(got)) && !d.Due.Equal(want[i].Due) {
			rt.Fatalf("claimed one due at %v, want %v", d.Due, want[i].Due)
		}
	}
	for _, d := range want {
		if slices.ContainsFunc(got, func(g store.Delivery) bool { return g.ID == d.ID }) {
			d.State = store.Delivering
		}
	}
}

func with(d store.Delivery, s store.State) store.Delivery {
	d.State = s
	return d
}

// latest is how many of so many claims need not be those due longest.
func latest(claims int) int { return (claims + 3) / 4 }

func byDue(a, b store.Delivery) int {
	return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
}

func (m *model) nextDue(rt *rapid.T) {
	w := m.webhook(rt)
	got, ok, err := m.s.NextDue(m.ctx(), w.ID)
	must(rt, err)
	ds := m.due(w)
	if ok != (len(ds) > 0) || ok && !got.Equal(ds[0].Due) {
		rt.Fatalf("NextDue is %v, %v with pending %v", got, ok, ds)
	}
}

func claimed(d *store.Delivery) bool { return d.State == store.Delivering }

func (m *model) finish(rt *rapid.T) {
	state := rapid.SampledFrom([]store.State{store.Delivered, store.Dead, store.Pending}).Draw(rt, "state")
	due := moment(rt, "due")
	if n := len(m.deleted); n > 0 {
		must(rt, m.s.Finish(m.ctx(), Outcome(m.deleted[n-1], state, due)))
		m.deleted = m.deleted[:n-1]
		m.counts.Dropped++
		return
	}
	d := pick(rt, m.some(func(*store.Delivery) bool { return true }))
	o := Outcome(*d, state, due)
	err := m.s.Finish(m.ctx(), o)
	if !claimed(d) {
		if !errors.Is(err, store.ErrConflict) {
			rt.Fatalf("finishing an unclaimed delivery: %v", err)
		}
		return
	}
	must(rt, err)
	d.State = state
	d.Attempts = append(d.Attempts, o.Attempt)
	if state == store.Pending {
		d.Due = due
	}
}

func (m *model) release(rt *rapid.T) {
	if n := len(m.deleted); n > 0 {
		must(rt, m.s.Release(m.ctx(), m.deleted[n-1]))
		m.deleted = m.deleted[:n-1]
		m.counts.Dropped++
		return
	}
	d := pick(rt, m.some(claimed))
	must(rt, m.s.Release(m.ctx(), *d))
	d.State = store.Pending
}
