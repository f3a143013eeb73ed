package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

// FuzzScan takes any bytes for the records of a reserve. Whatever is found must stand there, whole and with
// its sum, in order and without overlap, and all that was passed over must be told.
func FuzzScan(f *testing.F) {
	const generation = 0x0102030405060708
	var log []byte
	for _, record := range numbered(5) {
		log = appendRecord(log, generation, []byte(record))
	}
	f.Add(log)
	f.Add(append(bytes.Clone(log[:40]), log...))
	f.Add(append(bytes.Clone(log), appendRecord(nil, generation-1, []byte("old"))...))
	f.Add(append(bytes.Repeat([]byte{8, 7, 6, 5, 4, 3, 2, 1}, 9), log...))
	f.Fuzz(func(t *testing.T, b []byte) {
		end := int64(len(b)) &^ 7
		records, damaged, tail := scan(bytes.NewReader(b), generation, 0, end)
		var at int64
		for _, s := range records {
			if len(damaged) > 0 && damaged[0].at == at {
				at, damaged = damaged[0].end(), damaged[1:]
			}
			if s.at != at {
				t.Fatalf("record at %d, want %d", s.at, at)
			}
			at = s.end()
			payload, ok := decodeRecord(b[s.at:at], generation)
			if !ok {
				t.Fatalf("no record at %d", s.at)
			}
			made := appendRecord(nil, generation, payload)
			if int64(len(made)) != s.size || !bytes.Equal(made[:recordHeader+len(payload)], b[s.at:][:recordHeader+len(payload)]) {
				t.Fatalf("record at %d is not what would be written", s.at)
			}
		}
		if tail != at || len(damaged) > 0 {
			t.Fatalf("tail %d, want %d; %v left", tail, at, damaged)
		}
		// Nothing whole is passed over at the end.
		for ; at < end; at += 8 {
			if _, ok := decodeRecord(b[at:end], generation); ok && at+recordHeader <= end {
				t.Fatalf("missed the record at %d", at)
			}
		}
	})
}

// FuzzOpenReserve takes any bytes for a reserve: unless it is one of a newer version, it opens and works.
func FuzzOpenReserve(f *testing.F) {
	content, ends := image(f, numbered(3)...)
	f.Add(content[:ends[2]])
	cut := bytes.Clone(content[:ends[2]-6]) // of the last record all but its padding, of the others nothing
	clear(cut[recordsStart:ends[1]])
	f.Add(cut)
	f.Add(header{version + 1, 1}.encode(reserveMagic))
	f.Add(append(header{version, 1}.encode(reserveMagic), header{version, 2}.encode(reserveMagic)...))
	f.Add([]byte{})
	f.Add([]byte("hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "reserve")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenReserve(path, minReserve)
		if err != nil {
			for block := range 2 {
				h, ok := decodeHeader(reserveMagic, b[min(len(b), block*blockSize):])
				if ok && h.version > version {
					return
				}
			}
			t.Fatal(err)
		}
		defer r.Close()
		drain(t, r)
		fill(t, r, "one")
		shut(t, r)
		r = open(t, path)
		want(t, drain(t, r), "one")
	})
}

// FuzzEntry takes any bytes for a slot. What is taken for an entry is written the same way again.
func FuzzEntry(f *testing.F) {
	var b [slotSize]byte
	e := at(1, "/a")
	e.encode(&b, identifier())
	f.Add(b[:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// The sum would keep the fuzzer out.
		if len(b) == slotSize {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b, slotLive)
			binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
		}
		e, ok := decodeEntry(b)
		if !ok {
			return
		}
		file, err := os.Create(filepath.Join(t.TempDir(), "slots"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		s := &slotFile{file}
		if err := s.put(0, &e); err != nil {
			t.Fatal(err)
		}
		again, err := s.entries()
		if err != nil || len(again) != 1 || again[0].ID != e.ID || !again[0].Time.Equal(e.Time) {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
		if len(e.Path) <= maxPath && again[0].Path != e.Path {
			t.Fatalf("path %q became %q", e.Path, again[0].Path)
		}
	})
}

// FuzzOpenInFlight takes any bytes for the notes of requests in flight and for those in doubt: unless one is of a newer
// version, they open, work, and open again.
func FuzzOpenInFlight(f *testing.F) {
	f.Add([]byte{}, []byte("hello"))
	f.Add(header{version + 1, 1}.encode(notesMagic), header{version, 1}.encode(doubtsMagic))
	var slot [slotSize]byte
	e := at(1, "/a")
	e.encode(&slot, identifier())
	f.Add(append(header{version, 1}.encode(notesMagic), slot[:]...), append(header{version, 9}.encode(doubtsMagic), slot[:]...))
	f.Fuzz(func(t *testing.T, notes, doubts []byte) {
		path := filepath.Join(t.TempDir(), "in-flight")
		for name, b := range map[string][]byte{path: notes, path + ".in-doubt": doubts} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		inFlight, _, err := OpenInFlight(path, 4)
		if err != nil {
			for magic, b := range map[string][]byte{notesMagic: notes, doubtsMagic: doubts} {
				if h, ok := decodeHeader(magic, b); ok && h.version > version {
					return
				}
			}
			t.Fatal(err)
		}
		inFlight.Begin(at(1, "/left"))
		before := len(inFlight.InDoubt())
		for _, e := range inFlight.InDoubt()[:min(before, 3)] {
			if ok, err := inFlight.Acknowledge(e.ID); err != nil || !ok {
				t.Fatalf("%+v: %v, %v", e, ok, err)
			}
		}
		if err := inFlight.Close(); err != nil {
			t.Fatal(err)
		}
		inFlight, _, err = OpenInFlight(path, 4)
		if err != nil {
			t.Fatal(err)
		}
		defer inFlight.Close()
		if now := len(inFlight.InDoubt()); now != before-min(before, 3)+1 && now < maxDoubts {
			t.Fatalf("%d in doubt, then %d", before, now)
		}
	})
}
