// Package storetest is the conformance suite of [store.Store]: whatever engine passes it keeps the contract.
package storetest

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// Engine is how the suite opens a store again that it has seen before.
type Engine struct {
	// Open opens the store in a directory, or whatever else the engine has a name for.
	Open func(dir string) (store.Store, error)
	// Crash leaves in the directory into what a kill of the process would leave of the store that is open in
	// the directory from. Nil where the engine cannot; tests of crashes then close instead.
	Crash func(from, into string) error
}

// Run holds a store that open returns, empty, to every promise of [store.Store] that does not need it to be opened
// again. Close is called on it in any case.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Helper()
	for _, group := range []map[string]func(*fixture){webhookTests, enqueueTests, claimTests, finishTests, sweepTests, listTests, findTests, oldestTests, lifeTests} {
		for name, test := range group {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := open(t)
				t.Cleanup(func() { s.Close() })
				f := &fixture{T: t, Store: s}
				test(f)
				f.sum()
			})
		}
	}
}

// Start is the time that the suite's events begin at.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var sequence atomic.Uint64

// ID returns a new UUIDv7 of the given moment. Later calls return greater ones for the same moment.
func ID(at time.Time) string {
	n := sequence.Add(1)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16|0x7000|(n>>52)&0xfff)
	binary.BigEndian.PutUint64(b[8:], n&(1<<52-1)|1<<63)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Webhook returns a new api webhook of a project, with a URL of its own.
func Webhook(project string) store.Webhook {
	id := ID(Start)
	return store.Webhook{
		ID: id, Project: project, Item: "ticket", URL: "https://receiver.example/" + id, Secret: "s3cret",
		Status: store.Active, CreatedAt: Start, UpdatedAt: Start,
	}
}

// Delivery returns a new delivery for a webhook, captured and due at the given time.
func Delivery(w store.Webhook, at time.Time) store.Delivery {
	return store.Delivery{
		ID: ID(at), Webhook: w.ID, Project: w.Project, Item: "ticket", Action: "add",
		Payload: []byte(`{"id":200,"item":"ticket","action":"add","timestamp":1660834225,"actor":4014,"parent":100}`),
		State:   store.Pending, CreatedAt: at, Due: at,
	}
}
