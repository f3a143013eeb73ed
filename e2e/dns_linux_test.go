package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers every question for an address with 127.0.0.1, until told otherwise.
type nameServer struct {
	t       *testing.T
	address string

	mu     sync.Mutex
	socket net.PacketConn
	addrs  []netip.Addr
	fault  dnsmessage.RCode // what is answered instead
	silent bool
}

// nameServers counts those of this process.
var nameServers atomic.Int32

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	// Each server has an address of its own, in each process: the port cannot be chosen.
	n := os.Getpid()*16 + int(nameServers.Add(1))
	s := &nameServer{t: t, address: fmt.Sprintf("127.%d.%d.%d:53", 53+n/62500%100, n/250%250+1, n%250+1)}
	s.up()
	t.Cleanup(s.down)
	return s
}

// up has the server answer as it should.
func (s *nameServer) up() {
	s.t.Helper()
	s.down()
	socket, err := net.ListenPacket("udp", s.address)
	if err != nil {
		s.t.Skipf("names are looked up at port 53, which is not to be had: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.socket, s.fault, s.silent = socket, dnsmessage.RCodeSuccess, false
	if s.addrs == nil {
		s.addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	go s.serve(socket)
}

// answer has it answer with these addresses from now on.
func (s *nameServer) answer(addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addrs = nil
	for _, addr := range addrs {
		s.addrs = append(s.addrs, netip.MustParseAddr(addr))
	}
}

// down has it refuse questions.
func (s *nameServer) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.socket != nil {
		s.socket.Close()
	}
	s.socket = nil
}

// fail has it answer with an error, or not at all.
func (s *nameServer) fail(code dnsmessage.RCode, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.silent = code, silent
}

func (s *nameServer) serve(socket net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := socket.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err != nil || len(m.Questions) != 1 {
			continue
		}
		s.mu.Lock()
		fault, silent, addrs := s.fault, s.silent, s.addrs
		s.mu.Unlock()
		if silent {
			continue
		}
		m.Response, m.RCode, m.Additionals = true, fault, nil
		if fault == dnsmessage.RCodeSuccess {
			m.Answers = resources(m.Questions[0], addrs)
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = socket.WriteTo(answer, from)
		}
	}
}

// resources are the records with those of the addresses that a question is about.
func resources(q dnsmessage.Question, addrs []netip.Addr) (found []dnsmessage.Resource) {
	for _, addr := range addrs {
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}}
		switch {
		case q.Type == dnsmessage.TypeA && addr.Is4():
			r.Body = &dnsmessage.AResource{A: addr.As4()}
		case q.Type == dnsmessage.TypeAAAA && addr.Is6():
			r.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
		default:
			continue
		}
		found = append(found, r)
	}
	return found
}

// asks has the proxy ask this server alone, in a mount namespace of its own.
func (s *nameServer) asks(p *proxy) {
	s.t.Helper()
	needRoot(s.t)
	if _, err := exec.LookPath("unshare"); err != nil {
		s.t.Skipf("a process with name servers of its own takes unshare: %v", err)
	}
	host, _, _ := strings.Cut(s.address, ":")
	files := map[string]string{
		"resolv.conf": "nameserver " + host + "\noptions timeout:1 attempts:1\n", "hosts": "127.0.0.1 localhost\n", "nsswitch.conf": "hosts: files dns\n",
	}
	script := "export GODEBUG=netdns=go"
	for name, content := range files {
		file := filepath.Join(p.dir, name)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			s.t.Fatal(err)
		}
		if _, err := os.Stat("/etc/" + name); err == nil {
			script += " && mount --bind " + file + " /etc/" + name
		}
	}
	p.wrapper = []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", script + ` && exec "$0" "$@"`}
	if out, err := p.command(s.t.Context(), "version").CombinedOutput(); err != nil {
		s.t.Skipf("mounting over files in /etc: %v: %s", err, out)
	}
}

// While a receiver's name cannot be looked up, its deliveries wait, and those of others do not.
func TestReceiverWhoseNameIsNotResolvedIsRetried(t *testing.T) {
	t.Parallel()
	const name = "receiver.example"
	certificate, err := certs.issue(name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	up, byAddress, byName := newUpstream(t), newReceiver(t), newReceiverAs(t, certificate)
	_, port, _ := strings.Cut(byName.address, ":")
	names := newNameServer(t)
	p := newProxy(t, up, config{delivery: patientRetry})
	names.asks(p)
	p.start()
	other := p.register("ticket", byAddress.url("/"))
	w := p.register("ticket", "https://"+name+":"+port+"/")
	p.ticket()
	byAddress.next()
	byName.next()
	p.settled(w, "delivered")

	for _, c := range []struct {
		name, text string
		fail       func()
	}{
		{"nobody answers there", "look-up failed", names.down},
		{"server failure", "look-up failed", func() { names.fail(dnsmessage.RCodeServerFailure, false) }},
		{"no such name", "no such host", func() { names.fail(dnsmessage.RCodeNameError, false) }},
		{"silence", "look-up timed out", func() { names.fail(dnsmessage.RCodeSuccess, true) }},
	} {
		byName.down() // a connection would outlive the name
		byName.up()
		c.fail()
		p.ticket()
		if got := byAddress.next(); got.attempt() != 1 {
			t.Errorf("%s: the other receiver got attempt %d", c.name, got.attempt())
		}
		if d := p.settled(other, "delivered"); len(d.Attempts) != 1 {
			t.Errorf("%s: listed for the other receiver: %+v", c.name, d)
		}
		var failed delivery
		eventually(t, "two failed attempts", func() bool {
			list, _ := p.page(w, "?limit=1")
			failed = list[0]
			return len(failed.Attempts) >= 2
		})
		for _, a := range failed.Attempts[:2] {
			if a.Error == nil || *a.Error != "dns: "+c.text {
				t.Errorf("%s: listed: %v, want %q", c.name, a.Error, "dns: "+c.text)
			}
		}
		got := p.call(http.MethodPost, "/v1/webhooks", registration("queue", "https://"+name+":"+port+"/", p.newSecret()))
		got.checkError(t, http.StatusUnprocessableEntity, "url")
		names.up()
		if got := byName.next(); got.id() != failed.ID || got.attempt() < 3 {
			t.Errorf("%s: afterwards came attempt %d of %s, want %s", c.name, got.attempt(), got.id(), failed.ID)
		}
		p.settled(w, "delivered")
	}
	p.becomes(w, "active")
	byName.none()
	byAddress.none()
}
