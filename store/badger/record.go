package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// A delivery's record is
//
//	version (1 byte), state (1), flags (1), the fields below, CRC-32C of all before it (4, big-endian)
//
// Text and bytes carry their length as a uvarint, times are varint nanoseconds since 1970. The ids are in
// the key. The sum is there because Badger checks none on its own way from disk to here, and a flipped
// bit in a payload would be posted to a receiver.
const (
	recordVersion = 1
	recordHead    = 3
	recordSum     = 4

	flagPing = 1
)

// State bytes, in records and in the user meta of delivery keys. They are on disk: never renumber.
const (
	statePending   byte = 1
	stateDelivered byte = 2
	stateDead      byte = 3
)

var (
	errCorrupt = errors.New("record is corrupt")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// stateByte returns 0 for states that are never on disk.
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
	switch b {
	case statePending:
		return store.Pending
	case stateDelivered:
		return store.Delivered
	case stateDead:
		return store.Dead
	}
	return ""
}

func encodeDelivery(d *store.Delivery) []byte {
	size := 128 + len(d.Payload) + len(d.TraceContext) + len(d.Project) + len(d.Item) + len(d.Action)
	for i := range d.Attempts {
		size += 48 + len(d.Attempts[i].Error) + len(d.Attempts[i].Response)
	}
	b := make([]byte, 0, size)
	var flags byte
	if d.Ping {
		flags |= flagPing
	}
	b = append(b, recordVersion, stateByte(d.State), flags)
	b = appendBytes(b, d.Project)
	b = appendBytes(b, d.Item)
	b = appendBytes(b, d.Action)
	b = appendBytes(b, d.TraceContext)
	b = appendBytes(b, d.Payload)
	b = binary.AppendVarint(b, nanos(d.CreatedAt))
	b = binary.AppendVarint(b, nanos(d.Due))
	b = binary.AppendVarint(b, int64(d.Spent))
	b = binary.AppendUvarint(b, uint64(len(d.Attempts)))
	for i := range d.Attempts {
		b = appendAttempt(b, &d.Attempts[i])
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendAttempt(b []byte, a *store.Attempt) []byte {
	b = binary.AppendVarint(b, int64(a.N))
	b = binary.AppendVarint(b, nanos(a.At))
	b = binary.AppendVarint(b, int64(a.Status))
	b = binary.AppendVarint(b, int64(a.Duration))
	b = appendBytes(b, a.Error)
	return appendBytes(b, a.Response[:min(len(a.Response), store.MaxResponse)])
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// checkRecord reports what is wrong with a record, short of decoding it.
func checkRecord(b []byte) error {
	if len(b) < recordHead+recordSum {
		return fmt.Errorf("%w: %d bytes", errCorrupt, len(b))
	}
	end := len(b) - recordSum
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return fmt.Errorf("%w: wrong checksum", errCorrupt)
	}
	if b[0] != recordVersion {
		return fmt.Errorf("%w: unknown version %d", errCorrupt, b[0])
	}
	if stateOf(b[1]) == "" {
		return fmt.Errorf("%w: unknown state %d", errCorrupt, b[1])
	}
	return nil
}

// decodeDelivery reads a record. What it returns shares no memory with b.
func decodeDelivery(webhook, id uuid, b []byte) (store.Delivery, error) {
	if err := checkRecord(b); err != nil {
		return store.Delivery{}, err
	}
	r := reader{b: b[recordHead : len(b)-recordSum]}
	d := store.Delivery{
		ID:           id.String(),
		Webhook:      webhook.String(),
		State:        stateOf(b[1]),
		Ping:         b[2]&flagPing != 0,
		Project:      string(r.bytes()),
		Item:         string(r.bytes()),
		Action:       string(r.bytes()),
		TraceContext: string(r.bytes()),
		Payload:      clone(r.bytes()),
		CreatedAt:    fromNanos(r.varint()),
		Due:          fromNanos(r.varint()),
		Spent:        r.int(),
	}
	// An attempt takes at least six bytes: a count beyond that is a lie, and must not be allocated.
	if n := r.uvarint(); n > uint64(len(r.b))/6 {
		r.bad = true
	} else if n > 0 {
		d.Attempts = make([]store.Attempt, n)
	}
	for i := range d.Attempts {
		d.Attempts[i] = r.attempt()
	}
	if r.bad || len(r.b) != 0 {
		return store.Delivery{}, fmt.Errorf("%w: fields do not fit", errCorrupt)
	}
	return d, nil
}

// reader takes fields off the front of b; bad is set for good once one did not fit.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) attempt() store.Attempt {
	return store.Attempt{
		N:        r.int(),
		At:       fromNanos(r.varint()),
		Status:   r.int(),
		Duration: time.Duration(r.varint()),
		Error:    string(r.bytes()),
		Response: clone(r.bytes()),
	}
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int {
	v := r.varint()
	if v < math.MinInt || v > math.MaxInt {
		r.bad = true
	}
	return int(v)
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	field := r.b[:n]
	r.b = r.b[n:]
	return field
}

// clone turns empty into nil, so that a record decodes to what was encoded wherever that was nil.
func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// peekItem reads what kind of event a record is about, and nothing else of it; false if it is no record.
func peekItem(b []byte) (string, bool) {
	if len(b) < recordHead+recordSum || b[0] != recordVersion {
		return "", false
	}
	r := reader{b: b[recordHead : len(b)-recordSum]}
	r.bytes() // the project
	item := r.bytes()
	return string(item), !r.bad
}
