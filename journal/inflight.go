package journal

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	notesMagic  = "BENTIFLT"
	doubtsMagic = "BENTIDBT"
)

// InFlight notes each matched request while it is being forwarded, in a slot of a preallocated file, so that after
// a crash those without an outcome can be listed. Notes survive a kill of the process; they are not flushed, and a
// loss of power may take the latest.
//
// What a crash left over is in doubt: kept in a second file, path.in-doubt, until somebody acknowledges it. All
// methods are safe for concurrent use.
type InFlight struct {
	notes  *slotFile
	doubts *doubts
	missed atomic.Uint64

	// claims has, for each slot, the number of the Begin that holds it, or 0.
	claims []atomic.Uint32

	mu      sync.Mutex
	free    []int32 // free slots; those used last are taken first, to keep few pages busy
	claim   uint32  // the number of the latest Begin
	unclean bool    // a slot could not be cleared
	closed  bool
	buffers sync.Pool // of *[slotSize]byte
}

// Token names one noted request. The zero Token, which Begin returns when it could note nothing, does nothing.
type Token struct {
	slot  int32
	claim uint32
}

// OpenInFlight opens or makes the file at path, mode 0600, with slots slots of 512 bytes, and returns the entries
// that a crash left over, oldest first, none twice. They have been added to those in doubt durably. Torn entries
// are skipped. A file never shrinks.
//
// An error is returned for a file that another process has open, for one of a newer format version, which is left
// alone, and when the disk has no room for a file that is to be made or grown, or does not work.
func OpenInFlight(path string, slots int) (*InFlight, []Entry, error) {
	if slots < 1 {
		return nil, nil, fmt.Errorf("opening in-flight notes: %d slots", slots)
	}
	f, left, err := openInFlight(path, slots)
	if err != nil {
		return nil, nil, fmt.Errorf("opening in-flight notes: %w", err)
	}
	return f, left, nil
}

func openInFlight(path string, slots int) (*InFlight, []Entry, error) {
	notes, left, err := openSlots(path, notesMagic, slots)
	if err != nil {
		return nil, nil, err
	}
	d, err := openDoubts(path + ".in-doubt")
	if err != nil {
		return nil, nil, errors.Join(err, notes.close())
	}
	f := &InFlight{notes: notes, doubts: d, claims: make([]atomic.Uint32, slots), free: make([]int32, slots)}
	f.buffers.New = func() any { return new([slotSize]byte) }
	for i := range f.free {
		f.free[i] = int32(slots - 1 - i) //nolint:gosec // slots is a few thousand
	}
	entries, err := d.add(left)
	if err == nil {
		err = f.forget(left)
	}
	if err != nil {
		return nil, nil, errors.Join(err, d.file.close(), notes.close())
	}
	return f, entries, nil
}

// forget clears the slots of what has been moved to the doubts. Durably: an entry that came back after somebody
// had acknowledged it would be in doubt again.
func (f *InFlight) forget(left []found) error {
	if len(left) == 0 {
		return nil
	}
	for _, e := range left {
		if err := f.notes.clear(e.slot); err != nil {
			return err
		}
	}
	return f.notes.sync()
}

// Begin notes a request and returns what End needs. It takes one write to the page cache. When all slots are
// taken, the write fails or f has been closed, the request goes unnoted and is counted as missed.
func (f *InFlight) Begin(e Entry) Token {
	t := f.take()
	if t == (Token{}) {
		f.missed.Add(1)
		return t
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	b := f.buffers.Get().(*[slotSize]byte)
	e.encode(b, identifier())
	err := f.notes.write(int(t.slot), b)
	f.buffers.Put(b)
	if err != nil {
		f.missed.Add(1)
		f.End(t)
		return Token{}
	}
	return t
}

func (f *InFlight) take() Token {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.free) == 0 || f.closed {
		return Token{}
	}
	slot := f.free[len(f.free)-1]
	f.free = f.free[:len(f.free)-1]
	if f.claim++; f.claim == 0 {
		f.claim = 1
	}
	f.claims[slot].Store(f.claim)
	return Token{slot, f.claim}
}

// End says that the outcome of a request is known, and gives its slot back. A second End of a Token, and one
// after Close, do nothing.
func (f *InFlight) End(t Token) {
	if t == (Token{}) || !f.claims[t.slot].CompareAndSwap(t.claim, 0) {
		return
	}
	err := f.notes.clear(int(t.slot))
	f.mu.Lock()
	defer f.mu.Unlock()
	// A slot that could not be cleared is as good as any: the next note goes over it.
	f.unclean = f.unclean || err != nil
	f.free = append(f.free, t.slot)
}

// Missed is the number of requests that Begin could not note since the open.
func (f *InFlight) Missed() uint64 { return f.missed.Load() }

// Close closes both files. Requests still in flight stay noted and are in doubt after the next open; without
// any there is nothing left over. Further calls do nothing.
func (f *InFlight) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	var err error
	if f.unclean {
		for _, slot := range f.free {
			err = errors.Join(err, f.notes.clear(int(slot)))
		}
	}
	if err = errors.Join(err, f.notes.sync(), f.notes.close(), f.doubts.close()); err != nil {
		return fmt.Errorf("closing in-flight notes: %w", err)
	}
	return nil
}
