package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// trap counts the connections to a port of this machine, at all its addresses.
type trap struct {
	port        int
	connections atomic.Int32
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	tr := &trap{port: freePort(t)}
	listener := listen(t, fmt.Sprint(":", tr.port))
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			tr.connections.Add(1)
			conn.Close()
		}
	}()
	return tr
}

const (
	refusedMessage = "verifying the url: the receiver's address is refused: it must be public or explicitly allowed"
	noName         = "url has a host that is no valid name"
	noURL          = "url is not a valid URL"
	zoned          = "url has an address with a zone, which means something on one machine only"
)

// hostileHosts are spellings of hosts that no receiver may have, with what is answered.
var hostileHosts = map[string]string{
	// loopback
	"127.0.0.1": refusedMessage, "127.255.255.254": refusedMessage, "[::1]": refusedMessage, "[0:0:0:0:0:0:0:1]": refusedMessage,
	"localhost": refusedMessage, "LOCALHOST": refusedMessage, "localhost.": refusedMessage, "LocalHost.": refusedMessage,
	// numbers that some resolvers read
	"2130706433": refusedMessage, "0x7f000001": refusedMessage, "0X7F000001": refusedMessage, "017700000001": refusedMessage, "0x7f.1": refusedMessage,
	"127.1": refusedMessage, "127.0.1": refusedMessage, "0177.0.0.1": refusedMessage, "0x7f.0x0.0x0.0x1": refusedMessage, "127.0.0.01": refusedMessage,
	"127.0.0.1.": refusedMessage, "0": refusedMessage, "2852039166": refusedMessage, "0xa9fea9fe": refusedMessage, "1.2.3.4.5": refusedMessage,
	// what browsers take for the same
	"１２７.0.0.1": refusedMessage, "①②⑦.0.0.1": refusedMessage, "127。0。0。1": refusedMessage, "loc\u00adalhost": refusedMessage, "ｌｏｃａｌｈｏｓｔ": refusedMessage,
	"ⓛocalhost": refusedMessage, "%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1": refusedMessage,
	// not public
	"0.0.0.0": refusedMessage, "10.0.0.1": refusedMessage, "172.16.0.1": refusedMessage, "172.31.255.255": refusedMessage, "192.168.1.1": refusedMessage,
	"169.254.169.254": refusedMessage, "169.254.170.2": refusedMessage, "100.64.0.1": refusedMessage, "100.100.100.200": refusedMessage,
	"168.63.129.16": refusedMessage, "192.0.0.192": refusedMessage, "192.0.0.9": refusedMessage, "192.88.99.1": refusedMessage, "198.18.0.1": refusedMessage,
	"192.0.2.1": refusedMessage, "198.51.100.1": refusedMessage, "203.0.113.1": refusedMessage, "224.0.0.1": refusedMessage, "239.255.255.255": refusedMessage,
	"240.0.0.1": refusedMessage, "255.255.255.255": refusedMessage,
	"[::]": refusedMessage, "[fe80::1]": refusedMessage, "[fec0::1]": refusedMessage, "[fc00::1]": refusedMessage, "[fd00:ec2::254]": refusedMessage,
	"[fd20:ce::254]": refusedMessage, "[ff02::1]": refusedMessage, "[ff0e::1]": refusedMessage, "[2001:db8::1]": refusedMessage, "[3fff::1]": refusedMessage,
	"[2001:2::1]": refusedMessage, "[2001:20::1]": refusedMessage, "[5f00::1]": refusedMessage, "[100::1]": refusedMessage, "[100:0:0:1::1]": refusedMessage,
	// IPv4 in IPv6
	"[::ffff:127.0.0.1]": refusedMessage, "[::ffff:7f00:1]": refusedMessage, "[0:0:0:0:0:ffff:127.0.0.1]": refusedMessage, "[::ffff:169.254.169.254]": refusedMessage,
	"[::127.0.0.1]": refusedMessage, "[::7f00:1]": refusedMessage, "[::ffff:0:127.0.0.1]": refusedMessage, "[64:ff9b::127.0.0.1]": refusedMessage,
	"[64:ff9b::a9fe:a9fe]": refusedMessage, "[64:ff9b:1::127.0.0.1]": refusedMessage, "[2002:7f00:1::]": refusedMessage, "[2002:a9fe:a9fe::1]": refusedMessage,
	"[2001:0:808:808::80ff:fffe]": refusedMessage, "[2600::5efe:127.0.0.1]": refusedMessage, "[2600::200:5efe:10.0.0.1]": refusedMessage,
	// no hosts
	"[::1%25lo]": zoned, "[fe80::1%25eth0]": zoned, "[::1%lo]": noURL, "[127.0.0.1]": noURL, "[localhost]": noURL, "[::1": noURL,
	"%31%32%37.0.0.1": noURL, "127.0.0.1\\@example.com": noURL, "example.com\\": noURL, "example.com%00": noURL,
	"me@127.0.0.1": "url must not hold a user name or password", "example.com:x@127.0.0.1": "url must not hold a user name or password",
	"127.0.0.1／": noName, "example.com＠127.0.0.1": noName, "127.0.0.1：22": noName, "..": noName, "a..b": noName, "*": noName, "℀": noName, "example,com": noName,
}

