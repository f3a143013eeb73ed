package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/bentihooks/bentihooks/emitter"
)

// maxReceived is how much of a request the development receiver reads.
const maxReceived = 4 << 20

// developmentReceiver agrees to every handshake, and prints what it gets.
type developmentReceiver struct {
	secret string // that signatures are checked with, or ""
	status int    // of answers to deliveries
	delay  time.Duration
	json   bool

	mu  sync.Mutex // guards out
	out io.Writer
}

// received is a request, as it is printed.
type received struct {
	Time      time.Time       `json:"time"`
	Kind      string          `json:"kind"` // handshake, delivery or ping
	Path      string          `json:"path"`
	Delivery  string          `json:"delivery,omitempty"`
	Attempt   string          `json:"attempt,omitempty"`
	Signature string          `json:"signature,omitempty"` // "ok", or what is wrong
	Body      json.RawMessage `json:"body,omitempty"`
	Status    int             `json:"status"` // it was answered with
}

// ServeHTTP implements http.Handler.
func (d *developmentReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := received{Time: time.Now(), Path: r.URL.RequestURI(), Status: d.status}
	switch challenge := r.Header.Get("X-Inbenta-Challenge"); {
	case r.Method == http.MethodGet && challenge != "":
		got.Kind, got.Status = "handshake", http.StatusOK
		got.Signature = d.checkSecret(r.Header)
		w.Header().Set("X-Inbenta-Challenge", challenge)
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, challenge) //nolint:gosec // to echo it is what the handshake wants
	case r.Method == http.MethodPost && r.Header.Get("X-Hook-Delivery") != "":
		if !d.receive(w, r, &got) {
			return
		}
	default:
		http.Error(w, "this is a receiver of webhooks: it takes their handshakes and deliveries", http.StatusNotFound)
		return
	}
	d.print(&got)
}

func (d *developmentReceiver) receive(w http.ResponseWriter, r *http.Request, got *received) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReceived))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	got.Kind = "delivery"
	if r.Header.Get("X-Hook-Ping") != "" {
		got.Kind = "ping"
	}
	got.Delivery, got.Attempt = r.Header.Get("X-Hook-Delivery"), r.Header.Get("X-Hook-Attempt")
	if got.Body = body; !json.Valid(body) {
		got.Body, _ = json.Marshal(string(body)) // of a string, which cannot fail
	}
	if d.secret != "" {
		got.Signature = "ok"
		if err := emitter.CheckSignature(r.Header, body, d.secret, time.Now()); err != nil {
			got.Signature = err.Error()
		}
	}
	timer := time.NewTimer(d.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		return false
	}
	w.WriteHeader(d.status)
	return true
}

// checkSecret checks what a handshake proves itself with.
func (d *developmentReceiver) checkSecret(h http.Header) string {
	switch {
	case d.secret == "":
		return ""
	case h.Get("X-Hook-Signature") != d.secret:
		return "X-Hook-Signature is not the secret"
	default:
		return "ok"
	}
}

func (d *developmentReceiver) print(got *received) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.json {
		_ = printJSONLine(d.out, got) // who has closed the pipe wants no more
		return
	}
	fmt.Fprintf(d.out, "%s  %s  %s", got.Time.Format(time.TimeOnly), got.Kind, got.Path)
	if got.Delivery != "" {
		fmt.Fprintf(d.out, "  %s  attempt %s", got.Delivery, got.Attempt)
	}
	if got.Signature != "" {
		fmt.Fprintf(d.out, "  signature: %s", got.Signature)
	}
	fmt.Fprintf(d.out, "  -> %d\n", got.Status)
	if len(got.Body) > 0 {
		fmt.Fprintf(d.out, "  %s\n", got.Body)
	}
}

// serve answers on an address until ctx ends. plain leaves TLS to something in front.
func (d *developmentReceiver) serve(ctx context.Context, address, certFile string, plain bool) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{Handler: d, ReadHeaderTimeout: 10 * time.Second}
	scheme := "http"
	if !plain {
		scheme = "https"
		certificate, err := developmentCertificate(certFile)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		server.TLSConfig = certificate
	}
	if !d.json {
		fmt.Fprintf(d.out, "receiver at %s://%s, until Ctrl-C\n", scheme, listener.Addr())
		if absolute, err := filepath.Abs(certFile); err == nil && !plain {
			fmt.Fprintf(d.out, "for the Caddyfile:\n\n\tbenti {\n\t\tdelivery {\n\t\t\tallow_cidr 127.0.0.0/8\n\t\t\ttrust_pool file %s\n\t\t}\n\t}\n\n", absolute)
		}
	}
	ended := make(chan error, 1)
	go func() {
		if plain {
			ended <- server.Serve(listener)
			return
		}
		ended <- server.ServeTLS(listener, "", "")
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	return server.Close()
}
