package caddymodule

import (
	"crypto/sha256"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/journal"
	"github.com/bentihooks/bentihooks/store"
)

// event is a captured event on its way into the store. Its JSON form is what stands in the reserve, so its
// names may not change.
type event struct {
	ID           uuid.UUID `json:"id"` // UUIDv7
	Project      string    `json:"project"`
	Item         string    `json:"item"`
	Action       string    `json:"action"`
	Payload      []byte    `json:"payload"`
	TraceContext string    `json:"traceparent,omitempty"` // see [store.Delivery]
	At           time.Time `json:"at"`

	waited bool          // it was kept outside of the store
	token  journal.Token // the note of its request among those in flight
	// unkept counts the events of its request that are not kept yet, of several: the note ends with the last of them.
	unkept *atomic.Int32
}

// deliveries makes one delivery for each webhook that wants the event. Webhooks made while an event waited
// for the store are left out.
func (ev *event) deliveries(directory *store.Directory) []store.Delivery {
	var ds []store.Delivery
	for _, w := range directory.Wanting(ev.Project, ev.Item) {
		if ev.waited && w.CreatedAt.After(ev.At) {
			continue
		}
		ds = append(ds, store.Delivery{
			ID: deliveryID(ev.ID, w.ID), Webhook: w.ID, Project: ev.Project, Item: ev.Item, Action: ev.Action,
			Payload: ev.Payload, TraceContext: ev.TraceContext, State: store.Pending, CreatedAt: ev.At, Due: ev.At,
		})
	}
	return ds
}

// deliveryID gives the delivery of an event to a webhook its id: a UUIDv7 with the time of the event's,
// and the same whenever it is asked for, so that an event whose fate in the store is unknown can be
// enqueued again.
func deliveryID(event uuid.UUID, webhook string) string {
	sum := sha256.Sum256(append(event[:], webhook...))
	id := event
	copy(id[8:], sum[:8])
	id[8] = id[8]&0x3f | 0x80 // RFC 9562 variant
	return id.String()
}
