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
	// tendInterval is how often a core looks at free space and after what failed.
	tendInterval = 100 * time.Millisecond
	// pruneInterval is how often deliveries past their retention are erased.
	pruneInterval = 10 * time.Minute
	// minReopenWait and maxReopenWait bound the growing wait between tries to open a store.
	minReopenWait = time.Second
	maxReopenWait = 30 * time.Second
	// maxFailedDrains is how often in a row an open store may refuse what was kept before it is closed and
	// opened again: after some errors a database does not recover while it is open.
	maxFailedDrains = 20
	// roomTrust is how long a look at the free space counts.
	roomTrust = 5 * time.Millisecond
	// closeTimeout is how long closing a store may take before it is left to itself.
	closeTimeout = 30 * time.Second
	// startPatience is how long the start of a configuration waits for the store to open.
	startPatience = 2 * time.Second
)

// core is an open store with its emitter, shared by all configurations that use the store.
type core struct {
	identity  string
	born      time.Time
	metrics   *metrics
	history   *history
	settings  atomic.Pointer[App]             // the configuration that rules: the newest that has started
	opened    atomic.Pointer[engine]          // nil while the store is not open
	directory atomic.Pointer[store.Directory] // the store's, also while it is closed again; nil before it was ever open
	state     atomic.Pointer[storeState]
	intake    intake
	ledger    ledger
	inFlight  inFlight
	// handshakes are counted here, so that sites and configurations share their bounds.
	handshakes handshakes
	tracing    tracing
	notices    notices
	roomUntil  atomic.Int64 // nanoseconds after born, until when the disk is not asked for its free space again

	mu     sync.Mutex
	apps   []*App        // started, the newest last; guarded by mu
	closed chan struct{} // closed when the latest close of the store has ended; guarded by mu

	renewed atomic.Bool        // a configuration has come since opening was last tried
	cancel  context.CancelFunc // ends tend
	tending sync.WaitGroup
	turn    *turn         // nil if it did not come
	began   chan struct{} // closed when tend has waited for its turn
	noting  chan struct{} // closed when opening the files beside the store has been tried for the first time
	tried   chan struct{} // closed when opening has been tried for the first time
	// The following are used by tend alone.
	reopen          reopening
	journalsFailure string // why the files beside the store could not be opened, as was logged
	taken           error  // tells that another process has those files, so that the store must not be opened
}

// engine is what there is while the store is open.
type engine struct {
	store   store.Store
	emitter *emitter.Emitter
	place   string // where it was opened
}

// storeState tells operators how the store fares.
type storeState struct {
	Name   string    `json:"name"` // open, low_space or failed
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

const (
	stateOpen     = "open"
	stateLowSpace = "low_space"
	stateFailed   = "failed"
)

// reopening paces tries to open the store.
type reopening struct {
	at           time.Time
	wait         time.Duration
	failedDrains int
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
	c := &core{
		identity: a.provider.Identity(), born: time.Now(), metrics: newMetrics(), history: newHistory(), notices: newNotices(),
		tried: make(chan struct{}), began: make(chan struct{}), noting: make(chan struct{}),
	}
	c.metrics.core = c
	c.settings.Store(a)
	c.state.Store(&storeState{Name: stateFailed, Since: time.Now()})
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.tending.Go(func() { c.tend(ctx) })
	go c.announce(ctx)
	return c
}

func (c *core) logger() *zap.Logger { return c.settings.Load().logger }

// idle reports whether no configuration uses the core any more.
func (c *core) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.apps) == 0
}

func (c *core) awaitFirstTry(patience time.Duration) {
	<-c.began
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.tried:
	case <-timer.C:
	}
}

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
	c.awaitNotices()
	if err := c.drain(context.Background()); err != nil {
		c.logger().Warn("what the store does not take stays in the reserve", zap.Error(err))
	}
	c.secure(maxInMemory)
	c.giveUp()
	defer c.turn.end()
	return errors.Join(c.closeStore(), c.closeJournals())
}

