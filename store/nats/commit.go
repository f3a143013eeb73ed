package nats

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/bentihooks/bentihooks/store"
)

const (
	// maxBatch is how many bytes of changes a proposal collects. A single change may be larger.
	maxBatch = 256 << 10
	// maxFlights is how many proposals may be on their way at a time: few, so that many changes share one.
	maxFlights = 2
	// flightTime is how long a proposal is sent again, under the same id, until its outcome counts as unknown.
	flightTime = 5 * time.Second
	// ackTime is how long an acknowledgement is waited for before a proposal is sent again.
	ackTime = 2 * time.Second
	// resendPause is the wait before a proposal is sent again for which nobody was there.
	resendPause = 100 * time.Millisecond
	// downTime is for how long a lost connection is waited for. After that calls fail at once.
	downTime = 2 * time.Second
	// lostTime is after how long it counts as lost for good, so that operators are told even if there are no calls.
	lostTime = 10 * time.Second
	// messageSlack is what a message may have beyond the content: our frame, the headers.
	messageSlack = 1 << 10
)

var (
	errDown    = errors.New("not connected to NATS")
	errUnknown = errors.New("NATS did not answer in time")
	errStale   = errors.New("webhook changed meanwhile")
)

// op is a change on its way into the log.
type op struct {
	kind  byte
	body  []byte
	claim *claim // ends when the change is met
	n     int    // the result, where there is one
	err   error
	done  chan error
}

func newOp(kind byte, body []byte) *op { return &op{kind: kind, body: body, done: make(chan error, 1)} }

// fail and succeed note what became of a change, if it is ours.
func (o *op) fail(err error) {
	if o != nil {
		o.err = err
	}
}

func (o *op) succeed(n int) {
	if o != nil {
		o.n = n
	}
}

// flight is a proposal on its way. It stays known for a while after its callers gave up: what comes late ends claims.
type flight struct {
	number  uint64
	ops     []*op
	began   time.Time
	applied chan struct{} // closed when it has taken effect
	over    bool          // the callers have been answered; guarded by Store.mu
}

// submit has a change made and waits for the outcome. When ctx ends first, it may happen all the same.
func (s *Store) submit(ctx context.Context, o *op) error {
	if err := s.down(); err != nil {
		return err
	}
	select {
	case s.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return store.ErrClosed
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return store.ErrClosed
	}
}

// down reports that the connection has been lost for longer than is waited for.
func (s *Store) down() error {
	if s.downFor() > downTime {
		return errDown
	}
	return nil
}

func (s *Store) downFor() time.Duration {
	since := s.downSince.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// committer is the one goroutine that proposes: it collects the changes that are waiting into one proposal, so that many
// callers share a round trip and a replication.
func (s *Store) committer() {
	defer s.wg.Done()
	slots := make(chan struct{}, maxFlights)
	for {
		var first *op
		select {
		case first = <-s.ops:
		case <-s.ctx.Done():
			return
		}
		select {
		case slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		// Lets those whom the last proposal has answered come back with their next change.
		runtime.Gosched()
		f, content := s.gather(first)
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.fly(f, content)
			<-slots
		}()
	}
}

// gather makes a proposal of what is waiting.
func (s *Store) gather(first *op) (*flight, []byte) {
	s.number++
	f := &flight{number: s.number, ops: []*op{first}, began: time.Now(), applied: make(chan struct{})}
	content := appendChange(nil, first.kind, first.body)
	for more := true; more && len(content) < maxBatch; {
		select {
		case o := <-s.ops:
			content = appendChange(content, o.kind, o.body)
			f.ops = append(f.ops, o)
		default:
			more = false
		}
	}
	s.mu.Lock()
	s.flights[f.number] = f
	s.mu.Unlock()
	return f, content
}

// fly sends a proposal until it has taken effect or its time is over.
func (s *Store) fly(f *flight, content []byte) {
	err := s.send(f, content)
	if err == nil {
		// It is in the log. The callers get their answers when it comes back, unless it takes too long.
		timer := time.NewTimer(time.Until(f.began.Add(flightTime)))
		defer timer.Stop()
		select {
		case <-f.applied:
			return
		case <-timer.C:
			err = errUnknown
		case <-s.ctx.Done():
			err = store.ErrClosed
		}
	}
	s.mu.Lock()
	over := f.over
	f.over = true
	s.mu.Unlock()
	if over {
		return
	}
	for _, o := range f.ops {
		o.done <- err
	}
}

// send publishes the parts of a proposal one after the other: each once, as the server leaves out what it has already.
func (s *Store) send(f *flight, content []byte) error {
	size := int(s.nc.MaxPayload()) - messageSlack
	total := max((len(content)+size-1)/size, 1)
	for part := range total {
		m := message{instance: s.instance, number: f.number, part: uint64(part), parts: uint64(total), content: content}
		if total > 1 {
			m.content = content[part*size : min((part+1)*size, len(content))]
		}
		id := s.instance.String() + "." + strconv.FormatUint(f.number, 10) + "." + strconv.Itoa(part)
		if err := s.publish(f, id, encodeMessage(&m)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) publish(f *flight, id string, data []byte) error {
	for {
		ctx, cancel := context.WithTimeout(s.ctx, ackTime)
		_, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: s.names.log, Data: data, Header: nats.Header{jetstream.MsgIDHeader: {id}}})
		cancel()
		var refused *jetstream.APIError
		switch {
		case err == nil:
			return nil
		case s.ctx.Err() != nil:
			return store.ErrClosed
		case errors.As(err, &refused) && refused.Code == 400: // a mistake of ours, which another try repeats
			return fmt.Errorf("appending to the log: %w", err)
		}
		timer := time.NewTimer(resendPause)
		select {
		case <-f.applied:
			timer.Stop()
			return nil
		case <-s.ctx.Done():
			timer.Stop()
			return store.ErrClosed
		case <-timer.C:
		}
		if s.down() != nil || time.Since(f.began) > flightTime {
			return fmt.Errorf("appending to the log: %w", err)
		}
	}
}
