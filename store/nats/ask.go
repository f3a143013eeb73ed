package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/bentihooks/bentihooks/store"
)

// askPause is the wait before the owner of a webhook is asked again, who may just be changing.
const askPause = 100 * time.Millisecond

// question is what an instance asks the one that delivers for a webhook: to kill its deliveries, or to replay one.
type question struct {
	Kill    bool      `json:"kill,omitempty"`
	Webhook string    `json:"webhook"`
	ID      string    `json:"id,omitempty"`
	Now     time.Time `json:"now"`
}

// answer to a question. A problem is one of problems, or any other text.
type answer struct {
	N       int    `json:"n,omitempty"`
	Problem string `json:"problem,omitempty"`
}

// problems are the errors that mean the same on both sides.
var problems = []error{errElsewhere, store.ErrNotFound, store.ErrClosed}

// askOwner puts a question to whoever delivers for the webhook, until one does.
func (s *Store) askOwner(ctx context.Context, q question) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, flightTime)
	defer cancel()
	for {
		n, err := s.askOnce(ctx, q)
		if !errors.Is(err, errElsewhere) && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, store.ErrClosed) {
			return n, err
		}
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
			return 0, err
		}
	}
}

func (s *Store) askOnce(ctx context.Context, q question) (int, error) {
	s.mu.Lock()
	l := s.find(q.Webhook)
	if l == nil {
		s.mu.Unlock()
		return 0, store.ErrNotFound
	}
	to := l.owner
	s.mu.Unlock()
	if to == s.instance {
		return s.answer(ctx, q)
	}
	data, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	reply, err := s.nc.RequestWithContext(ctx, s.names.ask(to), data)
	if err != nil {
		return 0, fmt.Errorf("asking instance %s: %w", to, err)
	}
	var a answer
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		return 0, fmt.Errorf("asking instance %s: %w", to, err)
	}
	for _, err := range problems {
		if a.Problem == err.Error() {
			return 0, err
		}
	}
	if a.Problem != "" {
		return 0, fmt.Errorf("instance %s: %s", to, a.Problem)
	}
	return a.N, nil
}

func (s *Store) answer(ctx context.Context, q question) (int, error) {
	if q.Kill {
		return s.kill(ctx, q.Webhook)
	}
	return 0, s.replay(ctx, q.Webhook, q.ID, q.Now)
}

// listen answers the questions of others.
func (s *Store) listen() error {
	_, err := s.nc.Subscribe(s.names.ask(s.instance), func(m *nats.Msg) {
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.respond(m)
		}()
	})
	if err != nil {
		return fmt.Errorf("listening to other instances: %w", err)
	}
	return nil
}

func (s *Store) respond(m *nats.Msg) {
	var q question
	var a answer
	err := json.Unmarshal(m.Data, &q)
	if err == nil {
		err = s.enter(s.ctx)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(s.ctx, flightTime)
		a.N, err = s.answer(ctx, q)
		cancel()
		s.leave()
	}
	if err != nil {
		a.Problem = err.Error()
		for _, known := range problems {
			if errors.Is(err, known) {
				a.Problem = known.Error()
			}
		}
	}
	data, err := json.Marshal(a)
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		s.options.Logf("debug", fmt.Sprintf("answering another instance: %v", err))
	}
}

// names are those of what an installation has in NATS.
type names struct{ stream, log, part, snapshot, prefix string }

func newNames(prefix string) names {
	return names{stream: prefix, log: prefix + ".log", part: prefix + ".part", snapshot: prefix + ".snapshot", prefix: prefix}
}

func (n names) ask(instance uuid.UUID) string { return n.prefix + ".ask." + instance.String() }
