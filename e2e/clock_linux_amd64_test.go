package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wallClock sets the time of day of one process, and leaves its monotonic clock alone, as settimeofday does for all.
//
// Go reads clocks by a function that the kernel maps into every process. A debugger may write there, and only the
// process itself sees it: so another function takes its place, which asks the kernel and adds to the time of day.
type wallClock struct {
	t       *testing.T
	process *os.Process
	offset  int64 // where in the process's memory the nanoseconds are that it adds
	added   time.Duration
}

// shiftedClock is the code of that function: clock_gettime(edi, rsi), with the seconds to add in the last 8 bytes.
var shiftedClock = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, 228 (clock_gettime)
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi (CLOCK_REALTIME)
	0x75, 0x0a, // jne to ret
	0x48, 0x8b, 0x0d, 0x06, 0x00, 0x00, 0x00, // mov rcx, [rip+6]
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3,       // ret
	0x90, 0x90, // for alignment
	0, 0, 0, 0, 0, 0, 0, 0,
}

// clock takes over the clock of the running process.
func (p *proxy) clock() *wallClock {
	p.t.Helper()
	c := &wallClock{t: p.t, process: p.cmd.Process}
	base, size := c.vdso()
	image := make([]byte, size)
	c.memory(func(memory *os.File) error {
		_, err := memory.ReadAt(image, base)
		return err
	})
	at := base + functionAt(p.t, image, "__vdso_clock_gettime", len(shiftedClock))
	c.offset = at + int64(len(shiftedClock)) - 8
	c.outside(base, size, func() {
		c.memory(func(memory *os.File) error {
			_, err := memory.WriteAt(shiftedClock, at)
			return err
		})
	})
	return c
}

// jump sets the clock forward, or back if by is negative.
func (c *wallClock) jump(by time.Duration) {
	c.t.Helper()
	c.added += by
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(int64(c.added/time.Second) >> (8 * i))
	}
	c.memory(func(memory *os.File) error {
		_, err := memory.WriteAt(b, c.offset)
		return err
	})
}

func (c *wallClock) memory(use func(*os.File) error) {
	c.t.Helper()
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.process.Pid), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		c.t.Skipf("setting the clock of a process takes the right to debug it: %v", err)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	defer memory.Close()
	if err := use(memory); err != nil {
		c.t.Skipf("this kernel does not let the clock of a process be set: %v", err)
	}
}

// vdso is where the kernel's functions are in the process.
func (c *wallClock) vdso() (base, size int64) {
	c.t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", c.process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var end int64
		if _, err := fmt.Sscanf(line, "%x-%x", &base, &end); err == nil && strings.HasSuffix(line, "[vdso]\n") {
			return base, end - base
		}
	}
	c.t.Skip("this kernel gives processes no functions of its own")
	return 0, 0
}

func functionAt(t *testing.T, image []byte, name string, size int) int64 {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if s.Name == name && int(s.Size) >= size {
			return int64(s.Value)
		}
	}
	t.Skipf("this kernel's %s is missing or too short", name)
	return 0
}

// outside calls change while the process is stopped with no thread in the given range of its memory.
func (c *wallClock) outside(base, size int64, change func()) {
	c.t.Helper()
	send := func(s syscall.Signal) {
		if err := c.process.Signal(s); err != nil {
			c.t.Fatal(err)
		}
	}
	defer send(syscall.SIGCONT)
	eventually(c.t, "no thread that reads the clock", func() bool {
		send(syscall.SIGSTOP)
		for _, at := range c.counters() {
			if at == 0 || at >= base && at < base+size {
				send(syscall.SIGCONT)
				return false
			}
		}
		return true
	})
	change()
}

// counters are the program counters of all threads, 0 for one that is running.
func (c *wallClock) counters() (all []int64) {
	c.t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", c.process.Pid))
	if err != nil || len(threads) == 0 {
		c.t.Fatalf("no threads: %v", err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			c.t.Skipf("threads cannot be looked at: %v", err)
		}
		var at int64
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			if _, err := fmt.Sscanf(fields[len(fields)-1], "0x%x", &at); err != nil {
				c.t.Fatal(err)
			}
		}
		all = append(all, at)
	}
	return all
}

// lasting is a certificate for this machine that is its own authority and valid whatever the clock says, and the
// config that trusts it.
func lasting(t *testing.T, c config) (tls.Certificate, config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lasting"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "lasting.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	c.caddyfile = strings.Replace(standardCaddyfile, "trust_pool file CA", "trust_pool file "+file, 1)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, c
}

// A clock that is set under traffic holds up no delivery, neither new ones nor retries that wait, and has none
// retried more often than is configured.
func TestClockThatJumpsNeitherStallsNorStorms(t *testing.T) {
	t.Parallel()
	const wait, jitter = 500 * time.Millisecond, 5 // a fifth less or more, see patientRetry
	for name, jumps := range map[string][]time.Duration{
		"forward": {5 * time.Hour}, "back": {-5 * time.Hour}, "forth and back": {5 * time.Hour, -5 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certificate, c := lasting(t, config{global: "metrics", delivery: patientRetry})
			up, quick, failing := newUpstream(t), newReceiverAs(t, certificate), newReceiverAs(t, certificate)
			failing.answer(statuses(http.StatusInternalServerError))
			p := site(t, up, c)
			p.register("ticket", quick.url("/"))
			p.register("ticket", failing.url("/"))
			clock := p.clock()
			arrived := newArrivals(quick)
			early := make(map[string]int) // attempts that came too early, by delivery
			last := make(map[string]time.Time)
			for _, by := range append([]time.Duration{0}, jumps...) {
				tr := startPaced(p, 2, 60*time.Millisecond, `{}`)
				eventually(t, "tickets before the jump", func() bool { return tr.count() >= 10 })
				clock.jump(by)
				eventually(t, "tickets after the jump", func() bool { return tr.count() >= 20 })
				tr.end()
				tr.checkServed(t)
				arrived.await(tr.known())
				for begun := time.Now(); time.Since(begun) < 2*wait; {
					got := failing.next()
					if at, again := last[got.id()]; again && got.at.Sub(at) < wait-wait/jitter-wait/10 {
						early[got.id()]++
					}
					last[got.id()] = got.at
				}
			}
			for id, n := range early {
				if n > len(jumps) {
					t.Errorf("delivery %s was attempted too early %d times over %d jumps", id, n, len(jumps))
				}
			}
			failing.answer(nil)
			eventually(t, "deliveries that waited at the jump", func() bool {
				d := p.status().Deliveries
				return d != nil && d.Pending+d.Delivering == 0
			})
			if errors := p.metric("benti_webhooks_store_errors_total"); errors != 0 {
				t.Errorf("%v calls on the store failed", errors)
			}
			t.Logf("%d tickets, %d deliveries were attempted early", up.created(), len(early))
		})
	}
}
