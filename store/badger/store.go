// Package badger is the embedded engine of [store.Store]: one process, one directory, a Badger database.
//
// The database is the log, memory is the schedule. One goroutine commits everything, many changes to a
// transaction and an fsync each; what is due next is kept in memory, a bounded window for each webhook, and
// read on from where the window ended. Claims are in memory only: what was claimed when the process ended
// is due again.
package badger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/bentihooks/bentihooks/store"
)

// Store is a directory opened by [Open]. All its methods are safe for concurrent use.
type Store struct {
	db  *badger.DB
	dir string
	// sealed is whether the database is encrypted, so that nothing of it may stand in plain text beside it.
	sealed bool
	log    *logger
	// commit is commitTxn, but for tests.
	commit func(*badger.Txn) error

	directory store.Directory
	counts    tally
	updating  chan struct{} // holds a token while a webhook is being updated
	looking   chan struct{} // holds a token while the oldest pending delivery is being looked for
	onDue     atomic.Pointer[func(webhook string, due time.Time)]

	ops       chan *op
	maxKeys   int
	maxSize   int64
	threshold int

	laneMu   sync.RWMutex
	lanes    map[uuid]*lane
	windowed atomic.Int64 // entries in all windows
	window   int          // windowSize, but for tests
	look     look         // ordinaryLook, but for tests
	// markedAll is whether every delivery has its marks, see marks.go.
	markedAll atomic.Bool

	corrupt corruption

	// calls is held for reading by every call, so that Close can wait for them.
	calls     sync.RWMutex
	closed    bool
	closing   chan struct{} // closed when Close begins
	closeOnce sync.Once
	closeErr  error
	drained   chan struct{} // closed when no call can submit any more
	purge     chan struct{}
	gc        chan struct{}
	wg        sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// enter begins a call; leave ends it unless enter returned an error.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.calls.RLock()
	if s.closed {
		s.calls.RUnlock()
		return store.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.calls.RUnlock() }

// isClosing lets long calls and background work end early.
func (s *Store) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// Directory is the current set of webhooks. It stays readable, unchanged, after Close.
func (s *Store) Directory() *store.Directory { return &s.directory }

// Counts says how many deliveries stand where. Deliveries of a deleted webhook move from pending to dropped, and
// from delivered and dead to pruned, as they are erased.
func (s *Store) Counts(ctx context.Context) (store.Counts, error) {
	if err := s.enter(ctx); err != nil {
		return store.Counts{}, err
	}
	defer s.leave()
	return s.counts.counts(), nil
}

// OnDue has fn called from the committing goroutine after each commit, and by Release: see [store.Store].
func (s *Store) OnDue(fn func(webhook string, due time.Time)) { s.onDue.Store(&fn) }

// Corrupt is how many records turned up since Open that could not be read. They are left out of claims and
// listings, stay in the counts, and what is left of each is in corrupt/records in the directory; of an encrypted one only its key.
func (s *Store) Corrupt() uint64 { return s.corrupt.count.Load() }

// Close waits for calls in flight, which for Kill and Prune means for their current step, and closes the
// database. It may be called more than once; each call returns when the store is closed.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	close(s.closing)
	s.calls.Lock()
	s.closed = true
	// Not held any longer: background work still has to be able to find out.
	s.calls.Unlock()
	close(s.drained)
	s.wg.Wait()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing store: %w", err)
	}
	s.makePrivate()
	return nil
}

// lane returns the lane of a webhook, made on first use; nil if there is no such webhook.
func (s *Store) lane(webhook uuid) *lane {
	s.laneMu.RLock()
	l := s.lanes[webhook]
	s.laneMu.RUnlock()
	if l != nil {
		return l
	}
	s.laneMu.Lock()
	defer s.laneMu.Unlock()
	if l = s.lanes[webhook]; l != nil {
		return l
	}
	// Asked again under the lock, or a lane could come up for a webhook that has just been erased.
	if s.directory.Get(webhook.String()) == nil {
		return nil
	}
	l = &lane{webhook: webhook, total: &s.windowed}
	s.lanes[webhook] = l
	return l
}

// find is lane for the id of a webhook in text.
func (s *Store) find(webhook string) *lane {
	id, err := parseUUID(webhook)
	if err != nil {
		return nil
	}
	return s.lane(id)
}

// retire marks the lane of a webhook that has just left the directory, and makes it if there is none, so that a
// reader that found the webhook before meets the mark.
func (s *Store) retire(webhook uuid) {
	s.laneMu.Lock()
	l := s.lanes[webhook]
	if l == nil {
		l = &lane{webhook: webhook, total: &s.windowed}
		s.lanes[webhook] = l
	}
	s.laneMu.Unlock()
	l.lock()
	defer l.unlock()
	l.gone = true
	l.window, l.fresh, l.cursor = nil, nil, endSlot
}

func (s *Store) dropLane(webhook uuid) {
	s.laneMu.Lock()
	defer s.laneMu.Unlock()
	delete(s.lanes, webhook)
}

// room is how many entries a window may hold now.
func (s *Store) room() int {
	if s.windowed.Load() > windowBudget {
		return min(windowLeast, s.window)
	}
	return s.window
}

// signal wakes the reader of a channel of capacity one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// closedError says ErrClosed where Badger says in its own words that it is closed.
func closedError(err error) error {
	if errors.Is(err, badger.ErrDBClosed) || errors.Is(err, badger.ErrBlockedWrites) {
		return store.ErrClosed
	}
	return err
}
