package emitter

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
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
	check := func(name, host string, c Config) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newTestClient(t, c)
			res := client.Post(t.Context(), hook(withHost(url, host)), event())
			if res.Class != ClassRefusedAddress {
				t.Errorf("class %s, error %q", res.Class, res.Attempt.Error)
			}
			checkError(t, res)
		})
	}
	for _, host := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "168.63.129.16",
		"100.100.100.200", "192.0.0.192", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[::7f00:1]", "[::ffff:0:127.0.0.1]",
		"[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:808:808::80ff:fffe]",
		"[2001:db8::1]", "[3fff::1]", "[2001:2::1]", "[5f00::1]", "[100::1]", "[fc00::1]", "[fd00:ec2::254]", "[fd20:ce::254]", "[fe80::1]", "[fe80::1%25lo]", "[::1%25lo]",
		"[2600::1%25eth0]", "[fec0::1]", "[ff02::1]", "[ff0e::1]", "[2600::5efe:127.0.0.1]", "[2600::200:5efe:a9fe:a9fe]", "[fe80::5efe:10.0.0.1]",
	} {
		check("address/"+host, host, public())
	}
	for _, host := range []string{
		"2130706433", "0x7f000001", "0X7F000001", "017700000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0x0.0x0.0x1", "127.0.0.01", "00000177.0.0.1",
		"2852039166", "127.0.0.1.", "127.1.", "0", "0x", "1.2.3.4.5", "4294967297", "256.256.256.256", "127.0.0.0x1", "example.1",
	} {
		check("number/"+host, host, public("8.8.8.8")) // the resolver is not even asked
	}
	for name, row := range map[string]struct {
		host string
		c    Config
	}{
		"name":                       {"example.com", public("127.0.0.1")},
		"name with a dot":            {"example.com.", public("127.0.0.1")},
		"name in full-width letters": {"ｅｘａｍｐｌｅ.com", public("127.0.0.1")},
		"address, full-width":        {"１２７.０.０.１", public()},
		"one address of many":        {"example.com", public("8.8.8.8", "127.0.0.1")},
		"one family of two":          {"example.com", public("8.8.8.8", "::1")},
		"mapped address":             {"example.com", public("::ffff:127.0.0.1")},
		"NAT64 address":              {"example.com", public("64:ff9b::7f00:1")},
		"6to4 address":               {"example.com", public("2002:7f00:1::1")},
		"another name for ourselves": {"localhost", public("127.0.0.1")},
		"the same in capitals":       {"LOCALHOST.", public("127.0.0.1")},
		"below it":                   {"a.localhost", public("127.0.0.1")},
	} {
		check(name, row.host, row.c)
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

// TestAListedNetworkOpensNoOtherFormOfIt allows loopback, where a receiver listens, and no twin of it.
func TestAListedNetworkOpensNoOtherFormOfIt(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	url := serve(t, true, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	c := loopback(2 * time.Second)
	c.Resolver, _ = newNameServer(t, "64:ff9b::7f00:1")
	client := newTestClient(t, c)
	for _, host := range []string{
		"[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2600::5efe:127.0.0.1]", "2130706433", "127.1",
		"[::1%25lo]", "127.0.0.1.", "0.0.0.0", "[::]", "example.com",
	} {
		if res := client.Post(t.Context(), hook(withHost(url, host)), event()); res.Class != ClassRefusedAddress {
			t.Errorf("%s: class %s, error %q", host, res.Class, res.Attempt.Error)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests came through", n)
	}
	if res := client.Post(t.Context(), hook(url), event()); res.Class != ClassDelivered {
		t.Errorf("as it is listed: %+v", res)
	}
}

func TestNamesAreNotTakenForNumbers(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"example.com", "1.example.com", "example.com.", "0x7f.example", "1password.com", "x0x1", "a-1", "8.8.8.8", "2600::1", "a.b1", "0xyz"} {
		if disguised(host) {
			t.Errorf("%s is taken for an address in disguise", host)
		}
	}
}

func TestOnlyAllowedPortsAreDialled(t *testing.T) {
	t.Parallel()
	url := serve(t, true, func(http.ResponseWriter, *http.Request) {})
	_, text, _ := strings.Cut(strings.TrimPrefix(url, "https://"), ":")
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	c := loopback(2 * time.Second)
	for _, row := range []struct {
		ports []uint16
		class string
	}{
		{nil, ClassDelivered},
		{[]uint16{443, uint16(port)}, ClassDelivered},
		{[]uint16{443}, ClassRefusedAddress},
	} {
		c.AllowPorts = row.ports
		client := newTestClient(t, c)
		res := client.Post(t.Context(), hook(url), event())
		if res.Class != row.class || row.class != ClassDelivered && res.Attempt.Error != "refused_address: the port is not allowed" {
			t.Errorf("%v: %+v", row.ports, res)
		}
		err := client.Verify(t.Context(), url, testSecret)
		if refused, ok := errors.AsType[*VerifyError](err); row.class != ClassDelivered && (!ok || refused.Class != row.class) {
			t.Errorf("%v: the handshake: %v", row.ports, err)
		}
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
