package caddymodule

import (
	"context"
	"sync"
	"time"
)

const (
	// maxLater is how many requests' events may be on their way into the store in the background.
	maxLater = 1000
	// laterPause is how long events wait for others to be stored with. It spares a commit for each.
	laterPause = 2 * time.Millisecond
)

// later are the events for which their requests do not wait.
type later struct {
	mu       sync.Mutex
	events   []event
	waiting  int  // requests that they came of
	requests int  // those and the ones whose events are being kept
	running  bool // there is a feed
}

// keepLater keeps the events of a request in the background, with the request's hold of the core. It does not if
// too many are on their way already, so that a disk that hangs slows the traffic down rather than fill the
// memory.
func (c *core) keepLater(events []event) bool {
	l := &c.intake.later
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.requests >= maxLater {
		return false
	}
	l.requests++
	l.waiting++
	l.events = append(l.events, events...)
	if !l.running {
		l.running = true
		go c.feed()
	}
	return true
}

// feed keeps what comes later, all that has come within a moment at once, until there is none.
func (c *core) feed() {
	for {
		time.Sleep(laterPause)
		events, requests := c.intake.later.take()
		if requests == 0 {
			return
		}
		c.keep(events)
		c.intake.later.done(requests)
		for range requests {
			c.releaseLogged()
		}
	}
}

// take returns what waits and of how many requests it came. Of none: there is no feed any more.
func (l *later) take() ([]event, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, requests := l.events, l.waiting
	l.events, l.waiting = nil, 0
	l.running = requests > 0
	return events, requests
}

func (l *later) done(requests int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests -= requests
}

func (l *later) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests == 0
}

// awaitLater waits for the events that are on their way in the background, or until ctx ends.
func (c *core) awaitLater(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*keepTimeout)
	defer cancel()
	ticker := time.NewTicker(tendInterval / 10)
	defer ticker.Stop()
	for !c.intake.later.empty() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
