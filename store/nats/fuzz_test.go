package nats

import (
	"testing"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// unconnected is a store that only follows.
func unconnected() *Store {
	return &Store{
		instance: uuid.New(), state: newState(), claims: make(map[address]*claim), aside: make(map[address]bool), flights: make(map[uint64]*flight),
		namesakes: make(map[uuid.UUID]*namesake), yields: make(chan struct{}, 1), options: Options{Name: "n", Logf: func(string, string) {}},
	}
}

// logOfAll holds a change of each kind, with one webhook and one delivery.
func logOfAll(f *testing.F) [][]byte {
	f.Helper()
	w := storetest.Webhook("acme")
	d := storetest.Delivery(w, storetest.Start)
	create, err := webhookBody(10, w)
	if err != nil {
		f.Fatal(err)
	}
	enqueue, err := enqueueBody([]store.Delivery{d})
	if err != nil {
		f.Fatal(err)
	}
	id, _ := parseID(w.ID)
	return [][]byte{
		appendChange(nil, kindBeat, append(append([]byte{0}, 1, 'n'), 1, 'p')),
		appendChange(appendChange(nil, kindCreate, create), kindEnqueue, enqueue),
		appendChange(nil, kindKill, append(append([]byte(nil), id[:]...), 9, 0)),
		appendChange(nil, kindPrune, []byte{2}), appendChange(nil, kindYield, []byte{1}), appendChange(nil, kindLeave, nil),
		appendChange(nil, kindDelete, id[:]),
	}
}

// FuzzApply gives any changes to one that follows the log, behind those that make what they may be about.
func FuzzApply(f *testing.F) {
	all := logOfAll(f)
	for _, content := range all {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		s := unconnected()
		for i, content := range append(all[:2:2], content) {
			m := message{instance: uuid.Max, number: uint64(i), parts: 1, content: content}
			if err := s.take(uint64(i)+1, encodeMessage(&m)); err != nil {
				if i < 2 {
					t.Fatal(err)
				}
				return
			}
		}
		b, whole, err := s.encode()
		if err != nil || !whole {
			t.Fatalf("a state that was followed is not written down: %v", err)
		}
		again := unconnected()
		if err := again.decode(b); err != nil || again.totals != s.totals {
			t.Fatalf("%+v was written down and is read as %+v, %v", s.totals, again.totals, err)
		}
	})
}

// FuzzSnapshot takes any bytes for a snapshot.
func FuzzSnapshot(f *testing.F) {
	s := unconnected()
	for i, content := range logOfAll(f)[:2] {
		m := message{instance: uuid.Max, number: uint64(i), parts: 1, content: content}
		if err := s.take(uint64(i)+1, encodeMessage(&m)); err != nil {
			f.Fatal(err)
		}
	}
	b, _, err := s.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { _ = unconnected().decode(b) })
}