// Without allow_cidr nothing inside can be reached, however its address is spelled.
func TestReceiversOnThisMachineAreRefusedUnlessAllowed(t *testing.T) {
	t.Parallel()
	up, tr := newUpstream(t), newTrap(t)
	p := site(t, up, config{public: true})
	tried := 0
	for host, want := range hostileHosts {
		tried++
		// Several projects, as those that fail too often have to wait.
		checkRefused(t, p, fmt.Sprintf("https://%s:%d/", host, tr.port), want, "X-Inbenta-Key", fmt.Sprint(tried%4))
	}
	t.Logf("%d hosts", tried)
	if n := tr.connections.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
	if list := p.webhooks(); len(list) != 0 {
		t.Errorf("registered all the same: %+v", list)
	}
}

// checkRefused fails unless a registration is refused for its url.
func checkRefused(t *testing.T, p *proxy, url, want string, header ...string) {
	t.Helper()
	got := p.call(http.MethodPost, "/v1/webhooks", fmt.Sprintf(`{"item":"ticket","url":"%s","secret":"s"}`, strings.ReplaceAll(url, `\`, `\\`)), header...)
	if message := got.checkError(t, http.StatusUnprocessableEntity, "url"); message != want {
		t.Errorf("%s: %q, want %q", url, message, want)
	}
}

// What is listed is opened, and nothing that is like it.
func TestAllowCIDROpensExactlyWhatItSays(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{public: true, delivery: "allow_cidr 127.0.0.1/32 64:ff9b::/96"})
	_, port, _ := net.SplitHostPort(rc.address)
	for _, host := range []string{
		"127.0.0.2", "127.1.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.2]", "[64:ff9b::10.0.0.1]",
		"[64:ff9b:1::127.0.0.1]", "[2002:7f00:1::]", "[2001:0:808:808::80ff:fffe]", "[2600::5efe:127.0.0.1]", "2130706433", "127.1", "127.0.0.1.", "0.0.0.0", "[::]",
	} {
		checkRefused(t, p, "https://"+host+":"+port+"/", refusedMessage)
	}
	if n := rc.connections.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
	p.register("ticket", rc.url("/"))
}

func TestAllowPortsHoldsForRegistrationsAndDeliveries(t *testing.T) {
	t.Parallel()
	up, rc, other := newUpstream(t), newReceiver(t), newTrap(t)
	_, port, _ := net.SplitHostPort(rc.address)
	p := site(t, up, config{delivery: "retry 50ms\nallow_ports 8443 " + port})
	w := p.register("ticket", rc.url("/"))
	want := "; allowed here are 8443, " + port
	checkRefused(t, p, fmt.Sprintf("https://127.0.0.1:%d/", other.port), fmt.Sprint("url has port ", other.port, want))
	checkRefused(t, p, "https://127.0.0.1/", "url has port 443"+want)
	checkRefused(t, p, "https://127.0.0.1：22:"+port+"/", noName)
	message := p.call(http.MethodPut, w.path(), fmt.Sprintf(`{"url":"https://127.0.0.1:%d/","secret":"s"}`, other.port)).checkError(t, 422, "url")
	if message != fmt.Sprint("url has port ", other.port, want) {
		t.Errorf("message %q", message)
	}
	p.ticket()
	rc.next()

	before := rc.connections.Load()
	p.reload(config{delivery: "retry 50ms\nallow_ports 443 8443"})
	p.ticket()
	d := p.settled(w, "dead")
	for _, a := range d.Attempts {
		if a.Error == nil || *a.Error != "refused_address: the port is not allowed" {
			t.Errorf("listed: %+v", a)
		}
	}
	if message := p.call(http.MethodPut, w.path(), `{"secret":"another"}`).checkError(t, 422, "url"); message != "url has a port that is no longer allowed" {
		t.Errorf("message %q", message)
	}
	if n := rc.connections.Load() - before + other.connections.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// No secret goes anywhere by a redirect of a handshake.
func TestHandshakesFollowNoRedirect(t *testing.T) {
	t.Parallel()
	up, rc, elsewhere := newUpstream(t), newReceiver(t), newTrap(t)
	p := site(t, up, config{})
	for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		rc.answerHandshake(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", fmt.Sprintf("https://127.0.0.1:%d/", elsewhere.port))
			w.Header().Set("Refresh", "0; url="+w.Header().Get("Location"))
			w.WriteHeader(status)
		})
		checkRefused(t, p, rc.url(fmt.Sprint("/", status)), "verifying the url: the receiver did not answer with status 200")
		p.logged(0, `"receiver did not pass the handshake"`, `"result":"status"`, fmt.Sprintf(`"status":%d,`, status))
	}
	if n := elsewhere.connections.Load(); n != 0 {
		t.Errorf("%d connections to where redirects point", n)
	}
}
