package e2e

import (
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// TestNamesCannotLeadInside has a receiver's name change its mind: between handshake and delivery, between look-ups, and within
// one answer. Of two receivers at the same port one is allowed.
func TestNamesCannotLeadInside(t *testing.T) {
	t.Parallel()
	const name, allowed, inside = "receiver.example", "127.0.0.1", "127.0.0.2"
	certificate, err := certs.issue(name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	up, rc := newUpstream(t), newReceiverAs(t, certificate)
	_, port, _ := net.SplitHostPort(rc.address)
	var within atomic.Int32
	listener := listen(t, net.JoinHostPort(inside, port))
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			within.Add(1)
			conn.Close()
		}
	}()
	names := newNameServer(t)
	p := newProxy(t, up, config{public: true, delivery: "allow_cidr " + allowed + "/32\nretry 50ms"})
	names.asks(p)
	p.start()
	url := fmt.Sprintf("https://%s:%s/", name, port)
	w := p.register("ticket", url)

	for i, addrs := range [][]string{
		{inside},
		{allowed, inside},
		{inside, allowed},
		{allowed, "::1"},
		{allowed, "::ffff:127.0.0.2"},
		{"64:ff9b::7f00:1"},
		{"2002:7f00:1::"},
		{"::ffff:127.0.0.2"},
		{"8.8.8.8", inside},
		{"169.254.169.254"},
		{"0.0.0.0"},
		{"fe80::1"},
		{"::"},
		{"fd00:ec2::254", allowed},
	} {
		rc.down() // what is connected would stay so
		rc.up()
		names.answer(addrs...)
		p.ticket()
		d := p.settled(w, "dead")
		for _, a := range d.Attempts {
			if a.Error == nil || *a.Error != "refused_address: the host has an address that is not public and not allowed" {
				t.Errorf("%v: listed: %+v", addrs, a)
			}
		}
		checkRefused(t, p, url+fmt.Sprint(i), refusedMessage)
		names.answer(allowed)
		p.must(http.StatusAccepted, "POST", w.path()+"/deliveries/"+d.ID+"/redeliver", "")
		if got := rc.next(); got.id() != d.ID {
			t.Errorf("%v: afterwards came %s", addrs, got.id())
		}
		p.settled(w, "delivered")
	}

	// A connection that stands leads to where it was vetted.
	names.answer(inside)
	p.ticket()
	rc.next()

	// A server that answers every question otherwise gets nothing but a refusal for its pains.
	rc.down()
	rc.up()
	stop := make(chan struct{})
	go func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-ticker.C:
				names.answer([]string{allowed, inside}[i%2])
			}
		}
	}()
	for range 50 {
		p.ticket()
	}
	eventually(t, "an end of all deliveries", func() bool {
		list, _ := p.page(w, "?limit=50")
		for _, d := range list {
			if d.State != "dead" && d.State != "delivered" {
				return false
			}
		}
		return true
	})
	close(stop)
	if n := within.Load(); n != 0 {
		t.Errorf("%d connections inside", n)
	}
}
