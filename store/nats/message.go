package nats

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store/codec"
)

// A message of the log carries a proposal, or a part of one that is larger than a message may be:
//
//	version (1 byte), instance (16), number, part, parts, content, CRC-32C of all before it (4, big-endian)
//
// An instance numbers its proposals. The contents of the parts, joined, are changes, each
//
//	kind (1 byte), length, body
//
// and take effect together, when the last part is met. An instance that ends between two parts leaves parts that never do.
const (
	messageVersion = 1
	sumSize        = 4
)

// Kinds of changes. They are in the log: never renumber.
const (
	kindBeat    byte = 1
	kindLeave   byte = 2
	kindYield   byte = 3
	kindCreate  byte = 4
	kindUpdate  byte = 5
	kindDelete  byte = 6
	kindEnqueue byte = 7
	kindPut     byte = 8
	kindKill    byte = 9
	kindPrune   byte = 10
)

// message is one of the log, taken apart.
type message struct {
	instance    uuid.UUID
	number      uint64
	part, parts uint64
	content     []byte // shares memory with what it was decoded from
}

func encodeMessage(m *message) []byte {
	b := make([]byte, 0, 64+len(m.content))
	b = append(b, messageVersion)
	b = append(b, m.instance[:]...)
	b = binary.AppendUvarint(b, m.number)
	b = binary.AppendUvarint(b, m.part)
	b = binary.AppendUvarint(b, m.parts)
	b = append(b, m.content...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeMessage(b []byte) (message, error) {
	end := len(b) - sumSize
	if end < 1 {
		return message{}, fmt.Errorf("%w: a message of %d bytes", errCorrupt, len(b))
	}
	if b[0] != messageVersion {
		return message{}, fmt.Errorf("a message of version %d is in the log; this instance knows %d: is another newer?", b[0], messageVersion)
	}
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return message{}, fmt.Errorf("%w: wrong checksum of a message", errCorrupt)
	}
	r := newReader(b[1:end])
	m := message{instance: r.uuid(), number: r.Uvarint(), part: r.Uvarint(), parts: r.Uvarint(), content: r.B}
	if r.Bad || m.part >= m.parts {
		return message{}, fmt.Errorf("%w: fields of a message do not fit", errCorrupt)
	}
	return m, nil
}

func appendChange(b []byte, kind byte, body []byte) []byte {
	return codec.Append(append(b, kind), body)
}

// place is where a record is: the sequence of the message, the last one of its proposal, and where in the content its
// length stands. It changes with every change of the record, so it is the record's version, too.
type place struct {
	seq uint64
	at  uint32
}

func (p place) append(b []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, p.seq), uint64(p.at))
}

func (r *reader) place() place { return place{r.Uvarint(), uint32(r.Uvarint())} } //nolint:gosec // recordAt checks it

// recordAt is the record at an offset of a content.
func recordAt(content []byte, at uint32) ([]byte, error) {
	if uint64(at) >= uint64(len(content)) {
		return nil, fmt.Errorf("%w: its place is behind the end of its message", errCorrupt)
	}
	r := newReader(content[at:])
	record := r.Bytes()
	if r.Bad {
		return nil, fmt.Errorf("%w: it does not fit into its message", errCorrupt)
	}
	return record, nil
}
