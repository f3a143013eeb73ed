package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// followPause is the wait before the log is followed again after that failed.
	followPause = 100 * time.Millisecond
	// heartbeat is how often the server says that there is nothing new; twice as long without a word is a failure.
	heartbeat = 500 * time.Millisecond
	// consumerTime is how long a consumer is waited for before it is asked for again: who asks while there is no leader gets no answer.
	consumerTime = time.Second
	// directPause is how long nothing is heard before the log is read without a consumer, and between two looks at it.
	directPause = 100 * time.Millisecond
	// consumerTTL is how long the server keeps a consumer that nobody asks.
	consumerTTL = 30 * time.Second
)

// follower applies the log, message by message, for as long as the store is open.
func (s *Store) follower() {
	defer s.wg.Done()
	for s.ctx.Err() == nil && s.broken.Load() == nil {
		if err := s.follow(); err != nil && s.ctx.Err() == nil {
			s.options.Logf("debug", fmt.Sprintf("following the log: %v; tried again", err))
		}
		pause(s.ctx, followPause)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// follow applies what comes until something fails. It uses a consumer of its own: those that
// the client renews by itself hide when they do.
func (s *Store) follow() error {
	consumer, err := s.consumer()
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(500), jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("asking for messages: %w", err)
	}
	stop := context.AfterFunc(s.ctx, messages.Stop)
	defer stop()
	defer messages.Stop()
	for n := 0; ; n++ {
		m, err := messages.Next()
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		// The consumer numbers what it delivers: one that was lost on the way is asked for again.
		if meta.Sequence.Consumer != uint64(n)+1 {
			return fmt.Errorf("message %d of the consumer came in place of %d", meta.Sequence.Consumer, n+1)
		}
		if meta.Sequence.Stream < s.next() {
			continue // it was read before there was a consumer
		}
		if err := s.take(meta.Sequence.Stream, m.Data()); err != nil {
			s.fail(fmt.Errorf("following the log: message %d: %w", meta.Sequence.Stream, err))
			return err
		}
	}
}

// next is where to look for the next message.
func (s *Store) next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied + 1
}

// consumer has a consumer made. Only the leader of all of JetStream does that, and when its server is lost it takes 4 to 9 s
// until there is another. The stream has a leader of its own: meanwhile the log is read message by message.
func (s *Store) consumer() (jetstream.Consumer, error) {
	next := s.next()
	made := make(chan jetstream.Consumer, 1)
	ctx, cancel := context.WithCancel(s.ctx)
	var trying sync.WaitGroup
	trying.Go(func() {
		for ctx.Err() == nil {
			consumer, err := s.makeConsumer(ctx, next)
			if err == nil {
				made <- consumer
				return
			}
			s.options.Logf("debug", fmt.Sprintf("making a consumer: %v; tried again", err))
			pause(ctx, followPause)
		}
	})
	defer trying.Wait()
	defer cancel()
	for {
		select {
		case consumer := <-made:
			return consumer, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(directPause):
		}
		if err := s.readOn(ctx); err != nil {
			s.options.Logf("debug", fmt.Sprintf("following the log without a consumer: %v; tried again", err))
		}
		if s.broken.Load() != nil {
			return nil, *s.broken.Load()
		}
	}
}

func (s *Store) makeConsumer(ctx context.Context, next uint64) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, consumerTime)
	defer cancel()
	consumer, err := s.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: s.names.log, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: next,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerTTL,
	})
	if err == nil {
		err = s.checkCut(ctx, next)
	}
	return consumer, err
}

// readOn applies what there is of the log, a message at a time. Any server that has the stream may answer.
func (s *Store) readOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, consumerTime)
	defer cancel()
	if err := s.checkCut(ctx, s.next()); err != nil {
		return err
	}
	for {
		m, err := s.stream.GetMsg(ctx, s.next(), jetstream.WithGetMsgSubject(s.names.log))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.take(m.Sequence, m.Data); err != nil {
			s.fail(fmt.Errorf("following the log: message %d: %w", m.Sequence, err))
			return err
		}
	}
}

// checkCut fails if the log has been cut off behind what is to come next: this instance was away too long.
func (s *Store) checkCut(ctx context.Context, next uint64) error {
	info, err := s.stream.Info(ctx)
	if err == nil && info.State.FirstSeq > next {
		err = fmt.Errorf("following the log: message %d is to come next, and the stream begins with %d", next, info.State.FirstSeq)
		s.fail(err)
	}
	return err
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
	r := newReader(content)
	for i := 0; len(r.B) > 0; i++ {
		kind, body := r.Byte(), r.Bytes()
		if r.Bad {
			return nil, fmt.Errorf("%w: a change does not fit into its message", errCorrupt)
		}
		var own *op
		if f != nil && i < len(f.ops) {
			own = f.ops[i]
		}
		at := uint32(len(content) - len(r.B) - len(body)) //nolint:gosec // a content is shorter than 4 GiB
		if err := a.apply(kind, body, at, own); err != nil {
			return nil, err
		}
	}
	if a.moved {
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
