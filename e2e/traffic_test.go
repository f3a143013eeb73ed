package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// traffic is clients that create tickets until they are told to stop.
type traffic struct {
	stop    context.CancelFunc
	clients sync.WaitGroup
	body    string

	mu           sync.Mutex
	acknowledged []string // ids of the tickets that clients know of
	failures     []string // answers that tell of a failure
	unserved     int      // connections closed without an answer
}

// startTraffic lets n clients post tickets, each call on a connection of its own: the server may close a kept one
// just when it is used. Some connections remain unserved all the same when Caddy reloads, with or without us: each
// config has a listener of its own, and closing one resets what waits in its queue. So they only count, and whether the
// API saw such a call is to be checked.
func startTraffic(p *proxy, n int) *traffic { return startPaced(p, n, 0, `{}`) }

// startPaced is startTraffic of clients that wait between their calls.
func startPaced(p *proxy, n int, pause time.Duration, body string) *traffic {
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{stop: stop, body: body}
	for range n {
		tr.clients.Go(func() {
			for ctx.Err() == nil {
				wait := pause
				if !tr.post(p) {
					wait += unservedPause
				}
				select {
				case <-ctx.Done():
				case <-time.After(wait):
				}
			}
		})
	}
	return tr
}

// unservedPause is what a client waits when nobody answers.
const unservedPause = 5 * time.Millisecond

// post makes one call, and reports whether it was answered.
func (tr *traffic) post(p *proxy) bool {
	got, err := p.do(context.Background(), http.MethodPost, "/v1/tickets", tr.body, "Connection", "close")
	tr.mu.Lock()
	defer tr.mu.Unlock()
	switch {
	case err != nil:
		tr.unserved++
	case got.status != http.StatusCreated:
		tr.failures = append(tr.failures, fmt.Sprint(got.status, " ", got.body))
	default:
		tr.acknowledged = append(tr.acknowledged, strings.Trim(got.body, `{}id:"`))
	}
	return err == nil
}

// end stops the clients and waits for their last calls.
func (tr *traffic) end() {
	tr.stop()
	tr.clients.Wait()
}

// count is how many tickets were acknowledged so far.
func (tr *traffic) count() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.acknowledged)
}

// known returns the ids that clients know of so far.
func (tr *traffic) known() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.acknowledged)
}

// checkServed fails unless every call had the answer of the API.
func (tr *traffic) checkServed(t *testing.T) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.failures) > 0 {
		t.Errorf("%d calls failed, the first with %s", len(tr.failures), tr.failures[0])
	}
	if tr.unserved > 0 {
		t.Errorf("%d calls had no answer", tr.unserved)
	}
}

// checkAllArrived waits until the events of all acknowledged tickets have arrived, and returns how many deliveries
// came twice.
func (tr *traffic) checkAllArrived(rc *receiver) (duplicates int) {
	rc.t.Helper()
	a := newArrivals(rc)
	a.await(tr.known())
	return a.duplicates
}

// arrivals is what a receiver got, told apart by event and by delivery.
type arrivals struct {
	rc         *receiver
	events     map[string]bool   // by the id of the item
	deliveries map[string]string // bodies by the id of the delivery
	duplicates int
}

func newArrivals(rc *receiver) *arrivals {
	return &arrivals{rc: rc, events: make(map[string]bool), deliveries: make(map[string]string)}
}

func (a *arrivals) add(got *post) {
	a.rc.t.Helper()
	var event struct{ ID json.Number }
	if err := json.Unmarshal([]byte(got.body), &event); err != nil {
		a.rc.t.Fatal(err)
	}
	a.events[event.ID.String()] = true
	if body, again := a.deliveries[got.id()]; again {
		a.duplicates++
		if body != got.body {
			a.rc.t.Errorf("delivery %s came with two bodies: %s and %s", got.id(), body, got.body)
		}
	}
	a.deliveries[got.id()] = got.body
}

// await waits until the events of all tickets have arrived. It gives up when no delivery came for a while.
func (a *arrivals) await(tickets []string) {
	a.rc.t.Helper()
	for _, id := range tickets {
		for !a.events[id] {
			select {
			case got := <-a.rc.posts:
				a.add(got)
			case <-time.After(patience):
				missing := slices.DeleteFunc(slices.Clone(tickets), func(id string) bool { return a.events[id] })
				a.rc.t.Fatalf("%d of %d acknowledged events never came: %v", len(missing), len(tickets), missing[:min(len(missing), 50)])
			}
		}
	}
}

// rest takes what has come beside what was waited for.
func (a *arrivals) rest() {
	a.rc.t.Helper()
	for {
		select {
		case got := <-a.rc.posts:
			a.add(got)
		default:
			return
		}
	}
}
