package main

import (
	"math"
	"testing"
	"time"
)

func TestQuantileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i) // descending: quantile has to sort
	}
	for _, test := range []struct {
		xs   []time.Duration
		q    float64
		want time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0.99, 7},
		{[]time.Duration{2, 1}, 0.5, 1},
		{[]time.Duration{3, 2, 1}, 0.5, 2},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 0, 1},
		{hundred, 1, 100},
	} {
		if got := quantile(test.xs, test.q); got != test.want {
			t.Errorf("quantile %v of %d values is %d, want %d", test.q, len(test.xs), got, test.want)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		xs   []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 3}, 3},
		{[]float64{4, 1, 3, 100}, 3.5},
	} {
		if got := median(test.xs); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.xs, got, test.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

// A machine that slows down in the middle of a run must not change the ratio.
func TestRatioComparesRoundsOfTheSameTime(t *testing.T) {
	t.Parallel()
	of := func(rates ...int) (rs rounds) {
		for _, rate := range rates {
			rs = append(rs, sample{n: rate, elapsed: time.Second})
		}
		return rs
	}
	base, ours := of(1000, 500, 100), of(800, 400, 80)
	if got := ours.ratio(base, sample.rate).median; math.Abs(got-0.8) > 1e-9 {
		t.Errorf("ratio is %v, want 0.8", got)
	}
}

func TestCPUIsThatOfAllRoundsTogether(t *testing.T) {
	t.Parallel()
	rs := rounds{{n: 100, cpu: 0}, {n: 100, cpu: 10 * time.Millisecond}}
	if got := rs.cpuEach(); got != 50*time.Microsecond {
		t.Errorf("cpu of one request is %v, want 50µs", got)
	}
}

func TestSpreadIsTheQuartilesAroundTheMedian(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		xs   []float64
		want spread
	}{
		{[]float64{5}, spread{5, 5, 5}},
		{[]float64{4, 1, 3, 2}, spread{1.5, 2.5, 3.5}},
		{[]float64{5, 4, 3, 2, 1}, spread{2, 3, 4}},
	} {
		if got := spreadOf(test.xs); got != test.want {
			t.Errorf("spread of %v is %v, want %v", test.xs, got, test.want)
		}
	}
}
