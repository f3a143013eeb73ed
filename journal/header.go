package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
)

// blockSize is the unit in which headers are kept apart from everything else, so that no write to the rest of
// the file can tear one.
const blockSize = 4096

// version is the layout of all files here. A header keeps its own layout in every version: magic [0:8], version
// [8:12], zero [12:16], generation [16:24], CRC-32C of all these [24:28], little endian.
const version = 1

const headerSize = 28

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header says what a file is, and which records in it count.
type header struct {
	version    uint32
	generation uint64
}

// encode fills one block.
func (h header) encode(magic string) []byte {
	b := make([]byte, blockSize)
	copy(b, magic[:8])
	binary.LittleEndian.PutUint32(b[8:], h.version)
	binary.LittleEndian.PutUint64(b[16:], h.generation)
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli))
	return b
}

// decodeHeader reports false for anything but a whole header of that magic.
func decodeHeader(magic string, b []byte) (header, bool) {
	if len(b) < headerSize || string(b[:8]) != magic ||
		crc32.Checksum(b[:24], castagnoli) != binary.LittleEndian.Uint32(b[24:]) {
		return header{}, false
	}
	return header{binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint64(b[16:])}, true
}

// readHeader reads the header in a block. One of a newer version is an error: what is behind it cannot be
// understood, and must not be overwritten.
func readHeader(f *os.File, magic string, block int64) (header, bool, error) {
	b := make([]byte, headerSize)
	readTolerant(f, b, block*blockSize)
	h, ok := decodeHeader(magic, b)
	if ok && h.version > version {
		return header{}, false, fmt.Errorf("%s has format version %d, this program knows up to %d", f.Name(), h.version, version)
	}
	return h, ok, nil
}
