package storetest

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/bentihooks/bentihooks/store"
)

func (m *model) replay(rt *rapid.T) {
	d, now := pick(rt, m.some(func(*store.Delivery) bool { return true })), moment(rt, "now")
	must(rt, m.s.Replay(m.ctx(), d.Webhook, d.ID, now))
	if !claimed(d) {
		d.State, d.Due, d.Spent = store.Pending, now, len(d.Attempts)
	}
}

func (m *model) kill(rt *rapid.T) {
	w := m.webhook(rt)
	n, err := m.s.Kill(m.ctx(), w.ID)
	must(rt, err)
	ds := m.due(w)
	for _, d := range ds {
		d.State = store.Dead
	}
	if n != len(ds) {
		rt.Fatalf("killed %d, want %d", n, len(ds))
	}
}

func (m *model) prune(rt *rapid.T) {
	before := moment(rt, "before")
	n, err := m.s.Prune(m.ctx(), before)
	must(rt, err)
	ds := m.some(func(d *store.Delivery) bool {
		return (d.State == store.Delivered || d.State == store.Dead) && d.CreatedAt.Before(before)
	})
	for _, d := range ds {
		delete(m.deliveries, d.ID)
		m.counts.Pruned++
	}
	if n != len(ds) {
		rt.Fatalf("pruned %d, want %d", n, len(ds))
	}
}

func (m *model) list(rt *rapid.T) {
	w, before, limit := m.webhook(rt), ID(moment(rt, "before")), rapid.IntRange(1, 20).Draw(rt, "limit")
	got, err := m.s.List(m.ctx(), w.ID, before, limit)
	must(rt, err)
	want := m.some(func(d *store.Delivery) bool { return d.Webhook == w.ID && d.ID < before })
	slices.Reverse(want)
	want = want[:min(limit, len(want))]
	if len(got) != len(want) {
		rt.Fatalf("listed %v, want %v", ids(got), want)
	}
	for i := range got {
		if !sameDelivery(got[i], *want[i]) {
			rt.Fatalf("listed %+v, want %+v", got[i], *want[i])
		}
	}
}

func (m *model) reopen(rt *rapid.T) {
	open := m.r.afterClose
	switch rapid.IntRange(0, 3).Draw(rt, "how") {
	case 0:
	case 1:
		open = m.r.afterCrash
	default:
		rt.Skip("not now: it is slow")
	}
	s, err := open(m.s)
	must(rt, err)
	m.s = s
	for _, d := range m.some(claimed) {
		d.State = store.Pending
	}
	m.counts.Dropped += uint64(len(m.deleted))
	m.deleted = nil
}

// check compares the counts, for which the erasing of a deleted webhook has to come to its end.
func (m *model) check(rt *rapid.T) {
	want := m.counts
	for _, d := range m.deliveries {
		switch d.State {
		case store.Pending:
			want.Pending++
		case store.Delivering:
			want.Delivering++
		case store.Delivered:
			want.Delivered++
		default:
			want.Dead++
		}
	}
	want.Delivering += uint64(len(m.deleted))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var got store.Counts
	for range 5000 {
		var err error
		got, err = m.s.Counts(m.ctx())
		must(rt, err)
		if got.Enqueued != got.Pending+got.Delivering+got.Delivered+got.Dead+got.Dropped+got.Pruned {
			rt.Fatalf("counts do not add up: %+v", got)
		}
		if got == want {
			return
		}
		<-tick.C
	}
	rt.Fatalf("counts are %+v, want %+v", got, want)
}
