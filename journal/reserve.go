package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	reserveMagic = "BENTIRSV"
	// minReserve is the smallest reserve that is worth its headers.
	minReserve = 64 << 10
	// recordsStart is behind the two copies of the header.
	recordsStart = 2 * blockSize
)

// Reserve is an emergency journal in one preallocated file. Records are appended durably and later drained in
// the same order; when the last one has been, the file is empty again.
//
// The file begins with two copies of its header, a block each. Resetting writes a new generation to one
// and then to the other, so that at every moment one of them is whole; records of any other generation than the
// higher one do not count. All methods are safe for concurrent use.
type Reserve struct {
	path string
	want int64 // wished file size
	file *os.File
	// readAt, writeAt and sync are the file's own, but for tests.
	readAt  func(p []byte, at int64) (int, error)
	writeAt func(p []byte, at int64) (int, error)
	sync    func() error

	corrupt  atomic.Int64
	draining sync.Mutex // held by the one Drain

	// lead has a token in it while somebody may write to the file, who then owns the following fields.
	lead       chan struct{}
	generation uint64
	tail       int64 // where the next record goes
	headerDue  bool  // the headers on disk may not show generation
	leftovers  bool  // records of failed appends may stand at the tail
	buf        []byte

	mu      sync.Mutex
	closed  bool
	size    int64 // of the file
	queue   []*appending
	records []span // not yet drained, oldest first
}

// appending is one call of Append. Whoever commits it sets err, then closes done.
type appending struct {
	record []byte
	err    error
	done   chan struct{}
}

// OpenReserve opens the reserve at path, or makes and preallocates it with size bytes, headers included, and mode
// 0600. The least is 64 KiB. A file of another size gets the wished one now or, where the disk has no room for
// growing or records stand in the way of shrinking, when it has been drained (see [Reserve.Size]).
//
// Damage never keeps the reserve from opening. Damaged records are skipped, counted and copied to
// path.corrupt, which does not grow beyond the reserve's size; what follows them is kept. A file whose header is
// damaged in both copies is moved to path.corrupt-<unix time>, counts as one, and a fresh one is made. An
// error is returned for a file that another process has open, for one of a newer format version, which is left
// alone, and when a fresh one cannot be made, as on a full disk.
func OpenReserve(path string, size int64) (*Reserve, error) {
	if size < minReserve {
		return nil, fmt.Errorf("opening reserve: size %d is less than %d", size, minReserve)
	}
	r, err := openReserve(path, size)
	if err != nil {
		return nil, fmt.Errorf("opening reserve: %w", err)
	}
	return r, nil
}

func openReserve(path string, size int64) (*Reserve, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	r := &Reserve{path: path, want: size, lead: make(chan struct{}, 1)}
	r.use(f)
	found, err := r.readHeaders()
	if err == nil && !found {
		err = r.makeAnew()
	}
	if err == nil && found {
		err = r.recover()
	}
	if err != nil {
		return nil, errors.Join(err, closeFile(r.file))
	}
	return r, nil
}

func (r *Reserve) use(f *os.File) {
	r.file, r.readAt, r.writeAt = f, f.ReadAt, f.WriteAt
	r.sync = func() error { return syncData(f) }
}

// readHeaders finds the generation that counts; false when no copy of the header is whole.
func (r *Reserve) readHeaders() (bool, error) {
	a, okA, errA := readHeader(r.file, reserveMagic, 0)
	b, okB, errB := readHeader(r.file, reserveMagic, 1)
	if err := errors.Join(errA, errB); err != nil {
		return false, err
	}
	// A copy that is damaged has generation 0. Records are only written once both copies agree, so the
	// survivor of two is never the older one while there are records of the newer.
	r.generation = max(a.generation, b.generation)
	r.headerDue = a != b
	return okA || okB, nil
}

