package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

const demoSecret = "a secret that only you and the receiver know" //nolint:gosec // of the demo

// demo is the whole scene: API, proxy and receiver.
type demo struct {
	example  []byte
	out      io.Writer
	dir      string
	api      *httptest.Server
	receiver *httptest.Server
	site     string
	pages    string // the site of source instance
	board    string // the site of the dashboard
	running  bool   // Caddy
	tickets  atomic.Int64
	received chan *demoRequest
}

// demoRequest is what the receiver got.
type demoRequest struct {
	header http.Header
	body   []byte
}

func (d *demo) start() error {
	d.received = make(chan *demoRequest, 16)
	d.tickets.Store(200)
	var err error
	if d.dir, err = os.MkdirTemp("", "bentihooks-demo-"); err != nil {
		return err
	}
	d.api = httptest.NewServer(http.HandlerFunc(d.serveAPI))
	d.receiver = httptest.NewTLSServer(http.HandlerFunc(d.serveReceiver))
	ca := filepath.Join(d.dir, "receiver-ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.receiver.Certificate().Raw})
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		return err
	}
	for _, site := range []*string{&d.site, &d.pages, &d.board} {
		port, err := freePort()
		if err != nil {
			return err
		}
		*site = fmt.Sprintf("http://localhost:%d", port)
	}
	return d.startCaddy(map[string]string{
		"BENTI_ADMIN":     "off",
		"BENTI_DATA":      filepath.Join(d.dir, "data"),
		"BENTI_SITE":      d.site,
		"BENTI_DASHBOARD": d.board,
		"DEMO_PAGES":      d.pages,
		"BENTI_UPSTREAM":  strings.TrimPrefix(d.api.URL, "http://"),
		// The receiver is on this machine and vouches for itself.
		"BENTI_DELIVERY": "allow_cidr 127.0.0.0/8\ntrust_pool file " + ca,
	})
}

// pagesSite is what the demo adds to the example.
const pagesSite = `
{$DEMO_PAGES} {
	benti_webhooks {
		source instance
	}
	reverse_proxy {$BENTI_UPSTREAM}
}
`

