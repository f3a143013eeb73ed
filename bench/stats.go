package main

import (
	"math"
	"slices"
	"time"
)

// sample is what one round of one variant came to.
type sample struct {
	n         int           // requests or deliveries
	elapsed   time.Duration // for all of them
	latencies []time.Duration
	cpu       time.Duration // of the measured process
}

// rate is per second.
func (s sample) rate() float64 { return float64(s.n) / s.elapsed.Seconds() }

// cpuEach is the CPU time of one request or delivery.
func (s sample) cpuEach() time.Duration {
	if s.n == 0 {
		return 0
	}
	return s.cpu / time.Duration(s.n)
}

func (s sample) quantile(q float64) time.Duration { return quantile(s.latencies, q) }

// quantile returns the least value that a share q of all values does not exceed (the nearest rank); 0 of none. It
// sorts xs.
func quantile(xs []time.Duration, q float64) time.Duration {
	if len(xs) == 0 {
		return 0
	}
	slices.Sort(xs)
	rank := int(math.Ceil(q * float64(len(xs))))
	return xs[min(max(rank, 1), len(xs))-1]
}

// median of an even number of values is the mean of the two in the middle; NaN of none.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	xs = slices.Sorted(slices.Values(xs))
	m := len(xs) / 2
	if len(xs)%2 == 1 {
		return xs[m]
	}
	return (xs[m-1] + xs[m]) / 2
}

// rounds are the samples of one variant, in the order in which they were taken.
type rounds []sample

// median is that of one figure of each round.
func (rs rounds) median(figure func(sample) float64) float64 {
	xs := make([]float64, len(rs))
	for i := range rs {
		xs[i] = figure(rs[i])
	}
	return median(xs)
}

func (rs rounds) rate() float64 { return rs.median(sample.rate) }

func (rs rounds) quantile(q float64) time.Duration {
	return time.Duration(rs.median(func(s sample) float64 { return float64(s.quantile(q)) }))
}

// cpuEach is the CPU time of all rounds together, since the system counts it in hundredths of a second.
func (rs rounds) cpuEach() time.Duration {
	var all sample
	for _, s := range rs {
		all.n += s.n
		all.cpu += s.cpu
	}
	return all.cpuEach()
}

// ratio compares a figure with that of another variant, round by round.
func (rs rounds) ratio(base rounds, figure func(sample) float64) spread {
	xs := make([]float64, min(len(rs), len(base)))
	for i := range xs {
		xs[i] = figure(rs[i]) / figure(base[i])
	}
	return spreadOf(xs)
}

// spread is the median of a figure over all rounds, and its quartiles: where they lie far apart, the median says little.
type spread struct{ low, median, high float64 }

func spreadOf(xs []float64) spread {
	xs = slices.Sorted(slices.Values(xs))
	half := (len(xs) + 1) / 2 // with the one in the middle, if there is one
	return spread{median(xs[:half]), median(xs), median(xs[len(xs)-half:])}
}