// makeAnew starts an empty reserve, after moving a file aside that has something in it.
func (r *Reserve) makeAnew() error {
	empty, err := blank(r.file)
	if err != nil {
		return err
	}
	if !empty {
		if err := r.moveAside(); err != nil {
			return fmt.Errorf("moving damaged file aside: %w", err)
		}
	}
	if r.generation, err = randomGeneration(); err != nil {
		return err
	}
	if err := reach(r.file, r.want); err != nil {
		return err
	}
	r.tail = recordsStart
	if err := r.writeHeaders(); err != nil {
		return err
	}
	if err := r.measure(); err != nil {
		return err
	}
	return syncDirectory(r.path)
}

func (r *Reserve) moveAside() error {
	aside := fmt.Sprintf("%s.corrupt-%d", r.path, time.Now().Unix())
	for n := 1; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s.corrupt-%d-%d", r.path, time.Now().Unix(), n)
	}
	if err := os.Rename(r.path, aside); err != nil {
		return err
	}
	r.corrupt.Add(1)
	// The lock on the old file is kept until the new one is held.
	f, err := openFile(r.path)
	if err != nil {
		return err
	}
	old := r.file
	r.use(f)
	return closeFile(old)
}

// randomGeneration is where the generations of a new file start: not to be guessed, and with enough room above.
func randomGeneration() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:])>>1 | 1, nil
}

// recover finds the records of an existing file and where the log goes on.
func (r *Reserve) recover() error {
	if err := r.measure(); err != nil {
		return err
	}
	if odd := r.size % 8; odd != 0 {
		// Cut off from outside, maybe within the padding of the last record. resize would make that whole again, but only
		// after it was looked for.
		if err := r.file.Truncate(r.size + 8 - odd); err != nil {
			return err
		}
		if err := r.measure(); err != nil {
			return err
		}
	}
	records, damaged, tail := scan(r.file, r.generation, recordsStart, r.room())
	r.records, r.tail = records, tail
	for _, s := range damaged {
		r.setAside(s)
	}
	r.resize()
	return r.measure()
}

// resize brings the file to its wished size if it can. What it cannot, it tries again after the next drain.
func (r *Reserve) resize() {
	if r.size > r.want && r.tail == recordsStart {
		_ = r.file.Truncate(r.want)
		return
	}
	_ = reach(r.file, r.want)
}

func (r *Reserve) measure() error {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.size = info.Size()
	return nil
}

// room is where records must end.
func (r *Reserve) room() int64 { return r.Size() &^ 7 }

// setAside counts a damaged stretch and copies it to path.corrupt, as far as that is possible: nothing that goes
// wrong here may keep the rest from being read.
func (r *Reserve) setAside(s span) {
	r.corrupt.Add(1)
	f, err := os.OpenFile(r.path+".corrupt", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600) //nolint:gosec // from the configuration
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // a copy for a human, see above
	info, err := f.Stat()
	// The same damage is found at every open until the reserve has been drained.
	if err != nil || info.Size()+s.size > r.Size() {
		return
	}
	buf := make([]byte, min(s.size, windowSize))
	for at := s.at; at < s.end(); at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), s.end()-at)]
		readTolerant(r.file, buf, at)
		if _, err := f.Write(buf); err != nil {
			return
		}
	}
}

// Len is the number of records not yet drained.
func (r *Reserve) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.records)
}

// Size is the size of the file in bytes. It differs from the wished one while the file cannot be resized.
func (r *Reserve) Size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size
}

// Corrupt is the number of damaged places found, at open and while draining. Several damaged records side by
// side are one place. An append that was never acknowledged can leave such a place, if the disk or the machine
// failed just then.
func (r *Reserve) Corrupt() int { return int(r.corrupt.Load()) }

// Close waits for appends in flight and gives the file back. A Drain that is under way returns ErrClosed after
// the batch it is at. Records not yet drained are there again at the next open. Further calls do nothing.
func (r *Reserve) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.lead <- struct{}{}
	defer func() { <-r.lead }()
	r.commit()
	if err := closeFile(r.file); err != nil {
		return fmt.Errorf("closing reserve: %w", err)
	}
	return nil
}
