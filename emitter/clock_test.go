package emitter

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestClockFollowsForwardAndRunsOnWhenSetBack(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, steps := range map[string][]struct{ passed, shown, want time.Duration }{
		"undisturbed":        {{0, 0, 0}, {time.Second, time.Second, time.Second}},
		"set forward":        {{0, 0, 0}, {time.Second, 3 * time.Hour, 3 * time.Hour}},
		"set back":           {{0, 0, 0}, {time.Second, -3 * time.Hour, time.Second}, {2 * time.Second, -3*time.Hour + time.Second, 2 * time.Second}},
		"set forth and back": {{0, 0, 0}, {time.Second, time.Hour, time.Hour}, {2 * time.Second, 2 * time.Second, time.Hour + time.Second}},
		"caught up":          {{0, 0, 0}, {time.Second, -time.Hour, time.Second}, {2 * time.Second, 5 * time.Second, 5 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c clock
			var ruled time.Duration // what had passed when the system's clock last ruled
			for i, s := range steps {
				wall := start.Add(s.shown)
				got := c.at(wall, func(wall, latest time.Time) time.Duration {
					if latest.IsZero() {
						return wall.Sub(latest)
					}
					return s.passed - ruled
				})
				if got.Sub(start) != s.want {
					t.Errorf("step %d: %v, want %v", i, got.Sub(start), s.want)
				}
				if got.Equal(wall) {
					ruled = s.passed
				}
			}
		})
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var c clock
		var passed, ruled time.Duration
		var last time.Time
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			step := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "passed"))
			passed += step
			wall := time.Unix(0, 0).Add(time.Duration(rapid.Int64Range(int64(time.Hour), int64(1e6*time.Hour)).Draw(t, "shown")))
			got := c.at(wall, func(wall, latest time.Time) time.Duration {
				if latest.IsZero() {
					return wall.Sub(latest)
				}
				return passed - ruled
			})
			if !last.IsZero() && got.Sub(last) < step {
				t.Fatalf("went on by %v in %v", got.Sub(last), step)
			}
			if got.Before(wall) {
				t.Fatalf("%v is behind the system's clock %v", got, wall)
			}
			if got.Equal(wall) {
				ruled = passed
			}
			last = got
		}
	})
}
