package caddymodule

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
)

func attemptReport(at time.Time, state store.State, took time.Duration) *emitter.Report {
	return &emitter.Report{
		State: state, Delivery: store.Delivery{CreatedAt: at.Add(-time.Second)}, Attempt: store.Attempt{At: at, Duration: took},
	}
}

func TestHistoryShowsTheLastHourByTheMinuteAndTheLastDayByTheQuarter(t *testing.T) {
	t.Parallel()
	h, start := newHistory(), time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	for minute := range 26 * 60 {
		at := start.Add(time.Duration(minute) * time.Minute)
		h.captured(at, 2)
		h.attempted(at, attemptReport(at, store.Delivered, time.Millisecond))
		h.attempted(at, attemptReport(at, store.Pending, time.Millisecond))
		h.attempted(at, attemptReport(at, store.Dead, time.Millisecond))
	}
	now := start.Add(26*time.Hour - time.Minute)
	hour, sum := h.lastHour(now)
	if len(hour) != 60 || sum.Events != 120 || sum.Delivered != 60 || sum.Failed != 120 || sum.latencies.n != 60 || sum.attempts.n != 180 {
		t.Errorf("the hour has %d slots, %+v", len(hour), sum)
	}
	if want := now.Truncate(time.Minute); !hour[59].Start.Equal(want) || !hour[0].Start.Equal(want.Add(-59*time.Minute)) {
		t.Errorf("from %s to %s", hour[0].Start, hour[59].Start)
	}
	day, sum := h.lastDay(now)
	if len(day) != 96 || sum.Events != 2*24*60 {
		t.Errorf("the day has %d slots, %d events", len(day), sum.Events)
	}
	if _, sum := h.lastHour(now.Add(30 * time.Minute)); sum.Events != 60 {
		t.Errorf("half an hour later %d events are left", sum.Events)
	}
	if _, sum := h.lastHour(now.Add(2 * time.Hour)); sum.Events != 0 {
		t.Errorf("two hours later %d events are left", sum.Events)
	}
}

func TestRatesArePerSecondOfTheLastMinutes(t *testing.T) {
	t.Parallel()
	h, now := newHistory(), time.Unix(1_800_000_000, 0)
	for second := 10 * 60; second > 0; second-- {
		at := now.Add(-time.Duration(second) * time.Second)
		h.captured(at, 2)
		if second <= 60 {
			h.attempted(at, attemptReport(at, store.Delivered, time.Millisecond))
			h.attempted(at, attemptReport(at, store.Dead, time.Millisecond))
		}
	}
	got := h.rates(now.Add(-time.Second))
	if got.LastMinute != (rateView{Events: 2, Delivered: 1, Failed: 1}) {
		t.Errorf("last minute: %+v", got.LastMinute)
	}
	if got.LastFiveMinutes != (rateView{Events: 2, Delivered: .2, Failed: .2}) {
		t.Errorf("last five minutes: %+v", got.LastFiveMinutes)
	}
	if later := h.rates(now.Add(time.Hour)); later != (ratesView{}) {
		t.Errorf("an hour later: %+v", later)
	}
}

func TestHistoryOutlivesAClockSetBack(t *testing.T) {
	t.Parallel()
	h, now := newHistory(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h.captured(now, 5)
	earlier := now.Add(-48 * time.Hour)
	h.captured(earlier, 3)
	if _, sum := h.lastDay(earlier); sum.Events != 3 {
		t.Errorf("%d events", sum.Events)
	}
	if h.generation() != 2 {
		t.Errorf("generation %d", h.generation())
	}
}

func TestQuantileIsOfTheRightClass(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(int64(time.Millisecond), int64(50*time.Hour)), 1, 200).Draw(t, "durations")
		var s spread
		for _, d := range all {
			s.add(time.Duration(d))
		}
		slices.Sort(all)
		for _, q := range []float64{.5, .95, .99, 1} {
			rank := int(q*float64(len(all))+.9999) - 1
			want := float64(all[max(0, rank)])
			if got := float64(s.quantile(q)); got < want/1.4143 || got > want*1.4143 {
				t.Errorf("q %v of %d: %s, want %s", q, len(all), time.Duration(got), time.Duration(want))
			}
		}
	})
}

func TestQuantileOfNothingAndOfTheExtremes(t *testing.T) {
	t.Parallel()
	var s spread
	if s.quantile(.5) != 0 {
		t.Error("of nothing")
	}
	s.add(-time.Second) // a clock that was set back between capture and delivery
	if got := s.quantile(.99); got > spreadFirst {
		t.Errorf("of a negative duration: %s", got)
	}
	s = spread{}
	s.add(1000 * time.Hour)
	if got := s.quantile(.99); got < 24*time.Hour {
		t.Errorf("of a thousand hours: %s", got)
	}
}

func BenchmarkHistoryAttempted(b *testing.B) {
	h, now := newHistory(), time.Now()
	r := attemptReport(now, store.Delivered, 3*time.Millisecond)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.attempted(now, r)
		}
	})
}
