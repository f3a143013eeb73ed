package main

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// backlogID is the least id of an item in deliveries that were laid into the store beforehand.
	backlogID = 1_000_000_000_000
	// seriesStep is the time of one entry of a course of time.
	seriesStep = 100 * time.Millisecond
	// rampLength is how many deliveries are looked at one by one.
	rampLength = 64
)

// receipts is what receivers got since they were last told to forget it, by group: the first segment of the path, with
// "+backlog" behind it for deliveries from a backlog.
type receipts struct {
	mu     sync.Mutex
	seen   map[[36]byte]struct{} // ids of deliveries, or of the events in a list
	groups map[string]*group
	since  time.Time
	conns  int
}

type group struct {
	groupReport
	latencies []time.Duration
}

// report is the answer to a command.
type report struct {
	Connections int // opened since the last reset
	Groups      map[string]groupReport
}

// groupReport is what one group of receivers got.
type groupReport struct {
	Posts              int           // with any number of events
	Unique, Duplicates int           // events
	First, Last        time.Time     // receipt of a new delivery
	Malformed          int           // posts without a delivery id or the time that they were meant for
	InFlight           int           // being answered now
	MaxInFlight        int           // at any time
	P50, P99, Max      time.Duration // from when the request was meant to be made
	Course             []step        // since the reset
	Ramp               []int         // how many were in flight when each of the first deliveries came
}

// step is one seriesStep.
type step struct{ Unique, MaxInFlight int }

func newReceipts() *receipts {
	rs := new(receipts)
	rs.reset()
	return rs
}

func (rs *receipts) reset() {
	inFlight := make(map[string]*group)
	for name, g := range rs.groups {
		if g.InFlight > 0 {
			inFlight[name] = &group{groupReport: groupReport{InFlight: g.InFlight, MaxInFlight: g.InFlight}}
		}
	}
	rs.seen, rs.groups, rs.since, rs.conns = make(map[[36]byte]struct{}), inFlight, time.Now(), 0
}

func (rs *receipts) connected() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.conns++
}

// note takes note of a post; done is to be called when it is answered.
func (rs *receipts) note(path string, delivery, body []byte) (done func()) {
	now := time.Now()
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	id, isNumber := field(body, `"id":`)
	if isNumber && id >= backlogID {
		name += "+backlog"
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	g := rs.group(name)
	s := g.step(now.Sub(rs.since)) // first: what passed since the step before passed without this one
	g.InFlight++
	g.MaxInFlight = max(g.MaxInFlight, g.InFlight)
	s.MaxInFlight = max(s.MaxInFlight, g.InFlight)
	g.Posts++
	list, isList := bytes.CutPrefix(body, []byte(`{"events":[`))
	if !isList {
		at, ok := field(body, `"actor":`)
		rs.add(g, s, delivery, now, at, ok && isNumber && len(delivery) == 36)
	}
	for isList && len(list) > 0 {
		var event []byte
		event, list = cutEvent(list)
		id, at, ok := instanceEvent(event)
		rs.add(g, s, id, now, at, ok)
	}
	return func() {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		rs.group(name).InFlight-- // of the group as it is now: there may have been a reset
	}
}

// add takes note of one event by its own id or that of its delivery.
func (rs *receipts) add(g *group, s *step, id []byte, now time.Time, meant int64, ok bool) {
	var key [36]byte
	if copy(key[:], id) == 0 || !ok {
		g.Malformed++
		return
	}
	if _, again := rs.seen[key]; again {
		g.Duplicates++
		return
	}
	rs.seen[key] = struct{}{}
	s.Unique++
	g.add(now, time.Unix(0, meant))
	if len(g.Ramp) < rampLength {
		g.Ramp = append(g.Ramp, g.InFlight)
	}
}

// eventHead is what the events of a list begin with.
const eventHead = `{"id":"`

// cutEvent cuts a list where its second event begins.
func cutEvent(list []byte) (event, rest []byte) {
	if at := bytes.Index(list[1:], []byte(eventHead)); at >= 0 {
		return list[:at+1], list[at+1:]
	}
	return list, nil
}

// instanceEvent finds the id of an event, and in its content the time that it was meant for.
func instanceEvent(event []byte) (id []byte, meant int64, ok bool) {
	id, _, ok = bytes.Cut(bytes.TrimPrefix(event, []byte(eventHead)), []byte(`"`))
	meant, isTime := field(event, `"content":"`)
	return id, meant, ok && isTime
}

func (rs *receipts) group(name string) *group {
	g := rs.groups[name]
	if g == nil {
		g = new(group)
		rs.groups[name] = g
	}
	return g
}

func (g *group) add(now, meant time.Time) {
	if g.Unique == 0 {
		g.First = now
	}
	g.Unique++
	g.Last = now
	g.latencies = append(g.latencies, now.Sub(meant))
}

// step returns the entry of the course for a time since the reset.
func (g *group) step(since time.Duration) *step {
	n := int(since / seriesStep)
	for len(g.Course) <= n {
		g.Course = append(g.Course, step{MaxInFlight: g.InFlight})
	}
	return &g.Course[n]
}

// field finds an integer in a payload.
func field(body []byte, name string) (int64, bool) {
	i := bytes.Index(body, []byte(name))
	if i < 0 {
		return 0, false
	}
	rest := body[i+len(name):]
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return n, err == nil
}

func (rs *receipts) report(c command) report {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := report{Connections: rs.conns, Groups: make(map[string]groupReport, len(rs.groups))}
	for name, g := range rs.groups {
		gr := g.groupReport
		if c.Full {
			gr.P50, gr.P99, gr.Max = quantile(g.latencies, 0.5), quantile(g.latencies, 0.99), quantile(g.latencies, 1)
		} else {
			gr.Course, gr.Ramp = nil, nil
		}
		r.Groups[name] = gr
	}
	if c.Reset {
		rs.reset()
	}
	return r
}
