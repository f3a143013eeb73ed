package caddymodule

import (
	"fmt"
	"math"
	"time"
)

// chart is a bar chart of a ring's slots, drawn as SVG that stretches with its column; what is text stands beside it in HTML,
// and the same figures in a table below. Sizes are in units of the drawing.
type chart struct {
	Label         string // tells screen readers what is to be seen
	Empty         string // instead of a chart
	Width, Height float64
	Scale         []string // from the top down, at even distances
	Grid          []float64
	Base          float64 // where zero is, 0 if at none
	Times         []string
	Bars          []bar
	Columns       []string
	Rows          [][]string
}

type bar struct {
	Label string
	X, W  float64
	Parts []rect
}

type rect struct {
	Class      string
	X, Y, W, H float64
}

const (
	chartWidth  = 960.0
	chartHeight = 150.0
	// leastBar is how high something must be drawn to be seen.
	leastBar = 2.0
)

func newChart(slots []slot, label string) *chart {
	c := &chart{Label: label, Width: chartWidth, Height: chartHeight}
	first, middle, last := slots[0].Start, slots[len(slots)/2].Start, slots[len(slots)-1].Start
	for _, t := range []time.Time{first, middle, last} {
		c.Times = append(c.Times, t.Format("15:04"))
	}
	c.Times[2] += " UTC"
	return c
}

// bar returns the place of a slot.
func (c *chart) bar(i, of int) bar {
	step := c.Width / float64(of)
	gap := math.Max(1.5, step*.2)
	return bar{X: round(float64(i)*step + gap/2), W: round(step - gap)}
}

func round(x float64) float64 { return math.Round(x*100) / 100 }

// attemptsChart shows what succeeded above the line and what failed below it.
func attemptsChart(slots []slot, sum *tally) *chart {
	if sum.Delivered+sum.Failed == 0 {
		return &chart{Empty: "No attempts in this time"}
	}
	c := newChart(slots, fmt.Sprintf("Attempts from %s to %s UTC: %s succeeded, %s failed",
		slots[0].Start.Format("15:04"), slots[len(slots)-1].Start.Format("15:04"), numberText(sum.Delivered), numberText(sum.Failed)))
	var up, down uint64
	for i := range slots {
		up, down = max(up, slots[i].Delivered), max(down, slots[i].Failed)
	}
	// The scale has even steps, so that its labels need no places of their own.
	step := niceStep(max(up, down))
	above, below := (up+step-1)/step, (down+step-1)/step
	unit := c.Height / float64((above+below)*step)
	c.Base = round(unit * float64(above*step))
	for n := -float64(below); n <= float64(above); n++ {
		label := numberText(math.Abs(n) * float64(step))
		c.Scale = append([]string{label}, c.Scale...)
		if n != 0 {
			c.Grid = append(c.Grid, round(c.Base-unit*n*float64(step)))
		}
	}
	c.Columns = []string{"From, UTC", "Succeeded", "Failed", "Events captured"}
	for i := range slots {
		s := &slots[i]
		b := c.bar(i, len(slots))
		b.Label = fmt.Sprintf("%s: %s succeeded, %s failed", s.Start.Format("15:04"), numberText(s.Delivered), numberText(s.Failed))
		if s.Delivered > 0 {
			h := math.Max(leastBar, unit*float64(s.Delivered))
			b.Parts = append(b.Parts, rect{"fill-good", b.X, round(c.Base - h), b.W, round(h)})
		}
		if s.Failed > 0 {
			b.Parts = append(b.Parts, rect{"fill-bad", b.X, c.Base, b.W, round(math.Max(leastBar, unit*float64(s.Failed)))})
		}
		c.Bars = append(c.Bars, b)
		if s.Delivered+s.Failed+s.Events > 0 {
			c.Rows = append(c.Rows, []string{s.Start.Format("15:04"), numberText(s.Delivered), numberText(s.Failed), numberText(s.Events)})
		}
	}
	return c
}

// niceStep divides a range into two to five steps that people count in.
func niceStep(top uint64) uint64 {
	for unit := uint64(1); ; unit *= 10 {
		for _, step := range []uint64{unit, 2 * unit, 5 * unit} {
			if step*4 >= top {
				return step
			}
		}
	}
}

// latencyChart shows for each slot the percentiles 50, 95 and 99, on a scale by powers of ten.
func latencyChart(slots []slot, sum *tally) *chart {
	if sum.latencies.n == 0 {
		return &chart{Empty: "Nothing was delivered in this time"}
	}
	c := newChart(slots, fmt.Sprintf("Time from capture to delivery, from %s to %s UTC: p50 %s, p95 %s, p99 %s",
		slots[0].Start.Format("15:04"), slots[len(slots)-1].Start.Format("15:04"),
		quantileText(&sum.latencies, .5), quantileText(&sum.latencies, .95), quantileText(&sum.latencies, .99)))
	low, high := math.Inf(1), math.Inf(-1)
	for i := range slots {
		if s := &slots[i].latencies; s.n > 0 {
			low, high = math.Min(low, decade(s.quantile(.5))), math.Max(high, decade(s.quantile(.99)))
		}
	}
	low = math.Floor(low - .15) // so that the lowest bar has some height
	high = math.Max(math.Ceil(high), low+1)
	unit := c.Height / (high - low)
	at := func(d time.Duration) float64 { return round(c.Height - unit*(decade(d)-low)) }
	for n := high; n >= low; n-- {
		c.Scale = append(c.Scale, durationText(time.Duration(math.Pow(10, n)*float64(time.Millisecond))))
		c.Grid = append(c.Grid, round(c.Height-unit*(n-low)))
	}
	c.Columns = []string{"From, UTC", "Delivered", "p50", "p95", "p99"}
	for i := range slots {
		s := &slots[i].latencies
		b := c.bar(i, len(slots))
		from := slots[i].Start.Format("15:04")
		if s.n == 0 {
			b.Label = from + ": nothing delivered"
			c.Bars = append(c.Bars, b)
			continue
		}
		p50, p95, p99 := s.quantile(.5), s.quantile(.95), s.quantile(.99)
		b.Label = fmt.Sprintf("%s: p50 %s, p95 %s, p99 %s", from, durationText(p50), durationText(p95), durationText(p99))
		bottom := c.Height
		for _, part := range []struct {
			class string
			d     time.Duration
		}{{"fill-p50", p50}, {"fill-p95", p95}, {"fill-p99", p99}} {
			y := math.Min(bottom, at(part.d))
			if bottom-y > 0 {
				b.Parts = append(b.Parts, rect{part.class, b.X, y, b.W, round(bottom - y)})
			}
			bottom = y
		}
		c.Bars = append(c.Bars, b)
		c.Rows = append(c.Rows, []string{from, numberText(s.n), durationText(p50), durationText(p95), durationText(p99)})
	}
	return c
}

// decade is the logarithm of a duration in milliseconds, at least a tenth of one.
func decade(d time.Duration) float64 {
	return math.Log10(math.Max(.1, float64(d)/float64(time.Millisecond)))
}
