package journal

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
)

// maxDoubts is how many entries can be in doubt. The oldest are kept.
const maxDoubts = 10_000

// doubts are the entries that crashes left over and nobody has acknowledged. Their file has room for all there can
// be from the start (5 MiB), so that neither a crash on a full disk nor an acknowledgement needs more.
type doubts struct {
	file *slotFile

	mu      sync.Mutex
	closed  bool
	list    []found // oldest first
	dropped uint64
}

func openDoubts(path string) (*doubts, error) {
	file, list, err := openSlots(path, doubtsMagic, maxDoubts)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, oldestFirst)
	return &doubts{file: file, list: list}, nil
}

func oldestFirst(a, b found) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID))
}

// add puts entries on the list, durably, and returns them oldest first. Those that are on it already have been
// added by an open that a crash cut short.
func (d *doubts) add(left []found) ([]Entry, error) {
	if len(left) == 0 {
		return nil, nil
	}
	left = slices.SortedFunc(slices.Values(left), oldestFirst)
	taken, known := make([]bool, maxDoubts), make(map[string]bool, len(d.list))
	for _, e := range d.list {
		known[e.ID] = true
		if e.slot < maxDoubts {
			taken[e.slot] = true
		}
	}
	entries := make([]Entry, 0, len(left))
	slot := 0
	for _, e := range left {
		entries = append(entries, e.Entry)
		if known[e.ID] {
			continue
		}
		if len(d.list) >= maxDoubts {
			d.dropped++
			continue
		}
		for taken[slot] {
			slot++
		}
		if err := d.file.put(slot, &e.Entry); err != nil {
			return nil, fmt.Errorf("adding entry in doubt: %w", err)
		}
		d.list = append(d.list, found{e.Entry, slot})
		slot++
	}
	slices.SortFunc(d.list, oldestFirst)
	if err := d.file.sync(); err != nil {
		return nil, fmt.Errorf("adding entries in doubt: %w", err)
	}
	return entries, nil
}

func (d *doubts) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return d.file.close()
}

// InDoubt returns the entries that crashes left over, since whenever, and that have not been acknowledged, oldest
// first. There are at most 10,000; of more the oldest are kept.
func (f *InFlight) InDoubt() []Entry {
	f.doubts.mu.Lock()
	defer f.doubts.mu.Unlock()
	entries := make([]Entry, len(f.doubts.list))
	for i, e := range f.doubts.list {
		entries[i] = e.Entry
	}
	return entries
}

// Dropped is the number of entries that the open found left over but could not keep, there being 10,000 in doubt.
func (f *InFlight) Dropped() uint64 {
	f.doubts.mu.Lock()
	defer f.doubts.mu.Unlock()
	return f.doubts.dropped
}

// Acknowledge takes an entry off those in doubt, durably. It reports false when there is none with that id. After
// an error the entry is listed as before, though it may be gone after the next open. ErrClosed after Close.
func (f *InFlight) Acknowledge(id string) (bool, error) {
	d := f.doubts
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false, ErrClosed
	}
	i := slices.IndexFunc(d.list, func(e found) bool { return e.ID == id })
	if i < 0 {
		return false, nil
	}
	if err := d.file.clear(d.list[i].slot); err != nil {
		return false, fmt.Errorf("acknowledging entry in doubt: %w", err)
	}
	if err := d.file.sync(); err != nil {
		return false, fmt.Errorf("acknowledging entry in doubt: %w", err)
	}
	d.list = slices.Delete(d.list, i, i+1)
	return true, nil
}
