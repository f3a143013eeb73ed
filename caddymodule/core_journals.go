package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/journal"
)

// inFlightSlots is how many requests in flight can be noted at once.
const inFlightSlots = 4096

// inFlight notes the requests that have been forwarded and whose outcome is not known yet, so that none is
// forgotten in a crash. The zero value notes nothing.
type inFlight struct {
	notes atomic.Pointer[journal.InFlight]
}

func (f *inFlight) begin(e journal.Entry) journal.Token {
	if notes := f.notes.Load(); notes != nil {
		return notes.Begin(e)
	}
	return journal.Token{}
}

func (f *inFlight) end(t journal.Token) {
	if notes := f.notes.Load(); notes != nil {
		notes.End(t)
	}
}

// inDoubt lists the requests that were in flight at a crash and have not been acknowledged.
func (f *inFlight) inDoubt() []journal.Entry {
	if notes := f.notes.Load(); notes != nil {
		return notes.InDoubt()
	}
	return nil
}

// awaitJournals waits until requests can be noted: Caddy may serve before we have started, and what is forwarded unnoted
// would be forgotten in a crash. A disk that hangs is waited for only while a start would be.
func (c *core) awaitJournals() {
	select {
	case <-c.noting:
		return
	default:
	}
	timer := time.NewTimer(time.Until(c.born.Add(startPatience)))
	defer timer.Stop()
	select {
	case <-c.noting:
	case <-timer.C:
	}
}

// openJournals opens what is not open yet of the reserve and the notes of requests in flight. Failing to is
// logged once for each reason: without them the store works all the same.
func (c *core) openJournals() {
	local := c.settings.Load().provider.Local()
	err := os.MkdirAll(local.Dir, 0o700)
	if err == nil {
		err = errors.Join(c.openReserve(local), c.openInFlight(local))
	}
	c.taken = nil
	if errors.Is(err, journal.ErrLocked) {
		c.taken = fmt.Errorf("directory %s: %w; each that runs needs a directory of its own", local.Dir, err)
	}
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	if c.journalsFailure == reason {
		return
	}
	c.journalsFailure = reason
	if err != nil {
		c.metrics.storeErrors.Inc()
		c.logger().Error("opening the files beside the store; tried again", zap.String("dir", local.Dir), zap.Error(err))
	}
}

func (c *core) openReserve(local Local) error {
	c.intake.mu.Lock()
	defer c.intake.mu.Unlock()
	if c.intake.reserve != nil {
		return nil
	}
	reserve, err := journal.OpenReserve(filepath.Join(local.Dir, "reserve"), local.Reserve)
	if err != nil {
		return fmt.Errorf("opening reserve: %w", err)
	}
	c.ledger.carried.Add(int64(reserve.Len()))
	c.intake.reserve = reserve
	if n := reserve.Corrupt(); n > 0 {
		c.logger().Error("the reserve holds damaged records; they are kept aside in reserve.corrupt", zap.String("dir", local.Dir), zap.Int("count", n))
	}
	if n := reserve.Len(); n > 0 {
		c.logger().Info("the reserve holds events of before", zap.Int("count", n))
	}
	return nil
}

func (c *core) openInFlight(local Local) error {
	if c.inFlight.notes.Load() != nil {
		return nil
	}
	notes, leftOver, err := journal.OpenInFlight(filepath.Join(local.Dir, "in-flight"), inFlightSlots)
	if err != nil {
		return fmt.Errorf("opening notes of requests in flight: %w", err)
	}
	c.inFlight.notes.Store(notes)
	for _, entry := range leftOver {
		c.logger().Warn("in doubt: this request was in flight when the server stopped; whether the API made the change is not known, and no event was made",
			zap.String("id", entry.ID), zap.Time("at", entry.Time), zap.String("method", entry.Method), zap.String("path", entry.Path),
			zap.String("project", entry.Project), zap.String("item", entry.Item))
	}
	return nil
}

func (c *core) closeJournals() error {
	var errs []error
	c.intake.mu.Lock()
	reserve := c.intake.reserve
	c.intake.reserve = nil
	c.intake.mu.Unlock()
	if reserve != nil {
		errs = append(errs, reserve.Close())
	}
	if notes := c.inFlight.notes.Swap(nil); notes != nil {
		errs = append(errs, notes.Close())
	}
	return errors.Join(errs...)
}
