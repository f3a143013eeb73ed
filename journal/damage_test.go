package journal

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// image makes a reserve with some records, and returns its bytes and where the records end.
func image(tb testing.TB, records ...string) (content []byte, ends []int64) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "image")
	r := open(tb, path)
	// An older generation behind the log, as after every reset.
	fill(tb, r, numbered(40)...)
	drain(tb, r)
	fill(tb, r, records...)
	for _, s := range r.records {
		ends = append(ends, s.end())
	}
	shut(tb, r)
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return content, ends
}

func openImage(tb testing.TB, path string, content []byte) *Reserve {
	tb.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
	return open(tb, path)
}

// Only the bytes that mean anything are damaged: those of both headers and of the log, and some behind it.
func places(ends []int64) []int64 {
	var at []int64
	for i := range int64(headerSize) {
		at = append(at, i, blockSize+i)
	}
	for i := int64(recordsStart); i < ends[len(ends)-1]+64; i++ {
		at = append(at, i)
	}
	return at
}

func TestAnyFlippedBitCostsAtMostItsRecord(t *testing.T) {
	t.Parallel()
	records := []string{"first", "", "a somewhat longer third record", "fourth", "the last"}
	content, ends := image(t, records...)
	path := filepath.Join(t.TempDir(), "reserve")
	for _, at := range places(ends) {
		for bit := range 8 {
			broken := slices.Clone(content)
			broken[at] ^= 1 << bit
			r := openImage(t, path, broken)
			got := texts(contents(t, r))
			hit := slices.IndexFunc(ends, func(end int64) bool { return at < end })
			expected, corrupt := slices.Clone(records), 0
			if at >= recordsStart && hit >= 0 && !slices.Equal(got, records) {
				expected = slices.Delete(expected, hit, hit+1)
				if hit < len(records)-1 { // the last is taken for half-written
					corrupt = 1
				}
			}
			if !slices.Equal(got, expected) || r.Corrupt() != corrupt {
				t.Fatalf("byte %d bit %d: got %q and %d damaged", at, bit, got, r.Corrupt())
			}
			shut(t, r)
			os.Remove(path + ".corrupt")
		}
	}
}

func TestAnyTruncationKeepsTheRecordsBeforeIt(t *testing.T) {
	t.Parallel()
	records := numbered(12)
	content, ends := image(t, records...)
	dir := t.TempDir()
	path := filepath.Join(dir, "reserve")
	for size := int64(headerSize); size < ends[len(ends)-1]+64; size++ {
		if size > 200 && size < recordsStart-200 {
			continue
		}
		r := openImage(t, path, content[:size])
		whole := 0
		for whole < len(ends) && ends[whole] <= size {
			whole++
		}
		// The padding of a record is zero, and so is what the file grows by.
		got := texts(contents(t, r))
		if len(got) != whole && len(got) != whole+1 || !slices.Equal(got, records[:len(got)]) || r.Corrupt() != 0 {
			t.Fatalf("%d bytes: got %q and %d damaged, want %d records", size, got, r.Corrupt(), whole)
		}
		fill(t, r, "and on")
		want(t, drain(t, r), append(got, "and on")...)
		shut(t, r)
	}
}

func TestDamagedRecordIsCopiedAside(t *testing.T) {
	t.Parallel()
	content, ends := image(t, numbered(5)...)
	path := filepath.Join(t.TempDir(), "reserve")
	stretch := content[ends[0]:ends[2]]
	stretch[recordHeader] ^= 1
	stretch[len(stretch)-9] ^= 1
	r := openImage(t, path, content)
	got := drain(t, r)
	records := numbered(5)
	want(t, got, records[0], records[3], records[4])
	aside, err := os.ReadFile(path + ".corrupt")
	if err != nil || !bytes.Equal(aside, stretch) || r.Corrupt() != 1 {
		t.Errorf("copied aside %q, %v, %d places", aside, err, r.Corrupt())
	}
	if info, _ := os.Stat(path + ".corrupt"); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestCopiesAsideAreBounded(t *testing.T) {
	t.Parallel()
	content, ends := image(t, strings.Repeat("x", 20_000), "end")
	content[ends[0]-100] ^= 1
	path := filepath.Join(t.TempDir(), "reserve")
	for range 5 {
		shut(t, openImage(t, path, content))
	}
	if info, _ := os.Stat(path + ".corrupt"); info.Size() > minReserve {
		t.Errorf("%d bytes aside", info.Size())
	}
}

func TestFileWithoutAnyHeaderIsMovedAside(t *testing.T) {
	t.Parallel()
	content, _ := image(t, numbered(5)...)
	content[3] ^= 1
	content[blockSize+20] ^= 1
	for name, content := range map[string][]byte{"both headers damaged": content, "another file": []byte("hello")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "reserve")
			for n := 1; n <= 3; n++ { // thrice within a second
				r := openImage(t, path, content)
				fill(t, r, "fresh")
				want(t, drain(t, r), "fresh")
				if r.Corrupt() != 1 {
					t.Errorf("Corrupt is %d", r.Corrupt())
				}
				shut(t, r)
				aside, _ := filepath.Glob(path + ".corrupt-*")
				if len(aside) != n {
					t.Fatalf("aside are %v", aside)
				}
				for _, a := range aside {
					if kept, _ := os.ReadFile(a); !bytes.Equal(kept, content) {
						t.Errorf("%s has not the damaged file's content", a)
					}
				}
			}
		})
	}
}

