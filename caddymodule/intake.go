package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/journal"
	"github.com/bentihooks/bentihooks/store"
)

const (
	// maxInMemory is how many events are kept in memory while neither the store nor the reserve takes them.
	maxInMemory = 10_000
	// keepTimeout is how long a request waits for the store, and then for the reserve. Whether they have its
	// event is then unknown, so it is enqueued again later, under the same delivery ids.
	keepTimeout = 10 * time.Second
	// maxEnqueue is how many deliveries of several events are stored in one step. One event makes as many as
	// a project has webhooks, which the store takes.
	maxEnqueue = maxWebhooks
	// drainBatch is how many events are moved into the store at once.
	drainBatch = 200
)

var (
	// errBehind is why an event goes to the reserve though the store did not refuse it.
	errBehind = errors.New("store is not open, or earlier events still wait for it")
	// errNoReserve is why an event goes to memory though the reserve did not refuse it.
	errNoReserve = errors.New("reserve is not open")
)

// intake keeps the events that the store does not take: in the reserve, which is as durable, and when that
// is full, in memory. While anything is kept, all events go the same way, and the store gets them in turn.
type intake struct {
	mu       sync.Mutex
	reserve  *journal.Reserve // nil while it cannot be opened
	memory   []event          // oldest first
	later    later            // events on their way in the background
	degraded bool             // events have been kept out of the store since it was last told to the log
}

// healthy reports whether events go straight into the store.
func (c *core) healthy() bool {
	if c.opened.Load() == nil {
		return false
	}
	c.intake.mu.Lock()
	defer c.intake.mu.Unlock()
	return len(c.intake.memory) == 0 && (c.intake.reserve == nil || c.intake.reserve.Len() == 0)
}

// wanted reports whether a webhook of the project wants the item. Before the store has been opened nobody
// knows, so everything is.
func (c *core) wanted(project, item string) bool {
	directory := c.directory.Load()
	return directory == nil || directory.Wanted(project, item)
}

// derived takes note of events that are about to be kept.
func (c *core) derived(events []event) {
	n := int64(len(events))
	c.ledger.keeping.Add(n)
	c.ledger.derived.Add(n)
	for i := range events {
		c.metrics.events.WithLabelValues(events[i].Item, events[i].Action).Inc()
	}
	c.history.captured(time.Now(), len(events))
}

// keep returns once the events, which derived has been told of, are on stable storage, or, if neither store nor reserve
// takes them, in memory.
func (c *core) keep(events []event) {
	defer c.ledger.keeping.Add(-int64(len(events)))
	err := errBehind
	if c.healthy() {
		if err = c.enqueue(context.Background(), events...); err == nil {
			c.ledger.stored.Add(int64(len(events)))
			c.endNotes(events)
			return
		}
		c.metrics.storeErrors.Inc()
	}
	c.sayDegraded(err)
	var work sync.WaitGroup // the reserve flushes once for those that come together
	for _, ev := range events[1:] {
		work.Go(func() { c.keepAside(ev) })
	}
	c.keepAside(events[0])
	work.Wait()
}

// keepAside keeps an event out of the store.
func (c *core) keepAside(ev event) {
	ev.waited = true
	err := c.keepInReserve(ev)
	if err == nil {
		c.endNote(&ev)
		return
	}
	c.intake.mu.Lock()
	full := len(c.intake.memory) >= maxInMemory
	if !full {
		c.intake.memory = append(c.intake.memory, ev)
	}
	c.intake.mu.Unlock()
	if full {
		c.lose(ev, "neither store nor reserve takes it, and the memory for events is full", err)
		c.endNote(&ev) // what became of it is known, and its slot is needed for requests to come
	}
}

// endNotes ends the notes of the requests that the events came of, but those with other events not kept yet.
func (c *core) endNotes(events []event) {
	for i := range events {
		c.endNote(&events[i])
	}
}

func (c *core) endNote(ev *event) {
	if ev.unkept == nil || ev.unkept.Add(-1) == 0 {
		c.inFlight.end(ev.token)
	}
}

// sayDegraded logs once that events do not go straight into the store any more.
func (c *core) sayDegraded(err error) {
	c.intake.mu.Lock()
	first := !c.intake.degraded
	c.intake.degraded = true
	c.intake.mu.Unlock()
	if first {
		c.logger().Error("store does not take events; they go to the reserve until it does", zap.String("store", c.identity), zap.Error(err))
	}
}

// enqueue stores the deliveries of events: those of one event all or none, the events in turn until an error.
func (c *core) enqueue(ctx context.Context, events ...event) error {
	e := c.opened.Load()
	if e == nil {
		return errBehind
	}
	if low, err := c.spaceLow(); low {
		return err
	}
	var deliveries []store.Delivery
	for i := range events {
		next := events[i].deliveries(e.store.Directory())
		if len(deliveries)+len(next) > maxEnqueue {
			if err := c.enqueueDeliveries(ctx, e, deliveries); err != nil {
				return err
			}
			deliveries = nil
		}
		deliveries = append(deliveries, next...)
	}
	return c.enqueueDeliveries(ctx, e, deliveries)
}

