package emitter

import (
	"sync"
	"time"
)

// clock tells the time of day by which deliveries are due. It follows the system's clock forward, but does not go back
// with it: what waits for seconds would wait for as long as the clock was set back. The zero value is ready. Safe for
// concurrent use.
type clock struct {
	mu     sync.Mutex
	latest time.Time // when the system's clock last ruled, with its monotonic reading
}

func (c *clock) now() time.Time { return c.at(time.Now(), time.Time.Sub) }

// at is now when the system's clock shows wall, and since tells by the monotonic one how much later than the other
// a moment is.
func (c *clock) at(wall time.Time, since func(wall, latest time.Time) time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	steady := c.latest.Add(since(wall, c.latest)).Round(0)
	if now := wall.Round(0); !now.Before(steady) {
		c.latest = wall
		return now
	}
	return steady
}