func TestMakingThatWasCutShortIsDoneAgain(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 5000, minReserve} {
		path := filepath.Join(t.TempDir(), "reserve")
		r := openImage(t, path, make([]byte, size))
		fill(t, r, "fresh")
		want(t, drain(t, r), "fresh")
		if r.Corrupt() != 0 || r.Size() != minReserve {
			t.Errorf("%d zeros: Corrupt %d, Size %d", size, r.Corrupt(), r.Size())
		}
	}
}

// What a client can put into a payload must not become a record when the one around it is damaged.
func TestRecordWithinADamagedPayloadIsNotBelieved(t *testing.T) {
	t.Parallel()
	forged := appendRecord(nil, 1, []byte("forged"))
	content, ends := image(t, "first", string(forged)+string(header{version, 1}.encode(reserveMagic)), "last")
	content[ends[1]-1] ^= 1
	content[ends[0]] ^= 4 // the length
	r := openImage(t, filepath.Join(t.TempDir(), "reserve"), content)
	want(t, drain(t, r), "first", "last")
}

func TestDamageThatComesLaterIsSkippedByDrain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reserve")
	r := open(t, path)
	fill(t, r, "one", "two", "three")
	if _, err := r.file.WriteAt([]byte{'T'}, r.records[1].at+recordHeader); err != nil {
		t.Fatal(err)
	}
	want(t, drain(t, r), "one", "three")
	if r.Corrupt() != 1 || r.Len() != 0 {
		t.Errorf("Corrupt %d, Len %d", r.Corrupt(), r.Len())
	}
}

// unreadable fails like a disk with a bad block.
type unreadable struct {
	io.ReaderAt
	block int64
}

func (u unreadable) ReadAt(p []byte, at int64) (int, error) {
	if at < (u.block+1)*blockSize && at+int64(len(p)) > u.block*blockSize {
		return 0, syscall.EIO
	}
	return u.ReaderAt.ReadAt(p, at)
}

func TestScanGoesRoundABlockThatCannotBeRead(t *testing.T) {
	t.Parallel()
	records := numbered(800)
	content, _ := image(t, records...)
	h, _ := decodeHeader(reserveMagic, content)
	all, _, tail := scan(bytes.NewReader(content), h.generation, recordsStart, minReserve)
	const bad = 4
	got, damaged, end := scan(unreadable{bytes.NewReader(content), bad}, h.generation, recordsStart, minReserve)
	expected := slices.DeleteFunc(all, func(s span) bool { return s.at < (bad+1)*blockSize && s.end() > bad*blockSize })
	if !slices.Equal(got, expected) || len(damaged) != 1 || end != tail || len(got) == len(records) {
		t.Errorf("%d of %d records, damaged %v, end %d of %d", len(got), len(records), damaged, end, tail)
	}
}

func TestRecordThatCannotBeReadStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reserve")
	r := open(t, path)
	fill(t, r, "one", "two", "three")
	r.readAt = func(p []byte, at int64) (int, error) {
		if at == r.records[0].end() || r.Len() == 1 {
			return 0, syscall.EIO
		}
		return r.file.ReadAt(p, at)
	}
	var got []string
	take := func(records [][]byte) error {
		got = append(got, texts(records)...)
		return nil
	}
	for range 2 {
		if err := r.Drain(take); !errors.Is(err, syscall.EIO) {
			t.Errorf("drain: %v", err)
		}
		want(t, got, "one", "three")
	}
	r.readAt = r.file.ReadAt
	if err := r.Drain(take); err != nil {
		t.Fatal(err)
	}
	want(t, got, "one", "three", "two")
}

// A crash between the two writes of a reset leaves the copies of the header a generation apart.
func TestHeadersApartAreMadeOneBeforeTheNextRecord(t *testing.T) {
	t.Parallel()
	content, _ := image(t)
	h, _ := decodeHeader(reserveMagic, content)
	for newer := range int64(2) {
		path := filepath.Join(t.TempDir(), "reserve")
		older := (1 - newer) * blockSize
		copy(content[newer*blockSize:], h.encode(reserveMagic))
		copy(content[older:], header{version, h.generation - 1}.encode(reserveMagic))
		r := openImage(t, path, content)
		fill(t, r, "kept")
		shut(t, r)
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		after[newer*blockSize] ^= 1
		want(t, drain(t, openImage(t, path, after)), "kept")
	}
}
