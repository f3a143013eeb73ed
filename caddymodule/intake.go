package caddymodule

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/store"
)

const (
	// maxInMemory is how many events are kept in memory while the store fails.
	maxInMemory = 10_000
	// enqueueTimeout is how long a request waits for the store before its event is kept in memory. Whether
	// the store has it is then unknown, so it is enqueued again later, under the same delivery ids.
	enqueueTimeout = 10 * time.Second
	// drainBatch is how many events are moved from memory into the store at once.
	drainBatch = 200
)

// errBehind is why an event is kept in memory though the store did not refuse it.
var errBehind = errors.New("store is not open, or earlier events still wait for it")

// event is a captured event on its way into the store.
type event struct {
	id          uuid.UUID // UUIDv7
	project     string
	item        string
	action      string
	payload     []byte
	traceParent string
	at          time.Time
}

// intake keeps the events that the store does not take. The zero value is ready.
type intake struct {
	mu     sync.Mutex
	events []event // oldest first
}

// healthy reports whether events go straight into the store.
func (c *core) healthy() bool {
	c.intake.mu.Lock()
	defer c.intake.mu.Unlock()
	return c.opened.Load() != nil && len(c.intake.events) == 0
}

// wanted reports whether a webhook of the project wants the item. While the store has not been opened
// nobody knows, so everything is.
func (c *core) wanted(project, item string) bool {
	e := c.opened.Load()
	return e == nil || e.store.Directory().Wanted(project, item)
}

// keep returns once the event is on stable storage, or, if the store does not take it, in memory.
func (c *core) keep(ev event) {
	c.metrics.events.WithLabelValues(ev.item, ev.action).Inc()
	err := errBehind
	if c.healthy() {
		if err = c.enqueue(context.Background(), ev); err == nil {
			return
		}
		c.metrics.storeErrors.Inc()
	}
	c.intake.mu.Lock()
	first, full := len(c.intake.events) == 0, len(c.intake.events) >= maxInMemory
	if !full {
		c.intake.events = append(c.intake.events, ev)
	}
	c.intake.mu.Unlock()
	if full {
		c.lose(ev, "the memory for events is full")
		return
	}
	if first {
		c.logger().Error("store does not take events; they are kept in memory until it does", zap.String("store", c.identity), zap.Error(err))
	}
}

// enqueue stores the deliveries of events, all or none.
func (c *core) enqueue(ctx context.Context, events ...event) error {
	e := c.opened.Load()
	if e == nil {
		return errBehind
	}
	var deliveries []store.Delivery
	for i := range events {
		deliveries = append(deliveries, events[i].deliveries(e.store.Directory())...)
	}
	if len(deliveries) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	start := time.Now()
	if err := e.store.Enqueue(ctx, deliveries...); err != nil {
		return fmt.Errorf("enqueueing: %w", err)
	}
	c.metrics.storeWrite.Observe(time.Since(start).Seconds())
	return nil
}

// drain moves what is in memory into the store, as long as the store takes it.
func (c *core) drain(ctx context.Context) {
	drained := 0
	for {
		c.intake.mu.Lock()
		batch := c.intake.events[:min(len(c.intake.events), drainBatch)]
		c.intake.mu.Unlock()
		if len(batch) == 0 {
			break
		}
		if err := c.enqueue(ctx, batch...); err != nil {
			return
		}
		drained += len(batch)
		c.intake.mu.Lock()
		c.intake.events = slices.Clone(c.intake.events[len(batch):])
		c.intake.mu.Unlock()
	}
	if drained > 0 {
		c.logger().Info("store takes events again", zap.String("store", c.identity), zap.Int("from_memory", drained))
	}
}

// giveUp counts what is still in memory when the core closes.
func (c *core) giveUp() {
	for _, ev := range c.intake.events {
		c.lose(ev, "the server stopped before the store took it")
	}
	c.intake.events = nil
}

func (c *core) lose(ev event, reason string) {
	c.metrics.lost.Inc()
	c.logger().Error("event lost", zap.String("reason", reason), zap.String("project", ev.project),
		zap.Time("at", ev.at), zap.ByteString("payload", ev.payload))
}

// deliveries makes one delivery for each webhook that wanted the event when it was captured.
func (ev *event) deliveries(directory *store.Directory) []store.Delivery {
	var ds []store.Delivery
	for _, w := range directory.Wanting(ev.project, ev.item) {
		if w.CreatedAt.After(ev.at) {
			continue
		}
		ds = append(ds, store.Delivery{
			ID: deliveryID(ev.id, w.ID), Webhook: w.ID, Project: ev.project, Item: ev.item, Action: ev.action,
			Payload: ev.payload, TraceParent: ev.traceParent, State: store.Pending, CreatedAt: ev.at, Due: ev.at,
		})
	}
	return ds
}

// deliveryID gives the delivery of an event to a webhook its id: a UUIDv7 with the time of the event's,
// and the same whenever it is asked for, so that an event whose fate in the store is unknown can be
// enqueued again.
func deliveryID(event uuid.UUID, webhook string) string {
	sum := sha256.Sum256(append(event[:], webhook...))
	id := event
	copy(id[8:], sum[:8])
	id[8] = id[8]&0x3f | 0x80 // RFC 9562 variant
	return id.String()
}
