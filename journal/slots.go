package journal

import (
	"encoding/hex"
	"errors"
	"os"
)

// slotFile is a header block and fixed slots behind it. It has all its room from the start.
type slotFile struct{ file *os.File }

// found is an entry and the slot it is in.
type found struct {
	Entry
	slot int
}

// openSlots opens or makes a file with room for at least n slots, and returns the entries in it. A damaged header
// is written anew: every slot vouches for itself.
func openSlots(path, magic string, n int) (*slotFile, []found, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, nil, err
	}
	s := &slotFile{f}
	entries, err := s.prepare(magic, n)
	if err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	return s, entries, nil
}

func (s *slotFile) prepare(magic string, n int) ([]found, error) {
	_, ok, err := readHeader(s.file, magic, 0)
	if err != nil {
		return nil, err
	}
	if err := reach(s.file, slotAt(n)); err != nil {
		return nil, err
	}
	if !ok {
		if _, err := s.file.WriteAt(header{version: version}.encode(magic), 0); err != nil {
			return nil, err
		}
		if err := errors.Join(s.sync(), syncDirectory(s.file.Name())); err != nil {
			return nil, err
		}
	}
	return s.entries()
}

func (s *slotFile) entries() ([]found, error) {
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	var entries []found
	w := window{r: s.file, end: info.Size()}
	for slot := 0; ; slot++ {
		b := w.bytes(slotAt(slot), slotSize)
		if len(b) < slotSize {
			return entries, nil
		}
		if e, ok := decodeEntry(b); ok {
			entries = append(entries, found{e, slot})
		}
	}
}

func slotAt(slot int) int64 { return blockSize + int64(slot)*slotSize }

func (s *slotFile) write(slot int, b *[slotSize]byte) error {
	_, err := s.file.WriteAt(b[:], slotAt(slot))
	return err
}

// put writes an entry that has its id already.
func (s *slotFile) put(slot int, e *Entry) error {
	var id [idSize]byte
	if _, err := hex.Decode(id[:], []byte(e.ID)); err != nil {
		return err
	}
	var b [slotSize]byte
	e.encode(&b, id)
	return s.write(slot, &b)
}

var noMarker = make([]byte, 4)

func (s *slotFile) clear(slot int) error {
	_, err := s.file.WriteAt(noMarker, slotAt(slot))
	return err
}

func (s *slotFile) sync() error { return syncData(s.file) }

func (s *slotFile) close() error { return closeFile(s.file) }
