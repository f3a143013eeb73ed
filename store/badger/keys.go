package badger

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/bentihooks/bentihooks/store/codec"
)

// The key space. Every kind of key begins with one letter; numbers are big-endian so that byte order is
// their order.
//
//	f                            format version of the whole directory
//	c                            counters
//	w <webhook>                  a webhook
//	t <webhook>                  tombstone: a deleted webhook whose deliveries are still being erased
//	d <webhook> <delivery>       a delivery; its state is also in Badger's user meta byte of the key
//	q <webhook> <due> <delivery> index of the pending deliveries in due order, no value
//	i <stretch> <webhook>        mark: the webhook may have deliveries of a stretch of time; which items is in the user meta byte
//	x <stretch> <webhook>        mark: some of these may be dead
const (
	prefixFormat    = 'f'
	prefixCounters  = 'c'
	prefixWebhook   = 'w'
	prefixTombstone = 't'
	prefixDelivery  = 'd'
	prefixQueue     = 'q'
	prefixMark      = 'i'
	prefixDeadMark  = 'x'
)

var (
	formatKey   = []byte{prefixFormat}
	countersKey = []byte{prefixCounters}
)

// uuid is the binary form of an id.
type uuid [16]byte

// parseUUID reads the canonical form: 36 characters, lower case. Other spellings of a UUID are refused,
// because they would come back as another string than they went in.
func parseUUID(s string) (uuid, error) {
	var u uuid
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("id %.40q is not a UUID", s)
	}
	at := 0
	for i := 0; i < 36; i += 2 {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			i++ // a dash
		}
		hi, lo := nibble(s[i]), nibble(s[i+1])
		if hi|lo > 15 {
			return u, fmt.Errorf("id %.40q is not a UUID in lower case", s)
		}
		u[at] = hi<<4 | lo
		at++
	}
	return u, nil
}

// nibble returns the value of a lower-case hex digit, or 255.
func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

func (u uuid) String() string {
	var b [36]byte
	hex.Encode(b[:8], u[:4])
	b[8] = '-'
	hex.Encode(b[9:13], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:], u[10:])
	return string(b[:])
}

// time is the moment in a UUIDv7 (RFC 9562, section 5.7); false for other versions.
func (u uuid) time() (time.Time, bool) {
	if u[6]>>4 != 7 {
		return time.Time{}, false
	}
	var b [8]byte
	copy(b[2:], u[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:]))), true //nolint:gosec // 48 bits
}

// slot is a place in the due order of one webhook: when due, then which delivery.
type slot [24]byte

// endSlot is behind every slot in use: no UUID is all ones.
var endSlot = slot{
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
}

func newSlot(due time.Time, id uuid) slot {
	var s slot
	// Flipping the sign bit puts times before 1970 in front of those after it.
	binary.BigEndian.PutUint64(s[:8], uint64(codec.Nanos(due))^1<<63) //nolint:gosec // the same bits
	copy(s[8:], id[:])
	return s
}

func (s slot) id() uuid { return uuid(s[8:]) }

func (s slot) nanos() int64 { return int64(binary.BigEndian.Uint64(s[:8]) ^ 1<<63) } //nolint:gosec // the same bits

func (s slot) due() time.Time { return codec.Time(s.nanos()) }

func webhookKey(prefix byte, webhook uuid) []byte {
	return append([]byte{prefix}, webhook[:]...)
}

func deliveryKey(webhook, id uuid) []byte {
	k := make([]byte, 0, 33)
	k = append(k, prefixDelivery)
	k = append(k, webhook[:]...)
	return append(k, id[:]...)
}

func queueKey(webhook uuid, s slot) []byte {
	k := make([]byte, 0, 41)
	k = append(k, prefixQueue)
	k = append(k, webhook[:]...)
	return append(k, s[:]...)
}

// deliveryID and queueSlot take a key of their kind apart.
func deliveryID(key []byte) uuid { return uuid(key[17:33]) }
func queueSlot(key []byte) slot  { return slot(key[17:41]) }
