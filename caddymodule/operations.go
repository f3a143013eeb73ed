package caddymodule

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/matcher"
	"github.com/bentihooks/bentihooks/store"
)

// What operators do, by the admin endpoint and the dashboard. Ids are looked for in the store of one core, whatever the
// project. All return store.ErrClosed while the store is not open.

const (
	// replayTime is how long one step of a replay of many takes, about.
	replayTime = 2 * time.Second
	// replayAtOnce is how many are replayed at a time, so that they share the store's commits.
	replayAtOnce = 1024
	// replayPage is how many are looked for at a time. Each may be as large as body_limit.
	replayPage = 100
)

// anyFinal is the state that replays both delivered and dead deliveries.
const anyFinal store.State = "any"

func (c *core) engine() (*engine, error) {
	if e := c.opened.Load(); e != nil {
		return e, nil
	}
	return nil, store.ErrClosed
}

// findDelivery finds a delivery by its id alone. ErrNotFound.
func (c *core) findDelivery(ctx context.Context, id string) (store.Delivery, error) {
	e, err := c.engine()
	if err != nil {
		return store.Delivery{}, err
	}
	if uuid.Validate(id) != nil {
		return store.Delivery{}, store.ErrNotFound
	}
	return e.store.Get(ctx, "", id)
}

func (e *engine) webhook(id string) (*store.Webhook, error) {
	if w := e.store.Directory().Get(id); w != nil {
		return w, nil
	}
	return nil, store.ErrNotFound
}

// replayDelivery makes one delivery due now, whatever its state. One of a webhook that gets none is a conflict.
func (c *core) replayDelivery(ctx context.Context, id string) error {
	e, err := c.engine()
	if err != nil {
		return err
	}
	d, err := c.findDelivery(ctx, id)
	if err != nil {
		return err
	}
	w, err := e.webhook(d.Webhook)
	if err != nil {
		return err
	}
	if err := attemptable(w); err != nil {
		return err
	}
	return e.store.Replay(ctx, d.Webhook, d.ID, time.Now())
}

// replayed is how far a replay of many has come.
type replayed struct {
	// Replayed and Skipped count the deliveries of this step; skipped are those of webhooks that get none.
	Replayed int `json:"replayed"`
	Skipped  int `json:"skipped"`
	// Next is the cursor of the next step, null after the last.
	Next *string `json:"next"`
}

// replayDeliveries makes what f chooses due now, one step of it. A state of anyFinal means delivered and dead ones. When the
// caller goes away it stops where it is; what it did is durable, and the same cursor can be given again.
func (c *core) replayDeliveries(ctx context.Context, f store.Filter, cursor string) (replayed, error) {
	e, err := c.engine()
	if err != nil {
		return replayed{}, err
	}
	if f.State == anyFinal {
		f.State = ""
	}
	r := &replaying{engine: e, state: f.State, slots: make(chan struct{}, replayAtOnce)}
	next := cursor
	for until := time.Now().Add(replayTime); ; {
		var ds []store.Delivery
		if ds, next, err = e.store.Find(ctx, f, next, replayPage); err != nil {
			break
		}
		for i := range ds {
			r.begin(ctx, store.Delivery{ID: ds[i].ID, Webhook: ds[i].Webhook, State: ds[i].State}) // not what makes it large
		}
		if next == "" || r.failed() || time.Now().After(until) {
			break
		}
	}
	done, failed := r.wait()
	if next != "" {
		done.Next = &next
	}
	return done, cmp.Or(err, failed)
}

// replaying is one step of a replay of many at work. The next page is looked for while those before are being stored.
type replaying struct {
	engine *engine
	state  store.State
	slots  chan struct{}
	wg     sync.WaitGroup

	mu   sync.Mutex
	done replayed
	err  error // the first one; guarded by mu, as is done
}

