package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// proxy is Caddy with Bentihooks, as a process between a client and a stub of the legacy API.
type proxy struct {
	t        *testing.T
	config   config
	upstream *upstream
	url      string // of the site
	port     int
	dir      string
	data     string   // the store's directory
	socket   string   // the admin endpoint
	wrapper  []string // what runs the binary, if not the test itself; it must become the binary
	env      []string // of the process, beside that of the test
	output   output
	client   *http.Client

	mu          sync.Mutex
	secrets     []string // that must not come out, see [leak]
	hookSecrets []string // those among them that are webhooks'

	cmd  *exec.Cmd // nil unless running
	done chan struct{}
	exit error // of the process; to be read after done
}

// site starts a proxy in front of up. When the test ends the proxy is stopped, and the test fails if it does not
// stop in order, panicked, raced or let out a secret.
func site(t *testing.T, up *upstream, c config) *proxy {
	t.Helper()
	p := newProxy(t, up, c)
	p.start()
	return p
}

// newProxy is a proxy that has not been started.
func newProxy(t *testing.T, up *upstream, c config) *proxy {
	t.Helper()
	// Not t.TempDir: a test's name may make the path too long for a socket.
	dir, err := os.MkdirTemp("", "benti-")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, config: c, upstream: up, port: freePort(t), dir: dir}
	p.url = fmt.Sprintf("http://127.0.0.1:%d", p.port)
	p.data = filepath.Join(dir, "data", "benti")
	p.socket = filepath.Join(dir, "admin.sock")
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16}
	p.client = &http.Client{
		Transport: transport, Timeout: 2 * patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if p.cmd != nil {
			p.askAll()
			p.stop()
		}
		p.checkOutput()
		p.checkUpstream()
		p.checkFiles()
		os.RemoveAll(dir)
	})
	return p
}

// command prepares a run of the binary in the proxy's environment.
func (p *proxy) command(ctx context.Context, args ...string) *exec.Cmd {
	name := binary
	if len(p.wrapper) > 0 {
		name, args = p.wrapper[0], append(append(p.wrapper[1:len(p.wrapper):len(p.wrapper)], binary), args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "HOME="+p.dir, "XDG_DATA_HOME="+p.dir+"/xdg-data", "XDG_CONFIG_HOME="+p.dir+"/xdg-config")
	cmd.Env = append(cmd.Env, p.env...)
	return cmd
}

// writeConfig writes the Caddyfile and returns its name.
func (p *proxy) writeConfig() string {
	p.t.Helper()
	name := filepath.Join(p.dir, "Caddyfile")
	if err := os.WriteFile(name, []byte(p.config.render(p)), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return name
}

func (p *proxy) start() {
	p.t.Helper()
	p.startWith("--config", p.writeConfig(), "--adapter", "caddyfile")
}

// startWith starts the process with arguments for "caddy run", and returns when it serves.
func (p *proxy) startWith(args ...string) {
	p.t.Helper()
	offset := p.output.len()
	p.launch(args...)
	if !p.output.await(offset, "serving initial configuration", p.done) {
		p.t.Fatal("the proxy does not start")
	}
}

// launch is startWith that does not wait.
func (p *proxy) launch(args ...string) {
	p.t.Helper()
	cmd := p.command(context.Background(), append([]string{"run"}, args...)...)
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		p.exit = cmd.Wait()
		close(done)
	}()
}

// stop ends the process in order, as a service manager does.
func (p *proxy) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Error("the proxy does not stop after SIGTERM")
		p.signal(syscall.SIGABRT) // shows where it hangs
		<-p.done
	}
	p.cmd = nil
	if p.exit != nil {
		p.t.Errorf("the proxy did not stop in order: %v", p.exit)
	}
}

// kill ends the process without a chance for it to do anything.
func (p *proxy) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.done
	p.cmd = nil
}

func (p *proxy) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// reload has the running process change to another config.
func (p *proxy) reload(c config) {
	p.t.Helper()
	p.config = c
	status, body, err := p.adminCall(http.MethodPost, "/load", "text/caddyfile", c.render(p))
	if err != nil || status != http.StatusOK {
		p.t.Fatalf("reloading: status %d, %v: %s", status, err, body)
	}
	p.settle()
}

// settle waits for the config that is not, or no longer, in force to be gone. A connection that its listener still accepts ends
// unanswered, and so does one that is kept from before; a POST may not be repeated.
func (p *proxy) settle() {
	p.t.Helper()
	eventually(p.t, "the other config's listener to close", func() bool { return p.listeners() <= 1 })
	p.client.CloseIdleConnections()
}

// listeners counts the sockets that listen on the proxy's port: each config has its own. It is 0 where there is no /proc.
func (p *proxy) listeners() (n int) {
	port := fmt.Sprintf(":%04X", p.port)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		table, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for row := range strings.Lines(string(table)) {
			const local, state, listening = 1, 3, "0A"
			if f := strings.Fields(row); len(f) > state && strings.HasSuffix(f[local], port) && f[state] == listening {
				n++
			}
		}
	}
	return n
}

// adminCall calls Caddy's admin endpoint.
func (p *proxy) adminCall(method, path, contentType, body string) (status int, answer []byte, err error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.socket)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: patience}
	request, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	p.checkAnswer(path, response.Header, answer)
	return response.StatusCode, answer, err
}

// checkOutput looks at all that the process wrote, which is at level debug.
func (p *proxy) checkOutput() {
	all, _ := p.output.from(0)
	if line := leak(all, p.knownSecrets()); line != "" {
		p.t.Errorf("a secret is in the log: %s", line)
	}
	for _, bad := range []string{"DATA RACE", "panic", "fatal error:", "goroutine 1 ["} {
		if at := bytes.Index(all, []byte(bad)); at >= 0 {
			p.t.Errorf("%q is in the log: %s", bad, lineAt(all, at))
		}
	}
	const shown = 20_000
	if p.t.Failed() {
		p.t.Logf("end of the proxy's log:\n%s", all[max(0, len(all)-shown):])
	}
}

func lineAt(text []byte, at int) []byte {
	begin := bytes.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := bytes.Cut(text[begin:], []byte("\n"))
	return line
}

var portsGiven atomic.Int32

// freePort returns a port that nobody listens on and that no outgoing connection gets by chance, so that a
// process can come back to it. It asks by connecting: a socket of a listener that was closed lives on for a moment
// in a process forked meanwhile, so that listening for a try would now and then take the port away.
func freePort(t *testing.T) int {
	t.Helper()
	const first, count = 12_000, 20_000
	for range 100 {
		port := first + (os.Getpid()*97+int(portsGiven.Add(1)))%count
		connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return port
		}
		connection.Close()
	}
	t.Fatal("no free port")
	return 0
}

// listen listens at an address that is free, or will be once a forked process lets go of it, see [freePort].
func listen(t *testing.T, address string) (listener net.Listener) {
	t.Helper()
	eventually(t, "a free address "+address, func() bool {
		var err error
		listener, err = net.Listen("tcp", address)
		return err == nil
	})
	return listener
}
