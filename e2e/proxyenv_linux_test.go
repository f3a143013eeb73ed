package e2e

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A proxy named by the environment would look up receivers' names itself, past the check of their addresses.
func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	t.Parallel()
	const name, address = "receiver.example", "127.0.0.1" // a name, as no proxy is ever asked for addresses of this machine
	certificate, err := certs.issue(name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	up, rc := newUpstream(t), newReceiverAs(t, certificate)
	_, port, _ := net.SplitHostPort(rc.address)
	listener := listen(t, net.JoinHostPort(address, "0"))
	t.Cleanup(func() { listener.Close() })
	var asked atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			conn.Close()
		}
	}()
	names := newNameServer(t)
	names.answer(address)
	p := newProxy(t, up, config{})
	names.asks(p)
	for _, variable := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"} {
		p.env = append(p.env, variable+"=http://"+listener.Addr().String())
	}
	p.start()
	w := p.register("ticket", fmt.Sprintf("https://%s:%s/", name, port))
	p.ticket()
	rc.next()
	p.settled(w, "delivered")
	if n := asked.Load(); n > 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
}
