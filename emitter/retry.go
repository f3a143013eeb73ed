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
// pending. d is the delivery as it was claimed.
func (c Config) next(d *store.Delivery, res Result, now time.Time) (store.State, time.Time) {
	if res.Class == ClassDelivered {
		return store.Delivered, time.Time{}
	}
	failed := max(len(d.Attempts)-d.Spent, 0) // before this one
	if d.Ping || res.Attempt.Status == http.StatusGone || failed >= len(c.Retry) {
		return store.Dead, time.Time{}
	}
	// Round drops the monotonic reading: due times are wall-clock, they outlive the process.
	return store.Pending, now.Add(max(jitter(c.Retry[failed]), res.RetryAfter)).Round(0)
}

// jitter spreads d by 20 % either way, so that deliveries that failed together do not come back together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

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
