package nats

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// A delivery's record begins with what the index needs, so that following the log decodes no more than that:
//
//	version (1 byte), state (1), flags (1), created, due, item, then the rest
//
// Text and bytes carry their length as a uvarint, times are varint nanoseconds since 1970. The ids are beside it. Sums
// are those of the messages that carry records.
const (
	recordVersion = 1
	flagPing      = 1
)

var (
	errCorrupt = errors.New("record is corrupt")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func encodeDelivery(d *store.Delivery) []byte {
	size := 96 + len(d.Payload) + len(d.TraceContext) + len(d.Project) + len(d.Item) + len(d.Action)
	for i := range d.Attempts {
		size += 48 + len(d.Attempts[i].Error) + min(len(d.Attempts[i].Response), store.MaxResponse)
	}
	var flags byte
	if d.Ping {
		flags |= flagPing
	}
	b := append(make([]byte, 0, size), recordVersion, codec.StateNumber(d.State), flags)
	b = binary.AppendVarint(b, codec.Nanos(d.CreatedAt))
	b = binary.AppendVarint(b, codec.Nanos(d.Due))
	b = codec.Append(b, d.Item)
	b = codec.Append(b, d.Project)
	b = codec.Append(b, d.Action)
	b = codec.Append(b, d.TraceContext)
	b = codec.Append(b, d.Payload)
	b = binary.AppendVarint(b, int64(d.Spent))
	return codec.AppendAttempts(b, d.Attempts)
}

// summary is what the index keeps of a record.
type summary struct {
	state        byte
	created, due int64
	item         []byte // shares memory with the record
}

// summarize reads the beginning of a record.
func summarize(b []byte) (summary, error) {
	r := newReader(b)
	s := summary{state: r.head(), created: r.Varint(), due: r.Varint(), item: r.Bytes()}
	if r.Bad {
		return summary{}, errCorrupt
	}
	return s, nil
}

// decodeDelivery reads a record. What it returns shares no memory with b.
func decodeDelivery(webhook, id uuid.UUID, b []byte) (store.Delivery, error) {
	r := newReader(b)
	state := r.head()
	d := store.Delivery{ID: id.String(), Webhook: webhook.String()}
	if !r.Bad {
		d.State, d.Ping = codec.State(state), b[2]&flagPing != 0
	}
	d.CreatedAt, d.Due = codec.Time(r.Varint()), codec.Time(r.Varint())
	d.Item, d.Project, d.Action, d.TraceContext = r.Text(), r.Text(), r.Text(), r.Text()
	d.Payload = r.Clone()
	d.Spent = r.Int()
	d.Attempts = r.Attempts()
	if r.Bad || len(r.B) != 0 {
		return store.Delivery{}, fmt.Errorf("delivery %s of webhook %s: %w", id, webhook, errCorrupt)
	}
	return d, nil
}

// reader takes what only this engine has, too.
type reader struct{ codec.Reader }

func newReader(b []byte) *reader { return &reader{codec.Reader{B: b}} }

// head takes version, state and flags, and returns the state.
func (r *reader) head() byte {
	h := r.Take(3)
	if r.Bad || h[0] != recordVersion || codec.State(h[1]) == "" {
		r.Fail()
		return 0
	}
	return h[1]
}

func (r *reader) uuid() uuid.UUID {
	var u uuid.UUID
	copy(u[:], r.Take(16))
	return u
}
