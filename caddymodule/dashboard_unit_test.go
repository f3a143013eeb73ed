package caddymodule

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func TestPlaceIsToldByTheEndOfThePath(t *testing.T) {
	t.Parallel()
	id := uuid.NewString()
	for path, want := range map[string]place{
		"":                                     {name: "overview"},
		"/":                                    {name: "overview"},
		"/hooks/":                              {name: "overview"},
		"/webhooks":                            {name: "webhooks"},
		"/hooks/webhooks":                      {name: "webhooks"},
		"/webhooks/" + id:                      {name: "webhooks", id: id, depth: 1},
		"/webhooks/" + strings.ToUpper(id):     {name: "webhooks", id: strings.ToUpper(id), depth: 1},
		"/webhooks/{" + id + "}":               {},
		"/webhooks/" + id + "/ping":            {name: "webhooks", id: id, action: "ping", depth: 2},
		"/x/webhooks/deliveries":               {name: "deliveries"},
		"/deliveries/" + id:                    {name: "deliveries", id: id, depth: 1},
		"/deliveries/replay":                   {name: "deliveries", action: "replay", depth: 1},
		"/deliveries/" + id + "/replay":        {name: "deliveries", id: id, action: "replay", depth: 2},
		"/in-doubt":                            {name: "in-doubt"},
		"/in-doubt/0f/acknowledge":             {name: "in-doubt", id: "0f", action: "acknowledge", depth: 2},
		"/assets/app.css":                      {name: "assets", id: "app.css", depth: 1},
		"/assets/":                             {name: "overview"},
		"/live":                                {name: "live"},
		"/favicon.ico":                         {},
		"/webhooks/" + id + "/ping/../../live": {name: "live"},
	} {
		if got := placeOf(path); got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
}

func TestLoopbackIsToldByPeerNameAndHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		peer, host string
		want       bool
	}{
		{"127.0.0.1:5", "localhost", true},
		{"127.9.9.9:5", "LOCALHOST.:8080", true},
		{"[::1]:5", "[::1]:80", true},
		{"[::1]:5", "[::1]", true},
		{"[::ffff:127.0.0.1]:5", "127.0.0.1", true},
		{"127.0.0.1:5", "hooks.localhost:1", true},
		{"127.0.0.1:5", "evil.example", false},
		{"127.0.0.1:5", "localhost.evil.example", false},
		{"127.0.0.1:5", "127.0.0.1.evil.example", false},
		{"127.0.0.1:5", "", false},
		{"10.0.0.1:5", "localhost", false},
		{"[fe80::1%lo]:5", "localhost", false},
		{"@", "localhost", false},
		{"", "localhost", false},
	} {
		r := &http.Request{RemoteAddr: c.peer, Host: c.host, Header: http.Header{}}
		if got := fromLoopback(r); got != c.want {
			t.Errorf("%s to %s: %v", c.peer, c.host, got)
		}
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		if fromLoopback(r) {
			t.Errorf("%s to %s, forwarded", c.peer, c.host)
		}
	}
}

func TestTimesAreToldInWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "under 1 ms", 999 * time.Microsecond: "under 1 ms", time.Millisecond: "1 ms", 999 * time.Millisecond: "999 ms",
		time.Second: "1 s", 1949 * time.Millisecond: "1.9 s", 59 * time.Second: "59 s", time.Minute: "1 min", 90 * time.Second: "1 min 30 s",
		11*time.Minute + 3*time.Second: "11 min", 2*time.Hour + time.Minute: "2 h 1 min", 26 * time.Hour: "1 d 2 h", 24 * 8 * time.Hour: "8 d",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	now := time.Unix(1_800_000_000, 0)
	for d, want := range map[time.Duration]string{
		0: "just now", 4 * time.Second: "just now", 42 * time.Second: "42 s ago", -time.Minute: "in 1 min", 119 * time.Minute: "1 h ago",
		47 * time.Hour: "47 h ago", 49 * time.Hour: "2 d ago",
	} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := numberText(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if got := percentText(99999, 100000); got != "99.9 %" {
		t.Errorf("nearly all: %s", got)
	}
	if got := percentText(3, 3) + percentText(0, 3) + percentText(0, 0); got != "100 %0 %–" {
		t.Errorf("%s", got)
	}
}

// Whatever happened, all bars are inside of the drawing, and the scale begins and ends with it.
func TestChartsStayInTheirBox(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h, now := newHistory(), time.Unix(1_800_000_000, 0)
		for range rapid.IntRange(1, 40).Draw(t, "attempts") {
			at := now.Add(-time.Duration(rapid.IntRange(0, 59).Draw(t, "minute")) * time.Minute)
			took := time.Duration(rapid.Int64Range(0, int64(60*time.Hour)).Draw(t, "took"))
			delivered := rapid.Bool().Draw(t, "delivered")
			hour := h.hour.at(at)
			n := rapid.Uint64Range(1, 1_000_000).Draw(t, "n")
			if !delivered {
				hour.Failed += n
				continue
			}
			hour.Delivered += n
			hour.latencies.add(took)
		}
		slots, sum := h.lastHour(now)
		for _, c := range []*chart{attemptsChart(slots, &sum), latencyChart(slots, &sum)} {
			if c.Empty != "" {
				continue
			}
			if len(c.Bars) != 60 || len(c.Scale) < 2 || len(c.Scale) > 12 || len(c.Rows) == 0 {
				t.Fatalf("%d bars, scale %v, %d rows", len(c.Bars), c.Scale, len(c.Rows))
			}
			for _, b := range c.Bars {
				for _, p := range b.Parts {
					if math.IsNaN(p.Y+p.H) || p.X < 0 || p.X+p.W > c.Width+.1 || p.Y < -.1 || p.Y+p.H > c.Height+leastBar || p.H < 0 {
						t.Fatalf("%+v is outside of %v x %v, scale %v", p, c.Width, c.Height, c.Scale)
					}
				}
			}
		}
	})
}
