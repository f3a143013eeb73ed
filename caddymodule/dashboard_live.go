package caddymodule

import (
	"fmt"
	"net/http"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

const (
	// maxStreams is how many event streams a site serves. A page without one works, but does not change by itself.
	maxStreams = 256
	// liveInterval is how often a stream looks for changes. It tells of them no more often than that.
	liveInterval = time.Second
	// liveRefresh is how often pages are told to look again though nothing has changed but the time. It keeps proxies
	// from closing the stream, too.
	liveRefresh = 15 * time.Second
)

// live tells the page that something has changed, until either side ends. What has changed the page finds out for itself.
func (c *dashboardCall) live() error {
	defer c.streams.Add(-1)
	if c.streams.Add(1) > maxStreams {
		return problem{Code: http.StatusServiceUnavailable, Message: "Too many pages are open."}
	}
	header := c.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no")
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	controller := http.NewResponseController(c.w)
	// A write timeout of the server is for answers that end.
	_ = controller.SetWriteDeadline(time.Time{})
	ticker := time.NewTicker(liveInterval)
	defer ticker.Stop()
	seen, told := c.mark(), time.Now()
	text := fmt.Sprintf("retry: %d\n\n", liveInterval.Milliseconds())
	for {
		if text != "" {
			if _, err := c.w.Write([]byte(text)); err != nil {
				return nil //nolint:nilerr // the page has gone
			}
			if controller.Flush() != nil {
				return nil
			}
		}
		text = ""
		select {
		case <-c.stopping:
			return nil
		case <-c.r.Context().Done():
			return nil
		case <-ticker.C:
		}
		if now := c.mark(); now != seen || time.Since(told) >= liveRefresh {
			seen, told = now, time.Now()
			text = "event: change\ndata:\n\n"
		}
	}
}

// liveMark differs when a page would look different.
type liveMark struct {
	engine   *engine
	state    *storeState
	history  uint64
	webhooks uint64
	inDoubt  int
	counts   store.Counts
}

func (c *dashboardCall) mark() (m liveMark) {
	core, err := c.app.acquire()
	if err != nil {
		return m
	}
	m = liveMark{engine: core.opened.Load(), state: core.state.Load(), history: core.history.generation(), inDoubt: len(core.inFlight.inDoubt())}
	if directory := core.directory.Load(); directory != nil {
		m.webhooks = directory.Version()
	}
	if m.engine != nil {
		m.counts, _ = m.engine.store.Counts(c.r.Context()) // of a store that closes there are none
	}
	return m
}
