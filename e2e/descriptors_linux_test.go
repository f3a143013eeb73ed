package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Without file descriptors for new connections, what is connected goes on: clients, the API, receivers. Attempts that
// would need a connection fail and are made again, new clients wait. All is well when there are descriptors again.
func TestNoFileDescriptorsLosesNothing(t *testing.T) {
	t.Parallel()
	up, connected, other := newUpstream(t), newReceiver(t), newReceiver(t)
	p := site(t, up, config{global: "metrics", delivery: patientRetry})
	p.register("ticket", connected.url("/"))
	w := p.register("ticket", other.url("/"))
	p.ticket()
	connected.next()
	other.next()
	p.settled(w, "delivered")
	other.down() // the connection to it is gone
	other.up()

	restore := p.limitDescriptors()
	const tickets = 20
	for range tickets {
		p.ticket() // on the connection that has been used all the time
	}
	newArrivals(connected).await(numbers(tickets + 1)[1:])
	var failed delivery
	eventually(t, "a failed attempt", func() bool {
		list, _ := p.page(w, "?limit=20")
		failed = list[len(list)-1]
		return len(failed.Attempts) > 0
	})
	if e := failed.Attempts[0].Error; e == nil || !strings.HasPrefix(*e, "connect: ") || !strings.Contains(*e, "too many open files") {
		t.Errorf("listed: %+v", failed)
	}
	other.none()
	newcomer := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	answered := make(chan string)
	go func() {
		got, err := newcomer.Post(p.url+"/v1/tickets", "application/json", strings.NewReader(`{}`))
		if err != nil {
			answered <- err.Error()
			return
		}
		got.Body.Close()
		answered <- got.Status
	}()
	select {
	case got := <-answered:
		t.Fatalf("there was a descriptor for a new client: %s", got)
	case <-time.After(200 * time.Millisecond):
	}

	restore()
	if got := <-answered; got != "201 Created" {
		t.Errorf("the client that waited got %s", got)
	}
	came := newArrivals(other)
	came.await(numbers(tickets + 2)[1:])
	p.emptied()
	if lost, errors := p.metric("benti_webhooks_lost_total"), p.metric("benti_webhooks_store_errors_total"); lost+errors != 0 {
		t.Errorf("%v events were lost, %v calls on the store failed", lost, errors)
	}
	p.reload(p.config)
	p.ticket()
	came.await([]string{numbers(tickets + 3)[tickets+2]})
}

// limitDescriptors leaves the running process those that it has open, and no other until restore is called.
func (p *proxy) limitDescriptors() (restore func()) {
	p.t.Helper()
	var before unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		p.t.Skipf("reading the limits of a process: %v", err)
	}
	set := func(limit uint64) {
		p.t.Helper()
		if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: before.Max}, nil); err != nil {
			p.t.Fatal(err)
		}
	}
	set(3) // a new one would have a number below that, which are all taken
	return func() { set(before.Cur) }
}
