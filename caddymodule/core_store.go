package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/emitter"
)

// tryOpen opens the store, unless the disk is too full for it, and starts the emitter if a configuration
// has started. On failure the next try is put off. Only one goroutine may call it.
func (c *core) tryOpen(now time.Time) {
	err := c.open()
	if err == nil {
		c.reopen.wait = 0
		c.enter(stateOpen, nil)
		return
	}
	c.reopen.wait = min(max(2*c.reopen.wait, minReopenWait), maxReopenWait)
	if low := new(lowSpaceError); errors.As(err, &low) {
		c.reopen.wait = minReopenWait // looking costs nothing
		c.reopen.at = now.Add(c.reopen.wait)
		c.enter(stateLowSpace, err)
		return
	}
	c.reopen.at = now.Add(c.reopen.wait)
	c.metrics.storeErrors.Inc()
	c.enter(stateFailed, err)
}

// enter notes a state of the store, and logs it when it is new.
func (c *core) enter(name string, err error) {
	next := &storeState{Name: name, Since: time.Now()}
	if err != nil {
		next.Reason = err.Error()
	}
	former := c.state.Load()
	if former.Name == next.Name && former.Reason == next.Reason {
		return
	}
	if former.Name == next.Name {
		next.Since = former.Since
	}
	c.state.Store(next)
	first := former.Name == stateFailed && former.Reason == ""
	if former.Name != next.Name && !first || first && next.Name != stateOpen { // to open at first is no news
		c.notify(storeChanged, map[string]any{"store": c.identity, "state": next.Name, "former": former.Name, "reason": next.Reason})
	}
	fields := []zap.Field{zap.String("store", c.identity), zap.String("state", name)}
	if name == stateOpen {
		c.logger().Info("store is open", fields...)
		return
	}
	c.logger().Error("store is not open; traffic goes on, events go to the reserve, and opening is tried again", append(fields, zap.Error(err))...)
}

func (c *core) open() error {
	a := c.settings.Load()
	local := a.provider.Local()
	wanted := local.MinFree
	if c.state.Load().Name == stateLowSpace {
		wanted += wanted / 4 // or the store would be opened and closed all the time
	}
	if free, err := freeSpace(local.Dir); err == nil && free < wanted {
		return &lowSpaceError{free: free, wanted: wanted}
	}
	if c.closing() {
		return errors.New("the store could not be closed yet, as its disk does not answer or there are no file descriptors")
	}
	if c.taken != nil {
		return c.taken
	}
	st, err := a.provider.Open(a.logger)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &engine{store: st, emitter: emitter.New(st, c.emitterConfig(c.settings.Load())), place: a.provider.Place()}
	c.directory.Store(st.Directory())
	c.opened.Store(e)
	if len(c.apps) > 0 {
		e.emitter.Start()
	}
	return nil
}

// suspend closes the store for now.
func (c *core) suspend(name string, reason error) {
	c.enter(name, reason)
	c.reopen.at = time.Now().Add(minReopenWait)
	if err := c.closeStore(); err != nil {
		c.logger().Error("closing store", zap.String("store", c.identity), zap.Error(err))
	}
}

// closeStore cuts off attempts in flight, which stay pending, and closes the store. A close that hangs, as
// it may without file descriptors or on a dead disk, is left to itself; the store is not opened again before it
// has ended.
func (c *core) closeStore() error {
	closed, done := make(chan error, 1), make(chan struct{})
	c.mu.Lock()
	e := c.opened.Swap(nil)
	if e != nil {
		c.closed = done
	}
	c.mu.Unlock()
	if e == nil {
		return nil
	}
	go func() {
		defer close(done)
		now, cancel := context.WithCancel(context.Background())
		cancel()
		err := e.emitter.Stop(now)
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		closed <- errors.Join(err, e.store.Close())
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-done: // not closed: whoever opens next would find the close under way
		return <-closed
	case <-timer.C:
		return fmt.Errorf("not closed after %s", closeTimeout)
	}
}

// closing reports whether a close is still under way.
func (c *core) closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		return false
	}
	select {
	case <-c.closed:
		return false
	default:
		return true
	}
}

// lowSpaceError tells that the disk is too full for the store.
type lowSpaceError struct{ free, wanted uint64 }

func (e *lowSpaceError) Error() string {
	return fmt.Sprintf("%s are free on the store's disk, less than the %s that it needs (min_free)", humanize.IBytes(e.free), humanize.IBytes(e.wanted))
}

// spaceLow reports whether the disk is too full for the store to write to. Badger writes through memory
// maps: on a full disk the process would die of it. A disk that cannot be asked does not count as full. That there is
// room is believed for a moment, in which nobody fills as much as min_free ought to be.
func (c *core) spaceLow() (bool, error) {
	local := c.settings.Load().provider.Local()
	if local.MinFree == 0 {
		return false, nil
	}
	now := time.Since(c.born)
	if now < time.Duration(c.roomUntil.Load()) {
		return false, nil
	}
	free, err := freeSpace(local.Dir)
	if err == nil && free < local.MinFree {
		return true, &lowSpaceError{free: free, wanted: local.MinFree}
	}
	c.roomUntil.Store(int64(now + roomTrust))
	return false, nil
}

// guardSpace closes the store before a full disk can hurt it.
func (c *core) guardSpace() {
	if c.opened.Load() == nil {
		return
	}
	if low, err := c.spaceLow(); low {
		c.suspend(stateLowSpace, err)
	}
}

// whileRoom returns a context that ends when the disk runs full, for work that keeps tend from looking.
func (c *core) whileRoom(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		ticker := time.NewTicker(tendInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if low, _ := c.spaceLow(); low {
				cancel()
				return
			}
		}
	}()
	return ctx, cancel
}

// guardBroken closes a store that says of itself that it has to be opened again.
func (c *core) guardBroken() {
	e := c.opened.Load()
	if e == nil {
		return
	}
	if st, ok := e.store.(interface{ Broken() error }); ok {
		if err := st.Broken(); err != nil {
			c.suspend(stateFailed, err)
		}
	}
}

// guardPlace closes a store that the ruling configuration has somewhere else, to be opened there at once.
func (c *core) guardPlace() {
	e := c.opened.Load()
	if e == nil || e.place == c.settings.Load().provider.Place() {
		return
	}
	c.suspend(stateFailed, errors.New("it is being opened anew, as the configuration has it somewhere else"))
	c.reopen = reopening{}
}
