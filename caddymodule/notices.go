package caddymodule

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
)

// The Caddy events that operators can act on with the global option events.
const (
	webhookFailing  = "benti.webhook_failing"
	webhookDisabled = "benti.webhook_disabled"
	deliveryDead    = "benti.delivery_dead"
	storeChanged    = "benti.store_state"
)

const (
	// maxNotices is how many notices wait for the handlers of those before. More are dropped, and counted.
	maxNotices = 1000
	// noticePatience is how long the end of a core waits for a handler that is at work.
	noticePatience = 5 * time.Second
)

// notice is an event for Caddy's events app.
type notice struct {
	name string
	data map[string]any
}

// notices are emitted one after the other by a goroutine of their own, as handlers run for as long as they like.
type notices struct {
	queue   chan notice
	dropped atomic.Uint64
	done    chan struct{} // closed when the goroutine has ended
}

func newNotices() notices {
	return notices{queue: make(chan notice, maxNotices), done: make(chan struct{})}
}

// notify has an event emitted soon. It does not block.
func (c *core) notify(name string, data map[string]any) {
	select {
	case c.notices.queue <- notice{name, data}:
	default:
		c.notices.dropped.Add(1)
	}
}

// announce emits what comes until ctx ends. What waits then is dropped: no configuration is left to tell it to.
func (c *core) announce(ctx context.Context) {
	defer close(c.notices.done)
	for {
		select {
		case n := <-c.notices.queue:
			c.emit(ctx, n)
		case <-ctx.Done():
			return
		}
		if n := c.notices.dropped.Swap(0); n > 0 {
			c.logger().Warn("events were dropped, as their handlers are slow; the log has all that they told", zap.Uint64("count", n))
		}
	}
}

// emit hands an event to the events app of the configuration that rules. Subscriptions are complete, and may be
// read, once all apps have started.
func (c *core) emit(ctx context.Context, n notice) {
	defer func() {
		if p := recover(); p != nil { // else the bug of a handler would end the server
			c.logger().Error("handler of an event panicked", zap.String("event", n.name), zap.Any("panic", p))
		}
	}()
	for {
		a := c.settings.Load()
		select {
		case <-ctx.Done():
			return
		case <-a.ctx.Done():
			if c.settings.Load() == a {
				return // nobody is left to tell
			}
			continue
		case <-a.started:
		}
		if a.ctx.Err() == nil && a.events.ShouldEmit(n.name) {
			a.events.Emit(a.ctx, n.name, n.data)
		}
		return
	}
}

// awaitNotices waits for the handler that is at work, but not for good.
func (c *core) awaitNotices() {
	timer := time.NewTimer(noticePatience)
	defer timer.Stop()
	select {
	case <-c.notices.done:
	case <-timer.C:
		c.logger().Warn("a handler of an event is still at work; it is left to itself")
	}
}

// notifyAttempt tells of what an attempt brought to an end.
func (c *core) notifyAttempt(r *emitter.Report) {
	if r.StatusChange == "" && r.State != store.Dead {
		return
	}
	data := func() map[string]any {
		return map[string]any{
			"webhook": r.Delivery.Webhook, "project": r.Delivery.Project, "host": r.URL, "item": r.Delivery.Item,
			"error": r.Attempt.Error,
		}
	}
	switch r.StatusChange {
	case store.Failing:
		c.notify(webhookFailing, data())
	case store.Gone:
		gone := data()
		gone["status"] = string(store.Gone)
		c.notify(webhookDisabled, gone)
	}
	if r.State == store.Dead && !r.Delivery.Ping {
		dead := data()
		dead["delivery"], dead["attempts"] = r.Delivery.ID, r.Attempt.N
		c.notify(deliveryDead, dead)
	}
}

// notifyDisabled tells of a webhook that an operator switched off.
func (c *core) notifyDisabled(w *store.Webhook) {
	c.notify(webhookDisabled, map[string]any{
		"webhook": w.ID, "project": w.Project, "host": w.Host(), "item": w.Item, "status": string(w.Status), "error": "",
	})
}

// provisionEvents gets the events app and learns from it when all apps have started.
func (a *App) provisionEvents(ctx caddy.Context) error {
	module, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	a.events = module.(*caddyevents.App)
	a.started = make(chan struct{})
	return a.events.On("started", &startedHandler{started: a.started})
}

// startedHandler closes a channel at the first event "started".
type startedHandler struct {
	once    sync.Once
	started chan struct{}
}

// Handle implements caddyevents.Handler.
func (h *startedHandler) Handle(context.Context, caddy.Event) error {
	h.once.Do(func() { close(h.started) })
	return nil
}

var _ caddyevents.Handler = (*startedHandler)(nil)
