package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// traffic is clients that create tickets until they are told to stop.
type traffic struct {
	stop    context.CancelFunc
	clients sync.WaitGroup

	mu           sync.Mutex
	acknowledged []string // ids of the tickets that clients know of
	failures     []string // answers that tell of a failure
	unserved     int      // connections closed without an answer
}

// startTraffic lets n clients post tickets, each call on a connection of its own: the server may close a kept one
// just when it is used. Some connections remain unserved all the same when Caddy reloads, with or without us: each
// config has a listener of its own, and closing one resets what waits in its queue. So they only count, and whether the
// API saw such a call is to be checked.
func startTraffic(p *proxy, n int) *traffic {
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{stop: stop}
	for range n {
		tr.clients.Go(func() {
			for ctx.Err() == nil {
				tr.post(p)
			}
		})
	}
	return tr
}

func (tr *traffic) post(p *proxy) {
	got, err := p.do(context.Background(), http.MethodPost, "/v1/tickets", `{}`, "Connection", "close")
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

// checkAllArrived waits until the events of all acknowledged tickets have arrived, and returns how many deliveries
// came twice.
func (tr *traffic) checkAllArrived(rc *receiver) (duplicates int) {
	rc.t.Helper()
	missing := make(map[string]bool)
	for _, id := range tr.acknowledged {
		missing[id] = true
	}
	deliveries := make(map[string]string)
	for timeout := time.After(patience); len(missing) > 0; {
		select {
		case got := <-rc.posts:
			var event struct{ ID json.Number }
			if err := json.Unmarshal([]byte(got.body), &event); err != nil {
				rc.t.Fatal(err)
			}
			delete(missing, event.ID.String())
			if body, again := deliveries[got.id()]; again {
				duplicates++
				if body != got.body {
					rc.t.Errorf("delivery %s came with two bodies: %s and %s", got.id(), body, got.body)
				}
			}
			deliveries[got.id()] = got.body
		case <-timeout:
			rc.t.Fatalf("%d of %d acknowledged events never came: %v", len(missing), len(tr.acknowledged), missing)
		}
	}
	return duplicates
}
