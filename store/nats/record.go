package nats

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
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

// State bytes are in the log: never renumber.
const (
	statePending   byte = 1
	stateDelivered byte = 2
	stateDead      byte = 3
)

var (
	errCorrupt = errors.New("record is corrupt")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// stateByte returns 0 for states that are never in the log.
func stateByte(s store.State) byte {
	switch s {
	case store.Pending:
		return statePending
	case store.Delivered:
		return stateDelivered
	case store.Dead:
		return stateDead
	}
	return 0
}

func stateOf(b byte) store.State {
	return [...]store.State{"", store.Pending, store.Delivered, store.Dead}[b]
}

func encodeDelivery(d *store.Delivery) []byte {
	size := 96 + len(d.Payload) + len(d.TraceContext) + len(d.Project) + len(d.Item) + len(d.Action)
	for i := range d.Attempts {
		size += 48 + len(d.Attempts[i].Error) + min(len(d.Attempts[i].Response), store.MaxResponse)
	}
	var flags byte
	if d.Ping {
		flags |= flagPing
	}
	b := append(make([]byte, 0, size), recordVersion, stateByte(d.State), flags)
	b = binary.AppendVarint(b, nanos(d.CreatedAt))
	b = binary.AppendVarint(b, nanos(d.Due))
	b = appendBytes(b, d.Item)
	b = appendBytes(b, d.Project)
	b = appendBytes(b, d.Action)
	b = appendBytes(b, d.TraceContext)
	b = appendBytes(b, d.Payload)
	b = binary.AppendVarint(b, int64(d.Spent))
	b = binary.AppendUvarint(b, uint64(len(d.Attempts)))
	for i := range d.Attempts {
		a := &d.Attempts[i]
		b = binary.AppendVarint(b, int64(a.N))
		b = binary.AppendVarint(b, nanos(a.At))
		b = binary.AppendVarint(b, int64(a.Status))
		b = binary.AppendVarint(b, int64(a.Duration))
		b = appendBytes(b, a.Error)
		b = appendBytes(b, a.Response[:min(len(a.Response), store.MaxResponse)])
	}
	return b
}

// summary is what the index keeps of a record.
type summary struct {
	state        byte
	created, due int64
	item         []byte // shares memory with the record
}

// summarize reads the beginning of a record.
func summarize(b []byte) (summary, error) {
	r := reader{b: b}
	s := summary{state: r.head(), created: r.varint(), due: r.varint(), item: r.bytes()}
	if r.bad {
		return summary{}, errCorrupt
	}
	return s, nil
}

// decodeDelivery reads a record. What it returns shares no memory with b.
func decodeDelivery(webhook, id uuid.UUID, b []byte) (store.Delivery, error) {
	r := reader{b: b}
	state := r.head()
	d := store.Delivery{ID: id.String(), Webhook: webhook.String()}
	if !r.bad {
		d.State, d.Ping = stateOf(state), b[2]&flagPing != 0
	}
	d.CreatedAt, d.Due = fromNanos(r.varint()), fromNanos(r.varint())
	d.Item, d.Project, d.Action, d.TraceContext = r.text(), r.text(), r.text(), r.text()
	d.Payload = r.clone()
	d.Spent = r.int()
	// An attempt takes at least six bytes: a count beyond that is a lie, and must not be allocated.
	if n := r.uvarint(); n > uint64(len(r.b))/6 {
		r.bad = true
	} else if n > 0 {
		d.Attempts = make([]store.Attempt, n)
	}
	for i := range d.Attempts {
		d.Attempts[i] = store.Attempt{
			N: r.int(), At: fromNanos(r.varint()), Status: r.int(), Duration: time.Duration(r.varint()), Error: r.text(), Response: r.clone(),
		}
	}
	if r.bad || len(r.b) != 0 {
		return store.Delivery{}, fmt.Errorf("delivery %s of webhook %s: %w", id, webhook, errCorrupt)
	}
	return d, nil
}

// nanos is t in nanoseconds since 1970. The zero time and all before 1678 become the least value, and all after 2261 the
// greatest, so that order is kept.
func nanos(t time.Time) int64 {
	switch y := t.UTC().Year(); {
	case y < 1678:
		return math.MinInt64
	case y > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes fields off the front of b; bad is set for good once one did not fit.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.bad, r.b = true, nil
}

// head takes version, state and flags, and returns the state.
func (r *reader) head() byte {
	h := r.take(3)
	if r.bad || h[0] != recordVersion || h[1] < statePending || h[1] > stateDead {
		r.fail()
		return 0
	}
	return h[1]
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	field := r.b[:n:n]
	r.b = r.b[n:]
	return field
}

func (r *reader) byte() byte {
	b := r.take(1)
	if r.bad {
		return 0
	}
	return b[0]
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int { return int(r.varint()) }

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func (r *reader) text() string { return string(r.bytes()) }

// clone turns empty into nil, so that a record decodes to what was encoded wherever that was nil.
func (r *reader) clone() []byte {
	b := r.bytes()
	if len(b) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

func (r *reader) uuid() uuid.UUID {
	var u uuid.UUID
	copy(u[:], r.take(16))
	return u
}
