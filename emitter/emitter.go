package emitter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// Emitter takes due deliveries from a store and posts them until they arrive. All methods are safe for
// concurrent use.
type Emitter struct {
	st       store.Store
	clock    clock
	settings atomic.Pointer[settings]
	// newClient is NewClient; tests put another network behind it.
	newClient func(Config) *Client
	// wake holds at most one token: the schedule changed.
	wake chan struct{}

	lifecycle sync.Mutex // held through Start, Stop and Configure

	mu       sync.Mutex // never held while the store is called
	run      *run       // nil while stopped
	schedule *schedule
}

// settings are a configuration and the client made of it. An attempt takes both once, when it begins.
type settings struct {
	Config
	client *Client
}

// run is the time between a Start and a Stop.
type run struct {
	// stopping is closed when no new work is to be taken.
	stopping chan struct{}
	// ctx ends when attempts in flight have to be cut off.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// New makes an emitter for the deliveries of st. It starts nothing. c must be valid, see [Config.Validate]. The
// store's OnDue belongs to the emitter from [Emitter.Start] to [Emitter.Stop].
func New(st store.Store, c Config) *Emitter {
	c = c.withDefaults()
	e := &Emitter{st: st, newClient: NewClient, wake: make(chan struct{}, 1), schedule: newSchedule(c)}
	e.settings.Store(&settings{c, NewClient(c)})
	return e
}

// Client is the client of the current configuration, for handshakes. The one it returned before a Configure
// still works.
func (e *Emitter) Client() *Client { return e.settings.Load().client }

// Start begins to take work. It returns at once and does nothing if the emitter runs already. After a Stop the
// emitter can be started again.
func (e *Emitter) Start() {
	e.lifecycle.Lock()
	defer e.lifecycle.Unlock()
	r := &run{stopping: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())

	e.mu.Lock()
	if e.run != nil {
		e.mu.Unlock()
		r.cancel()
		return
	}
	e.run = r
	e.schedule = newSchedule(e.settings.Load().Config)
	e.mu.Unlock()

	// First the notes, then the look at what is there: nothing falls between.
	e.st.OnDue(e.note)
	for _, w := range e.st.Directory().All() {
		e.note(w.ID, time.Time{})
	}
	r.work.Go(func() { e.loop(r) })
}

// Configure replaces the configuration for the attempts that begin from now on. Those in flight end under the old
// one. c must be valid, see [Config.Validate].
func (e *Emitter) Configure(c Config) {
	e.lifecycle.Lock()
	defer e.lifecycle.Unlock()
	c = c.withDefaults()
	old := e.settings.Swap(&settings{c, e.newClient(c)})
	old.client.Close()
	e.mu.Lock()
	e.schedule.maxConcurrent, e.schedule.maxPerWebhook = c.MaxConcurrent, c.MaxPerWebhook
	e.mu.Unlock()
	e.rouse()
}

// Wake says that a webhook was created, revived, changed or deleted, and has it looked at again.
func (e *Emitter) Wake(webhook string) {
	if w := e.st.Directory().Get(webhook); w != nil && w.Status == store.Active {
		e.mu.Lock()
		if l := e.schedule.lanes[webhook]; l != nil {
			l.forgive()
		}
		e.mu.Unlock()
	}
	e.note(webhook, time.Time{})
}

// Stop takes no new work from now on and waits for the attempts in flight. When ctx ends first, they are cut
// off: their deliveries stay pending, no attempt is counted, and Stop returns the context's error. Either way
// all goroutines of the emitter are gone when it returns; it may take some seconds longer than ctx if the
// store hangs. Stop without Start does nothing.
func (e *Emitter) Stop(ctx context.Context) error {
	e.lifecycle.Lock()
	defer e.lifecycle.Unlock()
	e.mu.Lock()
	r := e.run
	e.run = nil
	e.mu.Unlock()
	if r == nil {
		return nil
	}
	e.st.OnDue(nil)
	close(r.stopping)
	stop := context.AfterFunc(ctx, r.cancel)
	r.work.Wait()
	r.cancel()
	e.Client().closeIdle()
	if !stop() {
		return fmt.Errorf("waiting for attempts in flight: %w", context.Cause(ctx))
	}
	return nil
}

// note has the lane of a webhook looked at when due is reached. It serves [store.Store.OnDue].
func (e *Emitter) note(webhook string, due time.Time) {
	status := store.Active
	if w := e.st.Directory().Get(webhook); w != nil {
		status = w.Status
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.run == nil {
		return
	}
	e.schedule.note(e.schedule.lane(webhook, status), due)
	e.rouse()
}

// rouse makes the scheduler look at the schedule.
func (e *Emitter) rouse() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// loop is the scheduler: it hands out turns until the run stops.
func (e *Emitter) loop(r *run) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	swept := time.Now()
	for {
		select {
		case <-r.stopping:
			return
		case <-e.wake:
		case <-timer.C:
		}
		if r.stopped() {
			return // the other two may have been ready as well
		}
		if now := time.Now(); now.Sub(swept) >= maxSleep {
			swept = now
			e.mu.Lock()
			e.schedule.sweep(func(webhook string) bool { return e.st.Directory().Get(webhook) != nil })
			e.mu.Unlock()
		}
		timer.Reset(e.handOut(r))
	}
}

// handOut begins every turn that can be had and tells how long to sleep.
func (e *Emitter) handOut(r *run) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		now := e.clock.now()
		l, n := e.schedule.turn(now)
		if l == nil {
			return e.schedule.sleep(now)
		}
		r.work.Go(func() { e.turn(r, l, n) })
	}
}

// give returns n slots of l.
func (e *Emitter) give(l *lane, n int) {
	if n == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.schedule.give(l, n)
	e.rouse()
}

const (
	// minPause and maxPause bound the growing waits between calls on a store that is in trouble.
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
	// storeTimeout bounds a call that writes, so that a store that hangs cannot hold up a Stop for good.
	storeTimeout = 10 * time.Second
)

func (r *run) stopped() bool {
	select {
	case <-r.stopping:
		return true
	default:
		return false
	}
}

// pause waits for d and reports true, or false at once when the run is stopping already. A stop that comes
// meanwhile cuts the wait short: one more try is then left.
func (r *run) pause(d time.Duration) bool {
	if r.stopped() {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.stopping:
	}
	return true
}

// persist repeats a call on the store until it succeeds, the store gives a final answer, or the run stops.
// Not even a cut off run cancels the call itself: its outcome would be unknown for nothing.
func (e *Emitter) persist(r *run, call func(context.Context) error) error {
	for wait := minPause; ; wait = min(2*wait, maxPause) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), storeTimeout)
		err := call(ctx)
		cancel()
		if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || errors.Is(err, errUnchanged) {
			return err
		}
		e.complain(err)
		if !r.pause(wait) {
			return err
		}
	}
}

func (e *Emitter) complain(err error) {
	if f := e.settings.Load().StoreError; f != nil {
		f(err)
	}
}
