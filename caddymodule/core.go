package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
)

// cores holds the running cores by the identity of their store. Configurations hold a core from Start to
// Cleanup, requests from before they are forwarded to their end, which may be after the Cleanup of their
// configuration. So a core closes only when nobody can need it any more, and a configuration that comes
// meanwhile gets the one that is still open.
var cores = caddy.NewUsagePool()

const (
	// tendInterval is how often a core looks after what failed.
	tendInterval = 500 * time.Millisecond
	// pruneInterval is how often deliveries past their retention are erased.
	pruneInterval = 10 * time.Minute
	// maxReopenWait bounds the growing wait between tries to open a store.
	maxReopenWait = 30 * time.Second
)

// core is an open store with its emitter, shared by all configurations that use the store.
type core struct {
	identity string
	metrics  *metrics
	settings atomic.Pointer[App]    // the configuration that rules: the newest that has started
	opened   atomic.Pointer[engine] // nil until the store could be opened
	intake   intake

	mu   sync.Mutex
	apps []*App // started, the newest last; guarded by mu

	cancel  context.CancelFunc // ends tend
	tending sync.WaitGroup
}

// engine is what there is once the store is open.
type engine struct {
	store   store.Store
	emitter *emitter.Emitter
}

func holdCore(a *App) (*core, error) {
	value, _, err := cores.LoadOrNew(a.provider.Identity(), func() (caddy.Destructor, error) {
		return newCore(a), nil
	})
	if err != nil {
		return nil, fmt.Errorf("holding store %s: %w", a.provider.Identity(), err)
	}
	return value.(*core), nil
}

func newCore(a *App) *core {
	c := &core{identity: a.provider.Identity(), metrics: newMetrics()}
	c.metrics.core = c
	c.settings.Store(a)
	if err := c.open(); err != nil {
		c.logger().Error("store cannot be opened; traffic goes on, events are kept in memory, and opening is tried again",
			zap.String("store", c.identity), zap.Error(err))
		c.metrics.storeErrors.Inc()
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.tending.Go(func() { c.tend(ctx) })
	return c
}

func (c *core) logger() *zap.Logger { return c.settings.Load().logger }

// release gives back one hold. The last one closes the core.
func (c *core) release() error {
	_, err := cores.Delete(c.identity)
	return err
}

// releaseLogged is release where nobody could make anything of an error.
func (c *core) releaseLogged() {
	if err := c.release(); err != nil {
		c.logger().Error("closing store", zap.String("store", c.identity), zap.Error(err))
	}
}

// Destruct closes the core. The usage pool calls it when nobody holds the core any more.
func (c *core) Destruct() error {
	c.cancel()
	c.tending.Wait()
	e := c.opened.Load()
	if e == nil {
		c.giveUp()
		return nil
	}
	at, cancel := context.WithCancel(context.Background())
	cancel() // whoever left last has waited for the attempts in flight
	err := e.emitter.Stop(at)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	c.drain(context.Background())
	c.giveUp()
	return errors.Join(err, e.store.Close())
}

// join makes a the configuration that rules, and sees to it that deliveries are made.
func (c *core) join(a *App) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apps = append(c.apps, a)
	c.settings.Store(a)
	if e := c.opened.Load(); e != nil {
		e.emitter.Configure(c.emitterConfig(a))
		e.emitter.Start()
	}
}

// leave takes a out. The configuration before it rules again, as after a reload that failed; when there
// is none, no new attempt begins and those in flight are waited for until ctx ends. Leaving twice is
// leaving once.
func (c *core) leave(ctx context.Context, a *App) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.apps, a)
	if i < 0 {
		return
	}
	c.apps = slices.Delete(c.apps, i, i+1)
	e := c.opened.Load()
	if len(c.apps) > 0 {
		last := c.apps[len(c.apps)-1]
		if c.settings.Swap(last) != last && e != nil {
			e.emitter.Configure(c.emitterConfig(last))
		}
		return
	}
	if e == nil {
		return
	}
	if err := e.emitter.Stop(ctx); err != nil {
		c.logger().Warn("attempts still in flight at the end of the grace period were cancelled; their deliveries stay pending", zap.Error(err))
	}
}

func (c *core) emitterConfig(a *App) emitter.Config {
	config := a.emitter
	config.Report = c.report
	config.StoreError = func(err error) {
		c.metrics.storeErrors.Inc()
		c.logger().Error("using store; tried again", zap.String("store", c.identity), zap.Error(err))
	}
	return config
}

// open opens the store and starts the emitter if a configuration has started.
func (c *core) open() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.settings.Load()
	st, err := a.provider.Open(a.logger)
	if err != nil {
		return err
	}
	e := &engine{store: st, emitter: emitter.New(st, c.emitterConfig(a))}
	c.opened.Store(e)
	if len(c.apps) > 0 {
		e.emitter.Start()
	}
	return nil
}

// tend opens a store that could not be opened, stores what had to be kept in memory, and prunes.
func (c *core) tend(ctx context.Context) {
	ticker := time.NewTicker(tendInterval)
	defer ticker.Stop()
	reopenAt, wait := time.Now().Add(time.Second), time.Second
	var pruneAt time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		e := c.opened.Load()
		if e == nil {
			if now.Before(reopenAt) {
				continue
			}
			wait = min(2*wait, maxReopenWait)
			reopenAt = now.Add(wait)
			if e = c.reopen(); e == nil {
				continue
			}
		}
		c.drain(ctx)
		if now.After(pruneAt) {
			pruneAt = now.Add(pruneInterval)
			c.prune(ctx, e, now)
		}
	}
}

func (c *core) reopen() *engine {
	if err := c.open(); err != nil {
		c.metrics.storeErrors.Inc()
		c.logger().Error("store still cannot be opened", zap.String("store", c.identity), zap.Error(err))
		return nil
	}
	c.logger().Info("store opened", zap.String("store", c.identity))
	return c.opened.Load()
}

func (c *core) prune(ctx context.Context, e *engine, now time.Time) {
	n, err := e.store.Prune(ctx, now.Add(-time.Duration(c.settings.Load().Retention)))
	if err != nil && ctx.Err() == nil {
		c.metrics.storeErrors.Inc()
		c.logger().Error("erasing deliveries past their retention", zap.Error(err))
	}
	if n > 0 {
		c.logger().Debug("erased deliveries past their retention", zap.Int("count", n))
	}
}

// report takes note of an attempt.
func (c *core) report(r emitter.Report) {
	c.metrics.observeAttempt(r)
	logger := c.logger()
	fields := []zap.Field{
		zap.String("delivery", r.Delivery.ID), zap.String("webhook", r.Delivery.Webhook), zap.String("host", r.URL),
		zap.String("item", r.Delivery.Item), zap.Int("attempt", r.Attempt.N), zap.String("result", r.Class),
		zap.Int("status", r.Attempt.Status), zap.Duration("duration", r.Attempt.Duration),
	}
	if r.Err != nil {
		c.metrics.storeErrors.Inc()
		logger.Error("storing the outcome of an attempt", append(fields, zap.Error(r.Err))...)
	}
	if r.StatusChange != "" {
		logger.Warn("webhook changed its status", zap.String("webhook", r.Delivery.Webhook), zap.String("status", string(r.StatusChange)))
	}
	switch r.State {
	case store.Delivered:
		logger.Debug("delivered", fields...)
	case store.Dead:
		logger.Error("delivery is dead", append(fields, zap.String("error", r.Attempt.Error))...)
	default:
		logger.Warn("attempt failed", append(fields, zap.String("error", r.Attempt.Error), zap.Time("next_attempt_at", r.Due))...)
	}
}