// join makes a the configuration that rules, and sees to it that deliveries are made.
func (c *core) join(a *App) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apps = append(c.apps, a)
	c.settings.Store(a)
	c.renewed.Store(true)
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
	config.Trace = c.tracing.start
	config.StoreError = func(err error) {
		c.metrics.storeErrors.Inc()
		c.logger().Error("using store; tried again", zap.String("store", c.identity), zap.Error(err))
	}
	config.Buried = func(webhook string, deliveries int) {
		c.logger().Error("deliveries are dead, as their receiver is gone", zap.String("webhook", webhook), zap.Int("count", deliveries))
	}
	return config
}

// tend opens the store when it can be opened, closes it when the disk runs full, gives it what had to be
// kept elsewhere, prunes, and erases former secrets.
func (c *core) tend(ctx context.Context) {
	c.turn = takeTurn(ctx, c.identity)
	close(c.began)
	c.openJournals()
	close(c.noting)
	c.tryOpen(time.Now())
	close(c.tried)
	ticker := time.NewTicker(tendInterval)
	defer ticker.Stop()
	var pruneAt, eraseAt time.Time
	journalsAt := time.Now().Add(minReopenWait)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		c.guardSpace()
		c.guardBroken()
		c.guardPlace()
		if now.After(journalsAt) {
			journalsAt = now.Add(minReopenWait)
			c.openJournals()
			c.secure(drainBatch)
		}
		if c.renewed.Swap(false) { // perhaps with what was missing
			c.reopen = reopening{}
		}
		if c.opened.Load() == nil && !now.Before(c.reopen.at) {
			c.tryOpen(now)
		}
		if c.opened.Load() == nil {
			continue
		}
		c.tendDrain(ctx)
		if e := c.opened.Load(); e != nil && now.After(pruneAt) {
			pruneAt = now.Add(pruneInterval)
			c.prune(ctx, e, now)
		}
		if e := c.opened.Load(); e != nil && now.After(eraseAt) {
			eraseAt = now.Add(eraseInterval)
			c.eraseSecrets(ctx, e, now)
		}
	}
}

// tendDrain gives up on a store that stays open but takes nothing.
func (c *core) tendDrain(ctx context.Context) {
	err := c.drain(ctx)
	if err == nil || ctx.Err() != nil {
		c.reopen.failedDrains = 0
		return
	}
	c.metrics.storeErrors.Inc()
	if c.reopen.failedDrains++; c.reopen.failedDrains >= maxFailedDrains {
		c.reopen.failedDrains = 0
		c.suspend(stateFailed, err)
	}
}

func (c *core) prune(ctx context.Context, e *engine, now time.Time) {
	ctx, stop := c.whileRoom(ctx)
	defer stop()
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
	c.history.attempted(time.Now(), &r)
	logger := c.logger()
	if r.Err != nil {
		c.metrics.storeErrors.Inc()
		logger.Error("storing the outcome of an attempt", append(attemptFields(&r), zap.Error(r.Err))...)
	}
	if r.StatusChange != "" {
		logger.Warn("webhook changed its status", zap.String("webhook", r.Delivery.Webhook), zap.String("status", string(r.StatusChange)))
	}
	c.notifyAttempt(&r)
	switch r.State {
	case store.Delivered:
		if entry := logger.Check(zap.DebugLevel, "delivered"); entry != nil {
			entry.Write(attemptFields(&r)...)
		}
	case store.Dead:
		fields := append(attemptFields(&r), zap.String("error", r.Attempt.Error))
		logger.Warn("attempt failed", fields...)
		logger.Error("delivery is dead", fields...)
	default:
		logger.Warn("attempt failed", append(attemptFields(&r), zap.String("error", r.Attempt.Error), zap.Time("next_attempt_at", r.Due))...)
	}
}

func attemptFields(r *emitter.Report) []zap.Field {
	fields := []zap.Field{
		zap.String("delivery", r.Delivery.ID), zap.String("webhook", r.Delivery.Webhook), zap.String("host", r.URL),
		zap.String("item", r.Delivery.Item), zap.Int("attempt", r.Attempt.N), zap.String("result", r.Class),
		zap.Int("status", r.Attempt.Status), zap.Duration("duration", r.Attempt.Duration),
	}
	if r.Size > 1 {
		fields = append(fields, zap.String("batch", r.Batch), zap.Int("batch_size", r.Size))
	}
	return fields
}
