package caddymodule

import (
	"math"
	"net/http"
	"sync"
	"time"
)

const (
	// maxHandshakes and maxProjectHandshakes bound the handshakes in flight, so that slow receivers cannot pile up.
	maxHandshakes        = 64
	maxProjectHandshakes = 8
	// maxFailures is how many handshakes of a project may fail one after the other; then there may be one for each
	// failureInterval. Who may register webhooks must not use that to knock at others' doors, or to find out by the
	// classes of failures what is behind names and ports.
	maxFailures     = 100
	failureInterval = time.Second
	// manyProjects is when projects whose failures are forgotten are looked for.
	manyProjects = 1000
)

// handshakes bounds the handshakes with receivers. The zero value is ready. Safe for concurrent use.
type handshakes struct {
	mu       sync.Mutex
	inFlight int
	projects map[string]*projectHandshakes
}

// projectHandshakes are those of a project.
type projectHandshakes struct {
	inFlight int
	failures float64 // at the time seen; one less for each failureInterval since
	seen     time.Time
}

// begin makes sure that there are not too many handshakes. The caller must call end when its own has ended.
func (h *handshakes) begin(project string, now time.Time) (end func(failed bool, now time.Time), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.of(project, now)
	p.forget(now)
	switch {
	case h.inFlight >= maxHandshakes || p.inFlight >= maxProjectHandshakes:
		return nil, problem{Code: http.StatusTooManyRequests, Message: "too many verifications are in flight; try again when they have ended"}
	case p.failures > maxFailures-1:
		wait := int(math.Ceil((p.failures - maxFailures + 1) * failureInterval.Seconds()))
		return nil, problem{Code: http.StatusTooManyRequests, Message: "too many verifications failed; try again later", retryAfter: wait}
	}
	h.inFlight++
	p.inFlight++
	return func(failed bool, now time.Time) { h.end(p, failed, now) }, nil
}

func (h *handshakes) end(p *projectHandshakes, failed bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight--
	p.inFlight--
	if failed {
		p.forget(now)
		p.failures++
	}
}

// of returns what is known of a project, and forgets others of which there is nothing to know.
func (h *handshakes) of(project string, now time.Time) *projectHandshakes {
	if p := h.projects[project]; p != nil {
		return p
	}
	if h.projects == nil {
		h.projects = make(map[string]*projectHandshakes)
	}
	if len(h.projects) >= manyProjects {
		for name, p := range h.projects {
			if p.forget(now); p.inFlight == 0 && p.failures == 0 {
				delete(h.projects, name)
			}
		}
	}
	p := &projectHandshakes{seen: now}
	h.projects[project] = p
	return p
}

// forget takes off what time has taken off.
func (p *projectHandshakes) forget(now time.Time) {
	p.failures = max(0, p.failures-max(0, now.Sub(p.seen).Seconds()/failureInterval.Seconds()))
	p.seen = now
}
