package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
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

var (
	errCorrupt = errors.New("record is corrupt")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

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
	b = append(b, recordVersion, codec.StateNumber(d.State), flags)
	b = codec.Append(b, d.Project)
	b = codec.Append(b, d.Item)
	b = codec.Append(b, d.Action)
	b = codec.Append(b, d.TraceContext)
	b = codec.Append(b, d.Payload)
	b = binary.AppendVarint(b, codec.Nanos(d.CreatedAt))
	b = binary.AppendVarint(b, codec.Nanos(d.Due))
	b = binary.AppendVarint(b, int64(d.Spent))
	b = codec.AppendAttempts(b, d.Attempts)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
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
	if codec.State(b[1]) == "" {
		return fmt.Errorf("%w: unknown state %d", errCorrupt, b[1])
	}
	return nil
}

// decodeDelivery reads a record. What it returns shares no memory with b.
func decodeDelivery(webhook, id uuid, b []byte) (store.Delivery, error) {
	if err := checkRecord(b); err != nil {
		return store.Delivery{}, err
	}
	r := codec.Reader{B: b[recordHead : len(b)-recordSum]}
	d := store.Delivery{
		ID:           id.String(),
		Webhook:      webhook.String(),
		State:        codec.State(b[1]),
		Ping:         b[2]&flagPing != 0,
		Project:      r.Text(),
		Item:         r.Text(),
		Action:       r.Text(),
		TraceContext: r.Text(),
		Payload:      r.Clone(),
		CreatedAt:    codec.Time(r.Varint()),
		Due:          codec.Time(r.Varint()),
		Spent:        r.Int(),
		Attempts:     r.Attempts(),
	}
	if r.Bad || len(r.B) != 0 {
		return store.Delivery{}, fmt.Errorf("%w: fields do not fit", errCorrupt)
	}
	return d, nil
}

// peekItem reads what kind of event a record is about, and nothing else of it; false if it is no record.
func peekItem(b []byte) (string, bool) {
	if len(b) < recordHead+recordSum || b[0] != recordVersion {
		return "", false
	}
	r := codec.Reader{B: b[recordHead : len(b)-recordSum]}
	r.Bytes() // the project
	item := r.Bytes()
	return string(item), !r.Bad
}
