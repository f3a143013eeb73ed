package main

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
)

func TestSimulationEndsWhereTheArithmeticDoes(t *testing.T) {
	t.Parallel()
	w := workload{
		webhooks: 1e3, events: 1e3, fanOut: 2, dead: 0.01, slow: 0.02, quickTime: 100 * time.Millisecond, slowTime: 9 * time.Second,
		retention: 24 * time.Hour,
	}
	s := simulate(w, measuredCosts)
	var waits time.Duration
	for _, wait := range retries {
		waits += wait
	}
	near := func(name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.01*want {
			t.Errorf("%s: %.0f, want %.0f", name, got, want)
		}
	}
	near("attempts", s.attempts, 2000*(1+0.01*float64(len(retries))))
	near("waiting for a retry", s.pending, 20*waits.Seconds())
	near("listed", s.listed, 2000*86400+20*waits.Seconds())
	near("in flight", s.inFlight, 2000*0.97*0.1+20*13*0.1+40*9)
}

func TestSimulationPrintsItsTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-simulate"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "| 100000   |  1000000 |") {
		t.Errorf("it prints\n%s", out.String())
	}
}