// begin waits until few enough are under way.
func (r *replaying) begin(ctx context.Context, d store.Delivery) {
	r.slots <- struct{}{}
	r.wg.Go(func() {
		defer func() { <-r.slots }()
		n, err := r.engine.replayChosen(ctx, &d, r.state)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.done.Replayed += n.Replayed
		r.done.Skipped += n.Skipped
		r.err = cmp.Or(r.err, err)
	})
}

func (r *replaying) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err != nil
}

// wait returns when all that was begun has ended.
func (r *replaying) wait() (replayed, error) {
	r.wg.Wait()
	return r.done, r.err
}

// replayChosen replays one of many.
func (e *engine) replayChosen(ctx context.Context, d *store.Delivery, state store.State) (replayed, error) {
	if state == "" && d.State != store.Delivered && d.State != store.Dead {
		return replayed{}, nil // on its way already
	}
	if w := e.store.Directory().Get(d.Webhook); w == nil || w.Off() {
		return replayed{Skipped: 1}, nil
	}
	err := e.store.Replay(ctx, d.Webhook, d.ID, time.Now())
	if errors.Is(err, store.ErrNotFound) { // pruned or deleted just now
		return replayed{Skipped: 1}, nil
	}
	if err != nil {
		return replayed{}, err
	}
	return replayed{Replayed: 1}, nil
}

// pingWebhook sends a test event, and returns the id of its delivery.
func (c *core) pingWebhook(ctx context.Context, id string) (string, error) {
	e, err := c.engine()
	if err != nil {
		return "", err
	}
	w, err := e.webhook(id)
	if err != nil {
		return "", err
	}
	return e.ping(ctx, w)
}

func (e *engine) ping(ctx context.Context, w *store.Webhook) (string, error) {
	if err := attemptable(w); err != nil {
		return "", err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	now := time.Now()
	payload, err := pingPayload(w, now)
	if err != nil {
		return "", err
	}
	err = e.store.Enqueue(ctx, store.Delivery{
		ID: id.String(), Webhook: w.ID, Project: w.Project, Item: pingName, Action: pingName,
		Payload: payload, Ping: true, State: store.Pending, CreatedAt: now, Due: now,
	})
	return id.String(), err
}

// pingPayload looks like the events that the webhook gets.
func pingPayload(w *store.Webhook, now time.Time) ([]byte, error) {
	if w.Instance() {
		return matcher.InstancePing(w.Project, now, rand.Reader)
	}
	ping := matcher.Event{Item: pingName, Action: pingName, Timestamp: now.Unix()}
	return ping.AppendJSON(nil), nil
}

// setEnabled switches a webhook off or on. While it is off it gets no new deliveries, and what is pending is held; switched
// on, it gets what was held at once. Switching on also brings back one that is gone; what its going made dead can then be
// replayed. One that is failing stays so. It returns the webhook as it is now.
func (c *core) setEnabled(ctx context.Context, id string, on bool) (store.Webhook, error) {
	e, err := c.engine()
	if err != nil {
		return store.Webhook{}, err
	}
	switchedOff := false
	w, err := e.store.UpdateWebhook(ctx, id, func(w *store.Webhook) error {
		switch {
		case on && w.Off():
			w.Status = store.Active
		case !on && w.Status != store.Disabled:
			w.Status, switchedOff = store.Disabled, true
		}
		return nil
	})
	if err == nil && on {
		e.emitter.Wake(id)
	}
	if err == nil && switchedOff {
		c.notifyDisabled(&w)
	}
	return w, err
}

// attemptable refuses to plan attempts that would not be made.
func attemptable(w *store.Webhook) error {
	switch w.Status {
	case store.Gone:
		return problem{Code: http.StatusConflict, Message: "the receiver said that it is gone; a PUT with its url revives the webhook"}
	case store.Disabled:
		return problem{Code: http.StatusConflict, Message: "the webhook is disabled"}
	case store.Active, store.Failing:
		return nil
	}
	return errors.New("unknown status " + string(w.Status))
}
