package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

const (
	// drainRecords and drainBytes bound a batch. A longer record makes a batch of its own.
	drainRecords = 200
	drainBytes   = 4 << 20
	// drainRounds bounds how often Drain starts over for what was appended meanwhile.
	drainRounds = 8
)

// Drain hands out all records, oldest first, in batches of up to 200. A batch counts as drained once fn has
// returned nil; an error of fn ends the Drain, which returns it, and the batch comes again with the next one. Which
// records have been drained is not written down: after a crash or a Close before the last one was, all of
// them come again, so fn must bear with that. fn may keep the records, and may append.
//
// Appends go on meanwhile, and what they add is handed out too. When nothing is left the file is reset: all its room
// is there again, and zeros stand where the records were. If that fails everything has been handed out nevertheless, and
// the reset is tried again before the next append. Under a steady stream of appends Drain gives up catching up after
// some rounds: it returns nil with the latest records left, and the file is not reset.
//
// A record found damaged now is treated like one found damaged at open. One that the disk would not
// read stays: the rest is handed out, then the error returned. One Drain runs at a time, a second waits for it.
// ErrClosed once the reserve has been closed.
func (r *Reserve) Drain(fn func(records [][]byte) error) error {
	r.draining.Lock()
	defer r.draining.Unlock()
	for range drainRounds {
		if err := r.round(fn); err != nil {
			return err
		}
		if done, err := r.reset(); done || err != nil {
			return err
		}
	}
	return nil
}

// round drains the records that are there now.
func (r *Reserve) round(fn func(records [][]byte) error) error {
	var unreadable error
	skip := 0
	for todo := r.Len(); todo > 0; {
		batch, err := r.next(skip, todo)
		if err != nil {
			return err
		}
		todo -= len(batch)
		records, left, err := r.read(batch)
		if errors.Is(err, os.ErrClosed) {
			return ErrClosed
		}
		if err != nil {
			unreadable = fmt.Errorf("draining reserve: %w", err)
		}
		if len(records) > 0 {
			if err := fn(records); err != nil {
				return err
			}
		}
		r.drained(skip, len(batch), left)
		skip += len(left)
	}
	return unreadable
}

// next returns the places of the records of the next batch: behind those to skip, at most n.
func (r *Reserve) next(skip, n int) ([]span, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	var size int64
	n = min(n, drainRecords)
	batch := make([]span, 0, n)
	for _, s := range r.records[skip:] {
		size += s.size
		if len(batch) == n || (size > drainBytes && len(batch) > 0) {
			break
		}
		batch = append(batch, s)
	}
	return batch, nil
}

// read returns the payloads of a batch, and which of it could not be read and why.
func (r *Reserve) read(batch []span) (records [][]byte, unreadable []span, err error) {
	records = make([][]byte, 0, len(batch))
	for _, s := range batch {
		b := make([]byte, s.size)
		if _, e := r.readAt(b, s.at); e != nil && !errors.Is(e, io.EOF) {
			unreadable, err = append(unreadable, s), e
			continue
		}
		// The generation changes only in a reset, which this same Drain makes.
		payload, ok := decodeRecord(b, r.generation)
		if !ok {
			r.setAside(s)
			continue
		}
		records = append(records, payload)
	}
	return records, unreadable, err
}

// drained takes n records, but for those left, off the list.
func (r *Reserve) drained(skip, n int, left []span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if skip == 0 && len(left) == 0 {
		r.records = r.records[n:]
		return
	}
	r.records = slices.Replace(r.records, skip, skip+n, left...)
}

// reset makes all records of the file void, unless there are undrained ones.
func (r *Reserve) reset() (bool, error) {
	r.lead <- struct{}{}
	defer func() { <-r.lead }()
	r.mu.Lock()
	left, closed := len(r.records), r.closed
	if left == 0 {
		r.records = nil
	}
	r.mu.Unlock()
	if closed {
		return false, ErrClosed
	}
	used, tail := r.tail != recordsStart || r.leftovers, r.tail
	if left > 0 || (!used && !r.headerDue) {
		return left == 0, nil
	}
	// From here on the old generation is dead in memory, whatever becomes of it on disk: it may never get another
	// record, since one copy of the header may already show the new one.
	if used {
		r.generation++
		r.tail, r.leftovers = recordsStart, false
	}
	if err := r.writeHeaders(); err != nil {
		return false, fmt.Errorf("resetting reserve: %w", err)
	}
	r.wipe(tail)
	if r.Size() != r.want {
		r.resize()
		if err := r.measure(); err != nil {
			return false, fmt.Errorf("resetting reserve: %w", err)
		}
	}
	return true, nil
}

// wipe puts zeros over drained records, so that what they hold does not lie about for ever. They do not count any
// more: where that fails they stay until others are written over them.
func (r *Reserve) wipe(tail int64) {
	zeros := make([]byte, min(max(tail-recordsStart, 0), windowSize))
	for at := int64(recordsStart); at < tail; at += int64(len(zeros)) {
		if _, err := r.writeAt(zeros[:min(int64(len(zeros)), tail-at)], at); err != nil {
			return
		}
	}
}
