package emitter

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRefusedAddressesAreNotDialled(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	url := serve(t, true, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	public := func(addrs ...string) Config {
		c := loopback(2 * time.Second)
		c.AllowCIDR = nil
		c.Resolver, _ = newNameServer(t, addrs...)
		return c
	}
	for name, row := range map[string]struct {
		host string
		c    Config
	}{
		"literal":                    {"127.0.0.1", public()},
		"IPv6 literal":               {"[::1]", public()},
		"mapped literal":             {"[::ffff:127.0.0.1]", public()},
		"literal with a zone":        {"[fe80::1%25lo]", public()},
		"metadata":                   {"169.254.169.254", public()},
		"name":                       {"example.com", public("127.0.0.1")},
		"name with a dot":            {"example.com.", public("127.0.0.1")},
		"one address of many":        {"example.com", public("8.8.8.8", "127.0.0.1")},
		"one family of two":          {"example.com", public("8.8.8.8", "::1")},
		"mapped address":             {"example.com", public("::ffff:127.0.0.1")},
		"NAT64 address":              {"example.com", public("64:ff9b::7f00:1")},
		"another name for ourselves": {"localhost", public("127.0.0.1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newTestClient(t, row.c)
			res := client.Post(t.Context(), hook(withHost(url, row.host)), event())
			if res.Class != ClassRefusedAddress {
				t.Errorf("class %s, error %q", res.Class, res.Attempt.Error)
			}
			checkError(t, res)
		})
	}
	t.Cleanup(func() {
		if n := requests.Load(); n != 0 {
			t.Errorf("%d requests came through", n)
		}
	})
}

func TestOneRefusedAddressRefusesTheName(t *testing.T) {
	t.Parallel()
	d := &dialer{}
	d.resolver, _ = newNameServer(t, "8.8.8.8", "8.8.4.4", "127.0.0.1")
	if addrs, err := d.lookUp(t.Context(), "example.com"); err == nil || !strings.Contains(err.Error(), ClassRefusedAddress) {
		t.Errorf("addresses %v, error %v", addrs, err)
	}
}

func TestAHostIsLookedUpOnceAndItsAddressesTriedInTurn(t *testing.T) {
	t.Parallel()
	url := serve(t, true, func(http.ResponseWriter, *http.Request) {})
	c := loopback(5 * time.Second)
	resolver, names := newNameServer(t, "127.0.0.9", "127.0.0.8", "127.0.0.1") // nobody listens on the first two
	c.Resolver = resolver
	res := newTestClient(t, c).Post(t.Context(), hook(withHost(url, "example.com")), event())
	if res.Class != ClassDelivered {
		t.Errorf("result %+v", res)
	}
	if n := names.queries.Load(); n != 2 { // A and AAAA
		t.Errorf("%d queries, want 2", n)
	}
}

func TestLookUpAndConnectFailuresHaveTheirClasses(t *testing.T) {
	t.Parallel()
	c := loopback(2 * time.Second)
	c.Resolver, _ = newNameServer(t)
	client := newTestClient(t, c)
	res := client.Post(t.Context(), hook("https://nowhere.example.com/"), event())
	if res.Class != ClassDNS || res.Attempt.Error != "dns: no such host" {
		t.Errorf("class %s, error %q", res.Class, res.Attempt.Error)
	}
	res = client.Post(t.Context(), hook("https://127.0.0.9:1/"), event())
	if res.Class != ClassConnect || res.Attempt.Error != "connect: connection refused" {
		t.Errorf("class %s, error %q", res.Class, res.Attempt.Error)
	}
}

// TestADialEndsWithItsAttempt is about net/http dialling under a context that outlives the request.
func TestADialEndsWithItsAttempt(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	url := serveConn(t, false, func(conn net.Conn) {
		untilClosed(conn) // never answers the handshake
		close(closed)
	})
	newTestClient(t, loopback(100*time.Millisecond)).Post(t.Context(), hook(url), event())
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("the connection is still open")
	}
}

func TestTheSocketsOwnAddressIsChecked(t *testing.T) {
	t.Parallel()
	d := &dialer{} // nothing allowed but public addresses; lookUp is bypassed
	_, err := d.dial(t.Context(), netip.MustParseAddr("127.0.0.1"), "1", 1)
	if err == nil || !strings.Contains(err.Error(), ClassRefusedAddress) {
		t.Errorf("error %v", err)
	}
}

func TestFamiliesTakeTurns(t *testing.T) {
	t.Parallel()
	var got []string
	var addrs []netip.Addr
	for _, s := range []string{"::1", "::2", "::3", "1.0.0.1", "1.0.0.2"} {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	for _, addr := range interleave(addrs) {
		got = append(got, addr.String())
	}
	if want := []string{"::1", "1.0.0.1", "::2", "1.0.0.2", "::3"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}
