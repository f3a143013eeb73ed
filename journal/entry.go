package journal

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math/rand/v2"
	"time"
	"unicode/utf8"
)

// Entry is one matched request that was being forwarded.
type Entry struct {
	// ID is 32 hexadecimal digits, unique. Begin makes it; what is given is not looked at.
	ID string
	// Time is when the request was forwarded, to the nanosecond. The zero time stands for the time of Begin.
	Time time.Time
	// Method and Item are cut to 16 and 44 bytes, Path to 280 and Project to 128, between characters.
	Method, Path, Project, Item string
}

const (
	maxMethod  = 16
	maxPath    = 280
	maxProject = 128
	maxItem    = 44 // the names of the three events that a PUT may make
)

// A slot is a marker (u32), a CRC-32C (u32) over all the rest, the id (16 bytes), the time in Unix nanoseconds
// (i64), then method, path, project and item, each with its length (u16) in front, and zeros; little endian. A
// free slot has another marker, whatever the rest.
const (
	slotSize = 512
	slotLive = 0x4556494c // "LIVE"
	idSize   = 16
	slotText = 8 + idSize + 8 // where the texts start
)

// identifier makes the id of an entry. It has to be unique, not secret: one that takes no system call will do.
func identifier() (id [idSize]byte) {
	binary.LittleEndian.PutUint64(id[:], rand.Uint64())  //nolint:gosec // unique, not secret
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // likewise
	return id
}

// encode fills a slot. All texts together fit, each being cut to its limit.
func (e *Entry) encode(b *[slotSize]byte, id [idSize]byte) {
	*b = [slotSize]byte{}
	binary.LittleEndian.PutUint32(b[:], slotLive)
	copy(b[8:], id[:])
	binary.LittleEndian.PutUint64(b[8+idSize:], uint64(e.Time.UnixNano()))
	at := putText(b[:], slotText, e.Method, maxMethod)
	at = putText(b[:], at, e.Path, maxPath)
	at = putText(b[:], at, e.Project, maxProject)
	putText(b[:], at, e.Item, maxItem)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
}

func putText(b []byte, at int, s string, limit int) int {
	s = cut(s, limit)
	binary.LittleEndian.PutUint16(b[at:], uint16(len(s))) //nolint:gosec // cut to limit
	return at + 2 + copy(b[at+2:], s)
}

// cut shortens s to a number of bytes, and by up to three more where that would split a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for n := limit; n > limit-utf8.UTFMax; n-- {
		if utf8.RuneStart(s[n]) {
			return s[:n]
		}
	}
	return s[:limit] // no UTF-8
}

// decodeEntry returns the entry in a slot, or false when there is none or not a whole one.
func decodeEntry(b []byte) (Entry, bool) {
	if len(b) != slotSize || binary.LittleEndian.Uint32(b) != slotLive ||
		binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return Entry{}, false
	}
	e := Entry{
		ID:   hex.EncodeToString(b[8 : 8+idSize]),
		Time: time.Unix(0, int64(binary.LittleEndian.Uint64(b[8+idSize:]))).UTC(), //nolint:gosec // undoes encode
	}
	rest := b[slotText:]
	for _, text := range []*string{&e.Method, &e.Path, &e.Project, &e.Item} {
		if len(rest) < 2 {
			return Entry{}, false
		}
		n := int(binary.LittleEndian.Uint16(rest))
		if n > len(rest)-2 {
			return Entry{}, false
		}
		*text, rest = string(rest[2:2+n]), rest[2+n:]
	}
	return e, true
}
