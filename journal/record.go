package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
)

// A record is its payload's length (u32), a CRC-32C (u32) over generation, length and payload, the generation
// (u64), the payload, and zeros up to the next multiple of 8; little endian.
const recordHeader = 16

// recordSize is the room a payload of n bytes takes.
func recordSize(n int) int64 { return (recordHeader + int64(n) + 7) &^ 7 }

// fits reports whether a payload of n bytes can be a record within room.
func fits(n int, room int64) bool { return int64(n) <= math.MaxUint32 && recordSize(n) <= room }

func recordSum(generation uint64, payload []byte) uint32 {
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:], generation)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(payload))) //nolint:gosec // see fits
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, payload)
}

func appendRecord(b []byte, generation uint64, payload []byte) []byte {
	end := int64(len(b)) + recordSize(len(payload))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload))) //nolint:gosec // see fits
	b = binary.LittleEndian.AppendUint32(b, recordSum(generation, payload))
	b = binary.LittleEndian.AppendUint64(b, generation)
	b = append(b, payload...)
	return append(b, make([]byte, end-int64(len(b)))...)
}

// decodeRecord returns the payload of the record at the start of b, as a part of b, or false.
func decodeRecord(b []byte, generation uint64) ([]byte, bool) {
	if len(b) < recordHeader || binary.LittleEndian.Uint64(b[8:]) != generation {
		return nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	if int64(n) > int64(len(b)-recordHeader) {
		return nil, false
	}
	payload := b[recordHeader : recordHeader+int(n)]
	return payload, recordSum(generation, payload) == binary.LittleEndian.Uint32(b[4:])
}

// span is where something stands in the file.
type span struct{ at, size int64 }

func (s span) end() int64 { return s.at + s.size }

// scan finds the records of one generation between start and end. tail is where the last of them ends.
// damaged are the stretches between them that hold no record, though the log went over them. A record that
// was written but half at the end of the log is indistinguishable from what older generations left there.
//
// The generation starts from a random number that nobody outside knows, so no payload can be made up to be
// taken for a record when the one that holds it is damaged.
func scan(r io.ReaderAt, generation uint64, start, end int64) (records, damaged []span, tail int64) {
	w := window{r: r, end: end}
	tail = start
	for {
		at, ok := w.find(generation, tail)
		if !ok {
			return records, damaged, tail
		}
		if at.at > tail {
			damaged = append(damaged, span{tail, at.at - tail})
		}
		records = append(records, at)
		tail = at.end()
	}
}

// window reads a file front to back in large pieces.
type window struct {
	r   io.ReaderAt
	end int64
	buf []byte
	at  int64 // where buf stands in the file
}

const windowSize = 256 << 10

// bytes returns n bytes at offset at, or less where the file ends. They are valid until the next call.
func (w *window) bytes(at, n int64) []byte {
	n = min(n, w.end-at)
	if n <= 0 {
		return nil
	}
	if at < w.at || at+n > w.at+int64(len(w.buf)) {
		size := min(max(n, windowSize), w.end-at)
		if int64(cap(w.buf)) < size {
			w.buf = make([]byte, size)
		}
		w.buf, w.at = w.buf[:size], at
		readTolerant(w.r, w.buf, at)
	}
	return w.buf[at-w.at:][:n]
}

// record tells whether a whole record stands at an offset.
func (w *window) record(generation uint64, at int64) (span, bool) {
	h := w.bytes(at, recordHeader)
	if len(h) < recordHeader || binary.LittleEndian.Uint64(h[8:]) != generation {
		return span{}, false
	}
	n := int64(binary.LittleEndian.Uint32(h))
	if at+recordHeader+n > w.end {
		return span{}, false
	}
	size := (recordHeader + n + 7) &^ 7
	_, ok := decodeRecord(w.bytes(at, size), generation)
	return span{at, size}, ok
}

// rest returns what the window holds from an offset on, at least 8 bytes unless the file ends.
func (w *window) rest(at int64) []byte {
	if at < w.at || at+8 > w.at+int64(len(w.buf)) {
		return w.bytes(at, windowSize)
	}
	return w.buf[at-w.at:]
}

// find returns the first record at or behind an offset.
func (w *window) find(generation uint64, at int64) (span, bool) {
	for {
		if s, ok := w.record(generation, at); ok {
			return s, true
		}
		next, ok := w.generation(generation, at+8)
		if !ok {
			return span{}, false
		}
		at = next
	}
}

// generation returns the next offset, at or behind the given one, whose header would hold the generation.
func (w *window) generation(generation uint64, at int64) (int64, bool) {
	mark := binary.LittleEndian.AppendUint64(nil, generation)
	for {
		b := w.rest(at + 8)
		if len(b) < len(mark) {
			return 0, false
		}
		i := bytes.Index(b, mark)
		switch {
		case i >= 0 && i%8 == 0:
			return at + int64(i), true
		case i >= 0:
			at += int64(i+7) &^ 7
		default:
			at += int64(len(b)) &^ 7
		}
	}
}
