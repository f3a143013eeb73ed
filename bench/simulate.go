package main

import (
	"fmt"
	"io"
	"math"
	"time"
)

// workload is what a simulation is of. Rates are per second.
type workload struct {
	webhooks  float64
	events    float64
	fanOut    float64       // webhooks that want an event
	dead      float64       // share of the webhooks whose receivers refuse every attempt
	slow      float64       // share of those that take slowTime
	quickTime time.Duration // what an attempt takes at the others
	slowTime  time.Duration
	retention time.Duration
}

// costs are what one delivery costs on the machine of docs/performance.md.
type costs struct {
	attemptCPU time.Duration // to make an attempt, with TLS
	changeCPU  time.Duration // to apply a change of the log that another instance made
	record     float64       // bytes of a change in the log
	entry      float64       // bytes of memory for each delivery that is listed, on every instance
	webhook    float64       // bytes of memory for each webhook
	slots      float64       // max_concurrent of an instance
	cores      float64       // of an instance
	memory     float64       // bytes of an instance
	stream     float64       // bytes/s that one stream takes
}

var measuredCosts = costs{
	attemptCPU: 89 * time.Microsecond, changeCPU: 2 * time.Microsecond, record: 400, entry: 89, webhook: 2.5 * 1024,
	slots: 4096, cores: 16, memory: 64 << 30, stream: 60 << 20,
}

// retries are the default waits between attempts.
var retries = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour,
	8 * time.Hour, 12 * time.Hour, 12 * time.Hour, 12 * time.Hour,
}

// simulated is the state in which a workload ends up.
type simulated struct {
	attempts float64 // per second
	inFlight float64 // attempts at a time
	pending  float64 // deliveries that wait for a retry
	listed   float64 // deliveries within their retention
	log      float64 // bytes/s
}

// simulate plays minutes until nothing changes any more: deliveries to dead receivers come back after each wait, until
// they die, and finished ones leave at the end of their retention.
func simulate(w workload, c costs) simulated {
	const step = time.Minute
	deliveries := w.events * w.fanOut
	var horizon time.Duration
	for _, wait := range retries {
		horizon += wait
	}
	horizon += w.retention
	steps := int(horizon/step) + 2
	due := make([]float64, steps+1) // second and later attempts, by the minute
	ends := make([]float64, steps+1)
	var s simulated
	var finished float64
	for minute := range steps {
		fresh := deliveries * step.Seconds()
		failing := fresh * w.dead
		// A delivery of this minute that keeps failing: its attempts lie ahead, at the sums of the waits.
		var after time.Duration
		for _, wait := range retries {
			after += wait
			if at := minute + int(after/step); at < len(due) {
				due[at] += failing
			}
		}
		if at := minute + int(after/step); at < len(ends) {
			ends[at] += failing
		}
		retried := due[minute]
		s.attempts = (fresh + retried) / step.Seconds()
		done := fresh - failing + ends[minute]
		finished += done
		s.pending += failing - ends[minute]
		leaving := minute - int(w.retention/step)
		if leaving >= 0 {
			finished -= fresh - failing + ends[leaving]
		}
		s.listed = finished + s.pending
		quick := (fresh*(1-w.slow-w.dead))/step.Seconds()*w.quickTime.Seconds() + (failing+retried)/step.Seconds()*w.quickTime.Seconds()
		s.inFlight = quick + fresh*w.slow/step.Seconds()*w.slowTime.Seconds()
		s.log = (deliveries + s.attempts) * c.record
	}
	return s
}

// need is what a simulated state takes.
type need struct {
	byCPU, bySlots, memory, streams float64
}

// needs counts instances and streams if the projects are spread over so many streams, each with instances of its own.
func (s simulated) needs(w workload, c costs, groups float64) need {
	cpu := s.attempts * c.attemptCPU.Seconds()
	perGroup := math.Max(cpu/groups/c.cores, s.inFlight/groups/c.slots)
	// Each instance of a group applies what the others of it do.
	apply := s.log / c.record / groups * c.changeCPU.Seconds() / c.cores
	instances := math.Ceil(perGroup/math.Max(1-apply, 0.01)) * groups
	return need{
		byCPU: math.Ceil(cpu / c.cores), bySlots: instances,
		memory: (s.listed*c.entry + w.webhooks*c.webhook) / groups, streams: math.Ceil(s.log / c.stream),
	}
}

// runSimulation prints what a few workloads need, and where one stream ends.
func runSimulation(out io.Writer) error {
	t := table{
		title: "Simulated, instances of 16 cores, 64 GiB and 4,096 attempts at a time",
		head: []string{
			"events/s", "webhooks", "retention", "groups of projects", "attempts/s", "in flight", "waiting for a retry",
			"log", "instances", "memory of each",
		},
	}
	for _, w := range []workload{
		{webhooks: 1e3, events: 100, retention: 7 * 24 * time.Hour},
		{webhooks: 1e4, events: 1e3, retention: 24 * time.Hour},
		{webhooks: 1e5, events: 1e4, retention: 6 * time.Hour},
		{webhooks: 1e6, events: 1e5, retention: 7 * 24 * time.Hour},
		{webhooks: 1e6, events: 1e5, retention: time.Hour},
	} {
		w.fanOut, w.dead, w.slow, w.quickTime, w.slowTime = 1, 0.01, 0.01, 100*time.Millisecond, 9*time.Second
		s := simulate(w, measuredCosts)
		one := s.needs(w, measuredCosts, 1)
		groups := math.Max(one.streams, math.Ceil(one.memory/(measuredCosts.memory/2)))
		for _, g := range []float64{1, groups} {
			n := s.needs(w, measuredCosts, g)
			t.add(fmt.Sprintf("%.0f", w.events), fmt.Sprintf("%.0f", w.webhooks), w.retention.String(), fmt.Sprintf("%.0f", g),
				fmt.Sprintf("%.0f", s.attempts), fmt.Sprintf("%.0f", s.inFlight), fmt.Sprintf("%.0f", s.pending),
				fmt.Sprintf("%.1f MB/s", s.log/1e6), fmt.Sprintf("%.0f", n.bySlots), fmt.Sprintf("%.1f GiB", n.memory/(1<<30)))
			if groups == 1 {
				break
			}
		}
	}
	t.note("One in a hundred receivers is dead, one in a hundred takes 9 s, the others 100 ms. Each event goes to one webhook. A group is a " +
		"stream with instances of its own; its memory has to be below that of an instance, its log below what a stream takes (60 MiB/s).")
	return t.write(out)
}