func (c *core) enqueueDeliveries(ctx context.Context, e *engine, deliveries []store.Delivery) error {
	if len(deliveries) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	start := time.Now()
	if err := e.store.Enqueue(ctx, deliveries...); err != nil {
		return fmt.Errorf("enqueueing: %w", err)
	}
	c.metrics.storeWrite.Observe(time.Since(start).Seconds())
	return nil
}

// keepInReserve does not wait for ever for a disk that hangs.
func (c *core) keepInReserve(ev event) error {
	c.intake.mu.Lock()
	reserve := c.intake.reserve
	c.intake.mu.Unlock()
	if reserve == nil {
		return errNoReserve
	}
	record, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encoding event: %w", err)
	}
	var late atomic.Bool
	done := make(chan error, 1)
	go func() {
		err := reserve.Append(record)
		if !late.CompareAndSwap(false, true) && err == nil {
			c.ledger.twice.Add(1)
		}
		done <- err
	}()
	timer := time.NewTimer(keepTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		if !late.CompareAndSwap(false, true) {
			return <-done
		}
		return fmt.Errorf("writing to the reserve: %w", context.DeadlineExceeded)
	}
}

// drain moves what was kept into the store, as long as the store takes it.
func (c *core) drain(ctx context.Context) error {
	if c.healthy() {
		c.intake.mu.Lock()
		c.intake.degraded = false
		c.intake.mu.Unlock()
		return nil
	}
	fromReserve, err := c.drainReserve(ctx)
	if err != nil {
		return err
	}
	fromMemory, err := c.drainMemory(ctx)
	if err != nil {
		return err
	}
	if c.healthy() {
		c.logger().Info("store takes events again", zap.String("store", c.identity), zap.Int("from_reserve", fromReserve), zap.Int("from_memory", fromMemory))
	}
	return nil
}

func (c *core) drainReserve(ctx context.Context) (int, error) {
	c.intake.mu.Lock()
	reserve := c.intake.reserve
	c.intake.mu.Unlock()
	if reserve == nil || reserve.Len() == 0 {
		return 0, nil
	}
	drained := 0
	err := reserve.Drain(func(records [][]byte) error {
		events := make([]event, 0, len(records))
		unreadable := 0
		for _, record := range records {
			var ev event
			if err := json.Unmarshal(record, &ev); err != nil {
				c.logger().Error("reading an event from the reserve; it is left out", zap.Error(err), zap.ByteString("record", record))
				unreadable++
				continue
			}
			ev.waited = true
			events = append(events, ev)
		}
		if err := c.enqueue(ctx, events...); err != nil {
			return err
		}
		c.ledger.stored.Add(int64(len(events)))
		c.ledger.lost.Add(int64(unreadable))
		c.metrics.lost.Add(float64(unreadable))
		drained += len(events)
		return nil
	})
	return drained, err
}

func (c *core) drainMemory(ctx context.Context) (int, error) {
	drained := 0
	for {
		c.intake.mu.Lock()
		batch := c.intake.memory[:min(len(c.intake.memory), drainBatch)]
		c.intake.mu.Unlock()
		if len(batch) == 0 {
			return drained, nil
		}
		if err := c.enqueue(ctx, batch...); err != nil {
			return drained, err
		}
		c.ledger.stored.Add(int64(len(batch)))
		c.endNotes(batch)
		drained += len(batch)
		c.intake.mu.Lock()
		c.intake.memory = slices.Clone(c.intake.memory[len(batch):])
		c.intake.mu.Unlock()
	}
}

// secure moves up to n events from memory to the reserve, which may have been opened only after they came, or hung then.
// Only one goroutine may call it or drain.
func (c *core) secure(n int) {
	for range n {
		c.intake.mu.Lock()
		if len(c.intake.memory) == 0 || c.intake.reserve == nil {
			c.intake.mu.Unlock()
			return
		}
		ev := c.intake.memory[0]
		c.intake.mu.Unlock()
		if c.keepInReserve(ev) != nil {
			return
		}
		c.endNote(&ev)
		c.intake.mu.Lock()
		c.intake.memory = c.intake.memory[1:]
		c.intake.mu.Unlock()
	}
}

// giveUp tells of what is still in memory when the core closes. Its notes of requests in flight stay, so
// that the next start lists them as in doubt.
func (c *core) giveUp() {
	for _, ev := range c.intake.memory {
		c.lose(ev, "the server stopped before anything took it", nil)
	}
	c.intake.memory = nil
}

func (c *core) lose(ev event, reason string, err error) {
	c.metrics.lost.Inc()
	c.ledger.lost.Add(1)
	c.logger().Error("event lost", zap.String("reason", reason), zap.String("project", ev.Project),
		zap.Time("at", ev.At), zap.ByteString("payload", ev.Payload), zap.Error(err))
}