// startCaddy runs the example with the given environment.
func (d *demo) startCaddy(env map[string]string) error {
	for name, value := range env {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(append(d.example[:len(d.example):len(d.example)], pagesSite...), map[string]any{"filename": "Caddyfile.example"})
	if err != nil {
		return err
	}
	quiet, err := quietLogs(config)
	if err != nil {
		return err
	}
	d.running = true
	return caddy.Load(quiet, true)
}

// quietLogs keeps Caddy's log out of the demo unless something goes wrong.
func quietLogs(config []byte) ([]byte, error) {
	var c map[string]any
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	c["logging"] = map[string]any{"logs": map[string]any{"default": map[string]any{"level": "ERROR"}}}
	admin, _ := c["admin"].(map[string]any)
	if admin == nil {
		admin = make(map[string]any)
	}
	admin["config"] = map[string]any{"persist": false}
	c["admin"] = admin
	return json.Marshal(c)
}

func (d *demo) stop() error {
	var errs []error
	if d.running {
		errs = append(errs, caddy.Stop())
	}
	if d.receiver != nil {
		d.receiver.Close()
	}
	if d.api != nil {
		d.api.Close()
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// show registers a webhook of each kind, makes the calls that they want to hear of, and waits for the events.
func (d *demo) show(ctx context.Context) error {
	fmt.Fprintf(d.out, "legacy API  %s  (a stub)\nreceiver    %s\nproxy       %s  (Caddyfile.example)\n            %s  (another site, with source instance)\ndashboard   %s/\n",
		d.api.URL, d.receiver.URL, d.site, d.pages, d.board)
	webhook := fmt.Sprintf(`{"item":"ticket","url":%q,"secret":%q}`, d.receiver.URL+"/hook", demoSecret)
	fmt.Fprintf(d.out, "\n1. Register a webhook. The proxy asks the receiver whether it agrees.\n")
	if err := d.call(ctx, http.MethodPost, d.site+"/v1/webhooks", webhook); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n2. Create a ticket. The API knows nothing of webhooks.\n")
	if err := d.call(ctx, http.MethodPost, d.site+"/v1/tickets", `{"title":"Printer on fire","creator":4014}`); err != nil {
		return err
	}
	got, err := d.receive(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n3. What the receiver got:\n\n")
	d.printReceived(got)
	return d.showInstance(ctx)
}

// showInstance moves the ticket to another queue, as the pages of an instance do.
func (d *demo) showInstance(ctx context.Context) error {
	fmt.Fprintf(d.out, "\n4. The same for the pages of a Benti instance, whose events tell what was before, too.\n")
	webhook := fmt.Sprintf(`{"events":["change-queue"],"url":%q,"secret":%q}`, d.receiver.URL+"/hook", demoSecret)
	if err := d.call(ctx, http.MethodPost, d.pages+"/v1/webhooks/app", webhook); err != nil {
		return err
	}
	if err := d.call(ctx, http.MethodPut, fmt.Sprintf("%s/v1/tickets/%d", d.pages, d.tickets.Load()), `{"queue":2}`); err != nil {
		return err
	}
	got, err := d.receive(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n   The receiver got, with such headers:\n   %s\n", got.body)
	return nil
}

func (d *demo) receive(ctx context.Context) (*demoRequest, error) {
	select {
	case got := <-d.received:
		return got, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the event: %w", ctx.Err())
	}
}

func (d *demo) call(ctx context.Context, method, url, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	fmt.Fprintf(d.out, "\n   %s %s\n   %s\n", method, url, body)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "   -> %s  %s\n", response.Status, bytes.TrimSpace(answer))
	if response.StatusCode > 299 {
		return fmt.Errorf("%s %s: status %d", method, url, response.StatusCode)
	}
	return nil
}

func (d *demo) printReceived(r *demoRequest) {
	fmt.Fprintf(d.out, "   POST %s/hook\n", d.receiver.URL)
	for _, name := range []string{
		"Content-Type", "User-Agent", "X-Hook-Signature", "X-Hook-Delivery", "X-Hook-Attempt",
		"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature",
	} {
		fmt.Fprintf(d.out, "   %s: %s\n", name, r.header.Get(name))
	}
	fmt.Fprintf(d.out, "\n   %s\n", r.body)
}

func (d *demo) printHints() {
	fmt.Fprintf(d.out, `
The proxy stays up until Ctrl-C. Look at its dashboard, %[2]s/, and try:

   curl %[1]s/v1/webhooks
   curl -H 'Content-Type: application/json' -d '{"title":"Another"}' %[1]s/v1/tickets

`, d.site, d.board)
	go func() {
		for r := range d.received {
			fmt.Fprintf(d.out, "%s received: %s\n", time.Now().Format(time.TimeOnly), r.body)
		}
	}()
}

// serveAPI is the stub of the legacy API.
func (d *demo) serveAPI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "{\"id\":%d}\n", d.tickets.Add(1))
	case r.Method == http.MethodPut:
		fmt.Fprintln(w, `{"updated":true}`)
	case strings.HasPrefix(r.URL.Path, "/v1/tickets/"):
		fmt.Fprintln(w, `{"queue":{"id":1,"name":"First level"}}`)
	default:
		fmt.Fprintln(w, `{"data":[]}`)
	}
}

// serveReceiver answers the handshake and takes deliveries.
func (d *demo) serveReceiver(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, r.Header.Get("X-Inbenta-Challenge")) //nolint:gosec // to echo it is what the handshake wants
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	select {
	case d.received <- &demoRequest{header: r.Header, body: body}:
	default: // nobody reads as fast as this
	}
}

func freePort() (int, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
