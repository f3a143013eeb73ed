package emitter

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// maxRetryAfter is how long a receiver may put us off.
const maxRetryAfter = time.Hour

// next tells where a delivery stands after an attempt that ended at now, and when it is due again if it is
// pending. d is the delivery as it was claimed, spread what its wait is multiplied with.
func (c *Config) next(d *store.Delivery, res *Result, now time.Time, spread float64) (store.State, time.Time) {
	if res.Class == ClassDelivered {
		return store.Delivered, time.Time{}
	}
	failed := failures(d) // before this one
	if d.Ping || res.Attempt.Status == http.StatusGone || failed >= len(c.Retry) {
		return store.Dead, time.Time{}
	}
	// Round drops the monotonic reading: due times are wall-clock, they outlive the process.
	wait := time.Duration(float64(c.Retry[failed]) * spread)
	return store.Pending, now.Add(max(wait, res.RetryAfter)).Round(0)
}

// failures is how many attempts of d failed since the retry schedule began or began anew.
func failures(d *store.Delivery) int { return max(len(d.Attempts)-d.Spent, 0) }

// jitter returns what the waits after one attempt are multiplied with: 20 % either way, so that attempts that
// failed together are not made again together.
func jitter() float64 { return 0.8 + 0.4*rand.Float64() } //nolint:gosec // to spread load, not to be secret

// retryAfter reads the Retry-After header (RFC 9110, section 10.2.3), seconds or an HTTP date, of a 429 or 503.
// It returns 0 for other statuses and for what cannot be read, and never more than maxRetryAfter.
func retryAfter(status int, h http.Header, now time.Time) time.Duration {
	if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return 0
	}
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseUint(value, 10, 64)
		if err != nil || seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter // digits only, so the one possible error is that they are too many
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
