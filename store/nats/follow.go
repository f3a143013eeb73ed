package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// followPause is the wait before the log is followed again after that failed.
	followPause = 100 * time.Millisecond
	// heartbeat is how often the server says that there is nothing new; twice as long without a word is a failure.
	heartbeat = 500 * time.Millisecond
	// consumerTTL is how long the server keeps a consumer that nobody asks.
	consumerTTL = 30 * time.Second
	// maxLag is how long an instance may hear nothing of the log and still go on where it was: less than what is cut off
	// is old, so it misses nothing.
	maxLag = purgeAge / 2
)

// follower applies the log, message by message, for as long as the store is open.
func (s *Store) follower() {
	defer s.wg.Done()
	heard := time.Now()
	for s.ctx.Err() == nil && s.broken.Load() == nil {
		n, err := s.follow()
		if n > 0 {
			heard = time.Now()
		}
		if err != nil && s.ctx.Err() == nil {
			s.options.Logf("debug", fmt.Sprintf("following the log: %v; tried again", err))
		}
		if time.Since(heard) > maxLag && s.nc.Status() == nats.CONNECTED {
			s.fail(errors.New("too long without a message"))
		}
		select {
		case <-time.After(followPause):
		case <-s.ctx.Done():
		}
	}
}

// follow applies what comes until something fails, and tells how many messages came. It uses a consumer of its own: those that
// the client renews by itself hide when they do.
func (s *Store) follow() (int, error) {
	s.mu.Lock()
	next := s.applied + 1
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, requestTime)
	consumer, err := s.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: s.names.log, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: next,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerTTL,
	})
	cancel()
	if err != nil {
		return 0, fmt.Errorf("making a consumer: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(500), jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return 0, fmt.Errorf("asking for messages: %w", err)
	}
	stop := context.AfterFunc(s.ctx, messages.Stop)
	defer stop()
	defer messages.Stop()
	for n := 0; ; n++ {
		m, err := messages.Next()
		if err != nil {
			return n, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return n, err
		}
		// The consumer numbers what it delivers: one that was lost on the way is asked for again.
		if meta.Sequence.Consumer != uint64(n)+1 {
			return n, fmt.Errorf("message %d of the consumer came in place of %d", meta.Sequence.Consumer, n+1)
		}
		if err := s.take(meta.Sequence.Stream, m.Data()); err != nil {
			s.fail(fmt.Errorf("message %d: %w", meta.Sequence.Stream, err))
			return n, err
		}
	}
}

// take applies a message.
func (s *Store) take(seq uint64, data []byte) error {
	m, err := decodeMessage(data)
	if err != nil {
		return err
	}
	a := &applying{s: s, seq: seq, instance: m.instance}
	s.mu.Lock()
	f, err := a.run(&m)
	s.mu.Unlock()
	s.notify(a.due)
	if a.moved {
		signal(s.yields)
	}
	if f != nil {
		for _, o := range f.ops {
			o.done <- o.err
		}
	}
	return err
}

// run applies a message and returns our flight that it completes, if its callers wait. mu is held.
func (a *applying) run(m *message) (*flight, error) {
	s := a.s
	s.applied = a.seq
	content, whole := s.collect(a.seq, m)
	if !whole {
		return nil, nil //nolint:nilnil // nothing has happened yet
	}
	var f *flight
	if m.instance == s.instance {
		f = s.flights[m.number]
		delete(s.flights, m.number)
	}
	r := reader{b: content}
	for i := 0; len(r.b) > 0; i++ {
		kind, body := r.byte(), r.bytes()
		if r.bad {
			return nil, fmt.Errorf("%w: a change does not fit into its message", errCorrupt)
		}
		var own *op
		if f != nil && i < len(f.ops) {
			own = f.ops[i]
		}
		at := uint32(len(content) - len(r.b) - len(body))
		if err := a.apply(kind, body, at, own); err != nil {
			return nil, err
		}
	}
	if a.moved {
		s.forgetParts()
		a.due = append(a.due, s.assignAll()...)
	}
	if f == nil || f.over {
		return nil, nil //nolint:nilnil // nobody waits
	}
	f.over = true
	close(f.applied)
	return f, nil
}

// signal wakes the reader of a channel of capacity one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
