package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// connectTime bounds one try to connect to one server.
	connectTime = 2 * time.Second
	// joinTime is how long Open waits until it is this instance's turn to deliver. It does not have to be.
	joinTime = 2 * time.Second
	// catchUpTime is how long Open may take to read the log.
	catchUpTime = time.Minute
)

// Options say where the store is.
type Options struct {
	// URLs are the servers, such as nats://host:4222; one that answers is enough.
	URLs []string
	// Connect are further options of the connection: credentials, TLS.
	Connect []nats.Option
	// Prefix names the stream, and is the first part of all subjects: letters, digits, - and _.
	Prefix string
	// Replicas is on how many servers the stream is kept, if it has to be made: 1 to 5.
	Replicas int
	// Name is the same for all instances that run one after the other in one place, and for no other. One that starts replaces
	// the one before at once, as that must have ended. Empty: nothing is replaced.
	Name string
	// Place tells operators which instance this is: its host and its directory. Two that run at a time must not have the same:
	// from an instance of the same name and another place it is told that a directory, with the name in it, was copied.
	Place string
	// Passive is for one that comes to read and write, but does not deliver: it is given no webhooks to deliver for.
	Passive bool
	// Logf is told of troubles. level is one of debug, info, warn and error. Default: nobody is.
	Logf func(level, message string)

	// The constants of these names, but for tests.
	beat, keepEvery, purgeAge time.Duration
	snapshotTail              uint64
}

// Open connects, makes the stream if there is none, reads what it holds, and joins the other instances.
func Open(o Options) (*Store, error) {
	if o.Logf == nil {
		o.Logf = func(string, string) {}
	}
	o.beat = cmp.Or(o.beat, beatInterval)
	o.keepEvery = cmp.Or(o.keepEvery, keepInterval)
	o.purgeAge = cmp.Or(o.purgeAge, purgeAge)
	o.snapshotTail = cmp.Or(o.snapshotTail, snapshotTail)
	s := &Store{
		options: o, instance: uuid.New(), names: newNames(o.Prefix), state: newState(),
		claims: make(map[address]*claim), aside: make(map[address]bool), flights: make(map[uint64]*flight), namesakes: make(map[uuid.UUID]*namesake),
		ops: make(chan *op, 4096), updating: make(chan struct{}, 1), yields: make(chan struct{}, 1),
	}
	if s.options.Name == "" {
		s.options.Name = s.instance.String()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.connect(); err != nil {
		s.cancel()
		return nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	if err := s.begin(); err != nil {
		s.close(false)
		if denied := s.denied.Load(); denied != nil { // a request that is not permitted gets no answer
			err = fmt.Errorf("%w: %w", err, *denied)
		}
		return nil, err
	}
	return s, nil
}

// TryLogin connects and disconnects. It returns the client's error unchanged.
func TryLogin(o Options) error {
	nc, err := o.connect()
	if err == nil {
		nc.Close()
	}
	return err
}

func (o *Options) connect(more ...nats.Option) (*nats.Conn, error) {
	options := append([]nats.Option{nats.Name("bentihooks " + o.Prefix), nats.Timeout(connectTime)}, o.Connect...)
	options = append(options, more...)
	nc, err := nats.Connect(strings.Join(o.URLs, ","), options...)
	if !errors.Is(err, nats.ErrNoServers) || len(o.URLs) == 1 {
		return nc, err
	}
	// The last one tried is not there. What another one has against us is worth more.
	for _, u := range o.URLs {
		alone, refusal := nats.Connect(u, append(options, nats.NoReconnect(), nats.ClosedHandler(nil))...)
		if refusal == nil {
			alone.Close()
		} else if !errors.Is(refusal, nats.ErrNoServers) {
			return nil, refusal
		}
	}
	return nil, err
}

func (s *Store) connect() error {
	var err error
	s.nc, err = s.options.connect(
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250*time.Millisecond),
		nats.PingInterval(2*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			s.downSince.CompareAndSwap(0, time.Now().UnixNano())
			if err != nil {
				s.options.Logf("warn", fmt.Sprintf("lost the connection to NATS: %v", err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			s.downSince.Store(0)
			s.options.Logf("info", "connected to NATS again, at "+nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.options.Logf("warn", fmt.Sprintf("NATS: %v", err))
			if errors.Is(err, nats.ErrPermissionViolation) {
				s.denied.Store(&err)
			}
		}),
		// The client gives up when a server has refused the login twice, such as after a password was changed.
		nats.ClosedHandler(func(nc *nats.Conn) {
			if s.ctx.Err() == nil {
				s.fail(fmt.Errorf("the connection to NATS was ended: %w", cmp.Or(nc.LastError(), nats.ErrConnectionClosed)))
			}
		}),
	)
	if err != nil {
		return err
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		s.nc.Close()
	}
	return err
}

// begin brings the state up to date and has this instance take part.
func (s *Store) begin() error {
	ctx, cancel := context.WithTimeout(s.ctx, requestTime)
	stream, err := s.openStream(ctx)
	cancel()
	if err != nil {
		return fmt.Errorf("opening stream %s: %w", s.names.stream, err)
	}
	s.stream = stream
	ctx, cancel = context.WithTimeout(s.ctx, catchUpTime)
	defer cancel()
	if err := s.loadSnapshot(ctx); err != nil {
		return fmt.Errorf("reading snapshot: %w", err)
	}
	last, err := s.lastOfLog(ctx)
	if err != nil {
		return err
	}
	s.wg.Add(2)
	go s.follower()
	go s.committer()
	if err := s.await(ctx, catchUpTime, func() bool { return s.applied >= last }); err != nil {
		return fmt.Errorf("reading the log up to message %d: %w", last, err)
	}
	if s.options.Passive {
		return nil
	}
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.awaitFormer(ctx); err != nil {
		return err
	}
	if err := s.beatOnce(); err != nil {
		return fmt.Errorf("joining the other instances: %w", err)
	}
	s.wg.Add(3)
	go s.yielder()
	go s.beater()
	go s.keeper()
	// A late turn is no failure: what is another's is delivered by it.
	if err := s.await(ctx, joinTime, s.isSettled); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// lastOfLog is the sequence of the last message of the log, 0 if it is empty.
func (s *Store) lastOfLog(ctx context.Context) (uint64, error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, s.names.log)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the end of the log: %w", err)
	}
	return m.Sequence, nil
}

// await waits until done, which is called with mu held.
func (s *Store) await(ctx context.Context, limit time.Duration, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		ok := done()
		s.mu.Unlock()
		if ok {
			return nil
		}
		if err := s.broken.Load(); err != nil {
			return *err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
