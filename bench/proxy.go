package main

import (
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
	"time"
)

// proxyConfig is a Caddyfile's variable parts.
type proxyConfig struct {
	// plain leaves out everything of ours: reverse_proxy alone.
	plain bool
	// data is the store's directory.
	data string
	// handler and delivery are lines for the blocks of benti_webhooks and delivery.
	handler, delivery string
	// dashboard has one at /dashboard/ of the site.
	dashboard bool
}

const proxyCaddyfile = `{
	admin unix/ADMIN
	persist_config off
	auto_https off
	grace_period 1s
	GLOBAL
}
http://127.0.0.1:PORT {
	DASHBOARD
	HANDLER
	reverse_proxy 127.0.0.1:UPSTREAM
}
http://127.0.0.1:BESIDE {
	reverse_proxy 127.0.0.1:UPSTREAM
}
`

const ourGlobal = `benti {
		store badger DATA {
			min_free 64MiB
		}
		delivery {
			allow_cidr 127.0.0.0/8
			trust_pool file CA
			DELIVERY
		}
	}`

const ourHandler = `benti_webhooks {
		authorize off
		LINES
	}`

const ourDashboard = `handle_path /dashboard/* {
		benti_dashboard {
			authorize off
		}
	}`

// proxy is Caddy with our modules, in front of the stub of the legacy API.
type proxy struct {
	*process
	addr   string
	beside string // a second site, without our handler
	dir    string
	data   string
	begun  time.Time // when it was started
	served time.Time // when its site first took a connection
	admin  *http.Client
}

// startProxy returns when the site serves.
func (b *bench) startProxy(ctx context.Context, c proxyConfig) (*proxy, error) {
	dir, err := os.MkdirTemp(b.dir, "proxy-")
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	beside, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	p := &proxy{addr: fmt.Sprintf("127.0.0.1:%d", port), beside: fmt.Sprintf("127.0.0.1:%d", beside), dir: dir, data: c.data}
	socket := filepath.Join(dir, "admin")
	p.admin = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	name := filepath.Join(dir, "Caddyfile")
	text := strings.NewReplacer("ADMIN", socket, "PORT", fmt.Sprint(port), "BESIDE", fmt.Sprint(beside), "UPSTREAM", fmt.Sprint(b.api.port)).Replace(c.caddyfile(b.certFile))
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log")) //nolint:gosec // our own directory
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, b.binary, "run", "--config", name, "--adapter", "caddyfile") //nolint:gosec // our own
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stdout, cmd.Stderr = log, log
	p.begun = time.Now()
	if p.process, err = b.startProcess(cmd); err != nil {
		return nil, err
	}
	if err := p.awaitServing(ctx); err != nil {
		p.kill()
		return nil, fmt.Errorf("%w; its log ends with:\n%s", err, p.logEnd())
	}
	p.served = time.Now()
	return p, nil
}

func (c proxyConfig) caddyfile(ca string) string {
	global, handler, dashboard := "", "", ""
	if c.dashboard {
		dashboard = ourDashboard
	}
	if !c.plain {
		global = strings.NewReplacer("DATA", c.data, "CA", ca, "DELIVERY", c.delivery).Replace(ourGlobal)
		handler = strings.Replace(ourHandler, "LINES", c.handler, 1)
	}
	return strings.NewReplacer("GLOBAL", global, "HANDLER", handler, "DASHBOARD", dashboard).Replace(proxyCaddyfile)
}

func freePort(ctx context.Context) (int, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func (p *proxy) awaitServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !p.ended() {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
		if err == nil {
			return conn.Close()
		}
		if err := sleep(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("the proxy does not serve")
}

// stop ends the proxy in order.
func (p *proxy) stop() error {
	if err := p.process.stop(time.Minute); err != nil {
		return fmt.Errorf("stopping the proxy: %w; its log ends with:\n%s", err, p.logEnd())
	}
	return nil
}

func (p *proxy) logEnd() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(text[max(len(text)-4000, 0):])
}

// get reads from Caddy's admin endpoint.
func (p *proxy) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := p.admin.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the admin endpoint: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("asking the admin endpoint for %s: status %d", path, response.StatusCode)
	}
	return body, err
}
