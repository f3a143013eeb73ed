package journal

import (
	"fmt"
	"slices"
)

// keepBuffer is the largest commit whose memory is kept for the next.
const keepBuffer = 1 << 20

// Append adds a record, which may be empty. It is durable when Append returns nil: it survives a kill of the
// process and a loss of power. Callers that come while others are being written share the next flush.
//
// ErrFull when the record does not fit; nothing was written then. ErrClosed. After any other error the
// record's fate is unknown: it may come back in Drain after the next open, unless a Drain has emptied the reserve
// before. Its place is given to the next record, and appending works again as soon as the disk does. The record is not kept or changed.
func (r *Reserve) Append(record []byte) error {
	a := &appending{record: record, done: make(chan struct{})}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	r.queue = append(r.queue, a)
	r.mu.Unlock()
	select {
	case <-a.done:
	case r.lead <- struct{}{}:
		r.commit()
		<-r.lead
	}
	return a.err
}

// commit writes and flushes all that is queued as one group. The caller leads.
func (r *Reserve) commit() {
	r.mu.Lock()
	queue := r.queue
	r.queue = nil
	r.mu.Unlock()
	if len(queue) == 0 {
		return
	}
	group, records := r.group(queue)
	err := r.write(r.buf)
	if err != nil {
		err = fmt.Errorf("appending to reserve: %w", err)
	} else {
		r.tail += int64(len(r.buf))
		r.mu.Lock()
		r.records = append(r.records, records...)
		r.mu.Unlock()
	}
	if cap(r.buf) > keepBuffer {
		r.buf = nil
	}
	for _, a := range group {
		a.err = err
		close(a.done)
	}
}

// group puts the records that fit into buf, and turns the others away.
func (r *Reserve) group(queue []*appending) ([]*appending, []span) {
	r.buf = r.buf[:0]
	room := r.room() - r.tail
	records := make([]span, 0, len(queue))
	group := slices.DeleteFunc(queue, func(a *appending) bool {
		at := int64(len(r.buf))
		if !fits(len(a.record), room-at) {
			a.err = ErrFull
			close(a.done)
			return true
		}
		r.buf = appendRecord(r.buf, r.generation, a.record)
		records = append(records, span{r.tail + at, int64(len(r.buf)) - at})
		return false
	})
	return group, records
}

// write puts b durably at the tail. When it fails the tail stays, so that the next write goes over what this
// one left: the pages that the kernel gave up on are written again, and a failing disk does not use up the room.
func (r *Reserve) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if r.headerDue {
		if err := r.writeHeaders(); err != nil {
			return err
		}
	}
	_, err := r.writeAt(b, r.tail)
	if err == nil {
		err = r.sync()
	}
	r.leftovers = r.leftovers || err != nil
	return err
}

// writeHeaders brings both copies of the header on disk up to date, one after the other.
func (r *Reserve) writeHeaders() error {
	r.headerDue = true
	b := header{version, r.generation}.encode(reserveMagic)
	for block := range int64(2) {
		if _, err := r.writeAt(b, block*blockSize); err != nil {
			return fmt.Errorf("writing header: %w", err)
		}
		if err := r.sync(); err != nil {
			return fmt.Errorf("writing header: %w", err)
		}
	}
	r.headerDue = false
	return nil
}
