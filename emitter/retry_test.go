package emitter

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bentihooks/bentihooks/store"
)

func TestRetryAfterIsReadWithCare(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		status int
		value  string
		want   time.Duration
	}{
		{503, "120", 2 * time.Minute},
		{429, " 120 ", 2 * time.Minute},
		{503, "0", 0},
		{503, "3600", time.Hour},
		{503, "3601", time.Hour},
		{503, "99999999999999999999999999", time.Hour},
		{503, "-1", 0},
		{503, "1.5", 0},
		{503, "1e3", 0},
		{503, "+5", 0},
		{503, "", 0},
		{503, "soon", 0},
		{503, now.Add(time.Minute).Format(http.TimeFormat), time.Minute},
		{503, now.Add(-time.Minute).Format(http.TimeFormat), 0},
		{503, now.Add(240 * time.Hour).Format(http.TimeFormat), time.Hour},
		{500, "120", 0},
		{200, "120", 0},
		{301, "120", 0},
	} {
		if got := retryAfter(row.status, http.Header{"Retry-After": {row.value}}, now); got != row.want {
			t.Errorf("%d %q: %v, want %v", row.status, row.value, got, row.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "-1", "Fri, 02 Jan 2026 03:04:05 GMT", "9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if got := retryAfter(503, http.Header{"Retry-After": {value}}, time.Now()); got < 0 || got > time.Hour {
			t.Errorf("%q: %v", value, got)
		}
	})
}

func TestNextKeepsToTheSchedule(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := Config{}.withDefaults()
		spent := rapid.IntRange(0, 30).Draw(t, "spent")
		failed := rapid.IntRange(0, 15).Draw(t, "failed")
		asked := time.Duration(rapid.IntRange(0, 3600).Draw(t, "retry after")) * time.Second
		d := store.Delivery{Spent: spent, Attempts: make([]store.Attempt, spent+failed)}
		now := time.Now()
		state, due := c.next(&d, &Result{Class: ClassStatus, RetryAfter: asked}, now, jitter())
		if failed >= len(c.Retry) {
			if state != store.Dead {
				t.Fatalf("%s after %d failures", state, failed+1)
			}
			return
		}
		wait, base := due.Sub(now.Round(0)), c.Retry[failed]
		if state != store.Pending || wait < asked || wait < base*8/10 || wait > max(base*12/10, asked) {
			t.Fatalf("%s, wait %v; schedule says %v, receiver %v", state, wait, base, asked)
		}
	})
}

func TestJitterSpreads(t *testing.T) {
	t.Parallel()
	low, high := 1.0, 1.0
	for range 1000 {
		f := jitter()
		low, high = min(low, f), max(high, f)
	}
	if low < 0.8 || low > 0.85 || high < 1.15 || high > 1.2 {
		t.Errorf("jitter goes from %v to %v", low, high)
	}
}
