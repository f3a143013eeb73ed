package badger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
)

// maxBatch is how many changes one transaction carries at most. Its bytes are bounded by Badger.
const maxBatch = 1024

// change is one atomic change of the store. The committer calls prepare, then either apply or undo, all in
// its own goroutine.
type change interface {
	// cost is the most keys and bytes (see keyCost) that prepare will write.
	cost() (keys int, size int64)
	// prepare decides and writes to b. On an error nothing may have been written, and it is the last call.
	prepare(b *batch) error
	// apply brings the memory up to date with what is now on disk.
	apply(b *batch)
	// undo is called when the commit failed, after which it is unknown whether it happened: what is in
	// memory must be such that the disk is asked again. It is also called without prepare, by the
	// submitting goroutine, when the change never got to the committer.
	undo()
}

// op is a change on its way to the committer.
type op struct {
	change
	// alone asks for a transaction of its own: prepare relies on the effects of all changes before.
	alone bool
	done  chan error
}

// batch is a transaction being filled.
type batch struct {
	txn      *badger.Txn
	keys     int
	size     int64
	ops      []*op
	counts   counters
	finished uint64 // how many claims end with it
	due      []dueWebhook
	marked   []*lastMark // that are true if it gets in
	err      error       // the first write that did not get in; the batch cannot be committed then
}

type dueWebhook struct {
	webhook string
	due     time.Time
}

// keyCost is what Badger's limit of a transaction counts for a key with a value.
func keyCost(key, value int, threshold int) int64 {
	return int64(key + 12 + min(value, max(threshold, 12)))
}

func (b *batch) set(key, value []byte, meta byte) {
	if err := b.txn.SetEntry(badger.NewEntry(key, value).WithMeta(meta)); err != nil && b.err == nil {
		b.err = err
	}
}

func (b *batch) delete(key []byte) {
	if err := b.txn.Delete(key); err != nil && b.err == nil {
		b.err = err
	}
}

// submit has c committed and waits for the outcome. When ctx ends first, it may happen all the same.
func (s *Store) submit(ctx context.Context, c change, alone bool) error {
	if keys, size := c.cost(); keys > s.maxKeys || size > s.maxSize {
		c.undo()
		return fmt.Errorf("%d keys, %d bytes are too many for one transaction: split the call", keys, size)
	}
	o := &op{change: c, alone: alone, done: make(chan error, 1)}
	select {
	case s.ops <- o:
	case <-ctx.Done():
		c.undo()
		return ctx.Err()
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// committer is the one goroutine that writes: it collects the changes that are waiting into one
// transaction, so that many callers share one fsync. It ends when drained is closed and nothing is waiting.
func (s *Store) committer() {
	var next *op // taken from the channel, but not fitting into the batch before
	for {
		first := next
		next = nil
		if first == nil {
			if first = s.await(); first == nil {
				return
			}
		}
		// Lets those whom the last commit has answered come back with their next change.
		runtime.Gosched()
		b := s.newBatch()
		s.join(b, first)
		if !first.alone {
			next = s.fill(b)
		}
		s.finish(b)
	}
}

// await returns the next change; nil when the store is closed and none is left. A change whose caller went
// away may still wait when the store is closed: it is done all the same.
func (s *Store) await() *op {
	select {
	case o := <-s.ops:
		return o
	case <-s.drained:
	}
	select {
	case o := <-s.ops:
		return o
	default:
		return nil
	}
}

// fill adds waiting changes until none waits or one does not fit; that one is returned.
func (s *Store) fill(b *batch) *op {
	for len(b.ops) < maxBatch {
		select {
		case o := <-s.ops:
			keys, size := o.cost()
			if o.alone || b.keys+keys > s.maxKeys || b.size+size > s.maxSize {
				return o
			}
			s.join(b, o)
		default:
			return nil
		}
	}
	return nil
}

func (s *Store) newBatch() *batch {
	return &batch{txn: s.db.NewTransaction(true), counts: s.counts.load()}
}

func (s *Store) join(b *batch, o *op) {
	keys, size := o.cost()
	if err := o.prepare(b); err != nil {
		o.done <- err
		return
	}
	b.keys += keys
	b.size += size
	b.ops = append(b.ops, o)
}

// finish commits b and answers its callers.
func (s *Store) finish(b *batch) {
	defer b.txn.Discard()
	if len(b.ops) == 0 {
		return
	}
	err := s.write(b)
	if err != nil {
		for _, m := range b.marked {
			m.known = false
		}
	}
	for _, o := range b.ops {
		if err != nil {
			o.undo()
		} else {
			o.apply(b)
		}
	}
	s.notify(b.due)
	for _, o := range b.ops {
		o.done <- err
	}
}

// write commits the transaction. The counters are published before, because as soon as it is committed a
// claim can find the deliveries in it; and a call in flight may count either way.
func (s *Store) write(b *batch) error {
	old := s.counts.load()
	if b.counts != old {
		b.set(countersKey, b.counts.encode(), 0)
	}
	if b.err != nil {
		return fmt.Errorf("filling a transaction: %w", b.err)
	}
	s.counts.publish(b.counts, b.finished)
	err := s.commit(b.txn)
	if err == nil {
		return nil
	}
	s.counts.revert(old, b.finished)
	if kept, rerr := s.readCounters(); rerr == nil {
		s.counts.publish(kept, 0)
	}
	return fmt.Errorf("committing: %w", err)
}

// commitTxn commits durably.
func (s *Store) commitTxn(txn *badger.Txn) error {
	err := txn.Commit()
	// Badger only logs that it could not sync the value log.
	if s.log.syncFailed.Swap(false) && err == nil {
		return errors.New("syncing the value log")
	}
	return err
}

func (s *Store) notify(due []dueWebhook) {
	fn := s.onDue.Load()
	if fn == nil || *fn == nil {
		return
	}
	for _, d := range due {
		(*fn)(d.webhook, d.due)
	}
}

func (s *Store) readCounters() (counters, error) {
	var c counters
	err := s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(countersKey)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(c.decode)
	})
	return c, err
}

// counters is what is kept of store.Counts on disk. Which ones are being delivered is known to memory only.
type counters struct {
	enqueued, unfinished, delivered, dead, dropped, pruned uint64
}

const countersVersion = 1

func (c *counters) encode() []byte {
	b := append(make([]byte, 0, 49), countersVersion)
	for _, v := range []uint64{c.enqueued, c.unfinished, c.delivered, c.dead, c.dropped, c.pruned} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func (c *counters) decode(b []byte) error {
	if len(b) != 49 || b[0] != countersVersion {
		return fmt.Errorf("counters: %w", errCorrupt)
	}
	for i, p := range []*uint64{&c.enqueued, &c.unfinished, &c.delivered, &c.dead, &c.dropped, &c.pruned} {
		*p = binary.BigEndian.Uint64(b[1+8*i:])
	}
	return nil
}

// final moves one delivery out of the unfinished ones.
func (c *counters) final(s store.State) {
	c.unfinished--
	switch s {
	case store.Delivered:
		c.delivered++
	case store.Dead:
		c.dead++
	case store.Dropped:
		c.dropped++
	}
}

// leave takes back one delivery of a final state.
func (c *counters) leave(s store.State) {
	if s == store.Delivered {
		c.delivered--
	} else {
		c.dead--
	}
}
