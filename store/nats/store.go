package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// Store is an instance's view of the webhooks and deliveries that all instances with the same prefix share. All its methods
// are safe for concurrent use.
type Store struct {
	options  Options
	instance uuid.UUID
	names    names

	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream

	directory store.Directory
	onDue     atomic.Pointer[func(webhook string, due time.Time)]

	mu     sync.Mutex
	state  // what the log says
	claims map[address]*claim
	// aside is what could not be read, true while it is in no queue.
	aside   map[address]bool
	orphans int // claims whose webhook has been deleted
	cached  int // bytes of records kept in memory
	// lease is by the monotonic clock, which may stand still while the machine sleeps; leaseWall by the other, which may be set.
	lease, leaseWall time.Time
	yielding         uint64 // the latest view that we have yielded, or are about to
	flights          map[uint64]*flight
	// snapshots are those made or met, the latest last.
	snapshots []taken
	move      *move // the one under way, if there is one

	// namesakes are other instances with our name that have shown a sign of life; joined is set once our first has come back.
	namesakes map[uuid.UUID]*namesake
	joined    bool

	contents contents
	ops      chan *op
	number   uint64 // of the latest proposal; used by the committer alone
	updating chan struct{}

	// calls is held for reading by every call, so that Close can wait for them.
	calls     sync.RWMutex
	closed    bool
	broken    atomic.Pointer[error]
	denied    atomic.Pointer[error] // what the server did not permit last
	downSince atomic.Int64          // nanoseconds since 1970 at which the connection was lost, or 0
	closeOnce sync.Once
	yields    chan struct{}
	ctx       context.Context // ends when calls are over
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// address names a delivery.
type address struct{ webhook, id uuid.UUID }

// claim is a delivery that is in somebody's hands.
type claim struct {
	lane     *lane
	entry    *entry
	place    place // of the record that was claimed
	delivery store.Delivery
	held     bool // by the engine, while it changes it; to the world it is pending
	finishing,
	gone bool // its webhook has been deleted
}

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
	if err := s.broken.Load(); err != nil {
		s.calls.RUnlock()
		return *err
	}
	return nil
}

func (s *Store) leave() { s.calls.RUnlock() }

// fail makes the state unusable: it can no longer be what the others have. Opened again, it is right again.
func (s *Store) fail(err error) {
	if s.broken.CompareAndSwap(nil, &err) {
		s.options.Logf("error", err.Error())
	}
}

// Directory is the current set of webhooks. It stays readable, unchanged, after Close.
func (s *Store) Directory() *store.Directory { return &s.directory }

// OnDue has fn called for the webhooks that this instance delivers for, from the goroutine that follows the log and by calls
// that end claims: see [store.Store]. When more become its own, or one is switched on, it is called with what is due of them.
func (s *Store) OnDue(fn func(webhook string, due time.Time)) { s.onDue.Store(&fn) }

// dueWebhook is what OnDue is to be told.
type dueWebhook struct {
	webhook string
	due     int64
}

func (s *Store) notify(due []dueWebhook) {
	fn := s.onDue.Load()
	if fn == nil || *fn == nil {
		return
	}
	for _, d := range due {
		(*fn)(d.webhook, codec.Time(d.due))
	}
}

// Counts says how many deliveries stand where. How many the other instances are attempting is what they said last.
func (s *Store) Counts(ctx context.Context) (store.Counts, error) {
	if err := s.enter(ctx); err != nil {
		return store.Counts{}, err
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.delivering()
	var others uint64
	for id, m := range s.members {
		if id != s.instance {
			others += m.claims
		}
	}
	live := min(own-uint64(s.orphans)+others, s.totals.pending) //nolint:gosec // a count
	return store.Counts{
		Enqueued:   s.totals.enqueued,
		Pending:    s.totals.pending - live,
		Delivering: live + uint64(s.orphans), //nolint:gosec // a count
		Delivered:  s.totals.delivered,
		Dead:       s.totals.dead,
		Dropped:    s.totals.dropped - uint64(s.orphans), //nolint:gosec // a count
		Pruned:     s.totals.pruned,
	}, nil
}

// delivering is how many deliveries are in an emitter's hands here.
func (s *Store) delivering() uint64 {
	n := uint64(0)
	for _, c := range s.claims {
		if !c.held {
			n++
		}
	}
	return n
}

// Close waits for calls in flight, tells the others that this instance is gone, and disconnects. It may be called more
// than once; each call returns when the store is closed.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.close(true) })
	return nil
}

func (s *Store) close(farewell bool) {
	s.calls.Lock()
	s.closed = true
	s.calls.Unlock()
	if farewell {
		s.farewell()
	}
	s.cancel()
	s.wg.Wait()
	s.nc.Close()
}

// farewell spares the others the wait until this instance counts as lost. It is left out if nobody listens.
func (s *Store) farewell() {
	if s.nc.Status() != nats.CONNECTED || s.broken.Load() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	if err := s.submit(ctx, newOp(kindLeave, nil)); err != nil && !errors.Is(err, store.ErrClosed) {
		s.options.Logf("warn", fmt.Sprintf("leaving the other instances: %v", err))
	}
}

// Broken tells why the state cannot be used any more, if so: the store has to be closed and opened again.
func (s *Store) Broken() error {
	if err := s.broken.Load(); err != nil {
		return *err
	}
	if s.downFor() > lostTime {
		return fmt.Errorf("%w for %s", errDown, lostTime)
	}
	return nil
}

// find returns the lane of a webhook, or nil. mu is held.
func (s *Store) find(webhook string) *lane {
	id, err := parseID(webhook)
	if err != nil {
		return nil
	}
	return s.lanes[id]
}

// parseID reads the canonical form: 36 characters, lower case. Other spellings of a UUID are refused, because they would
// come back as another string than they went in.
func parseID(s string) (uuid.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil || id.String() != s {
		return uuid.UUID{}, fmt.Errorf("id %.40q is not a UUID in lower case", s)
	}
	return id, nil
}
