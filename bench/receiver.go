package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// receiverRole is what a process of receivers is to be.
type receiverRole struct {
	// Hosts is how many there are: 127.0.1.1, 127.0.1.2 and so on, all at one port.
	Hosts int
	// Port they listen at, or 0 for any.
	Port int
	// HTTP2 has them speak HTTP/2, with net/http; else they speak HTTP/1.1, with as little CPU as can be.
	HTTP2 bool

	CertFile, KeyFile string
}

// The first segment of a webhook's path tells how its receiver behaves. All others accept at once.
const (
	hangs    = "hang" // never answers
	isSlow   = "slow" // answers after slowness
	slowness = 9 * time.Second
	isFar    = "far" // answers after farness, as one on another continent
	farness  = 50 * time.Millisecond
	isBusy   = "busy" // answers after busyness
	busyness = time.Millisecond
)

// host is the address of a receiver, by its number from 0.
func host(n int) string { return fmt.Sprintf("127.0.%d.%d", 1+n/250, 1+n%250) }

// command is what the parent wants of the receivers: their report, and then to forget all they got, if so said.
type command struct {
	Reset bool
	// Full has latencies and the course of time in the report; finding them out takes a while.
	Full bool
}

func serveReceivers(role receiverRole) (port int, commands func([]byte) (any, error), err error) {
	issuer, err := readIssuer(role.CertFile, role.KeyFile)
	if err != nil {
		return 0, nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: issuer.get, NextProtos: []string{"http/1.1"}}
	if role.HTTP2 {
		config.NextProtos = []string{"h2"}
	}
	rs := newReceipts()
	port = role.Port
	for n := range role.Hosts {
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprintf("%s:%d", host(n), port))
		if err != nil {
			return 0, nil, fmt.Errorf("listening as receiver: %w", err)
		}
		port = listener.Addr().(*net.TCPAddr).Port
		go receive(tls.NewListener(countingListener{listener, rs}, config), role.HTTP2, rs)
	}
	return port, func(line []byte) (any, error) {
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, err
		}
		return rs.report(c), nil
	}, nil
}

// countingListener has connections counted.
type countingListener struct {
	net.Listener
	receipts *receipts
}

// Accept implements net.Listener.
func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.receipts.connected()
	}
	return conn, err
}

func receive(listener net.Listener, http2 bool, rs *receipts) {
	if !http2 {
		acceptAll(listener, func(conn net.Conn) { serveWire(conn, rs.answer) })
		return
	}
	server := &http.Server{Handler: rs, ReadHeaderTimeout: time.Minute}
	// A listener that has TLS already makes Serve look for "h2" in what was negotiated.
	_ = server.Serve(listener)
}

// answer serves HTTP/1.1.
func (rs *receipts) answer(b []byte, r *request) []byte {
	if string(r.method) == http.MethodPost {
		done := rs.note(string(r.path), r.delivery, r.body)
		defer done()
		behave(context.Background(), string(r.path))
	}
	return appendResponse(b, "200 OK", []byte("ok"))
}

// ServeHTTP serves HTTP/2.
func (rs *receipts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		return
	}
	if r.Method == http.MethodPost {
		done := rs.note(r.URL.Path, []byte(r.Header.Get("X-Hook-Delivery")), body.Bytes())
		defer done()
		behave(r.Context(), r.URL.Path)
	}
	_, _ = w.Write([]byte("ok")) // an error is the sender's having gone
}

// behave waits as long as the receiver at path lets wait.
func behave(ctx context.Context, path string) {
	var wait time.Duration
	switch first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); first {
	case hangs:
		wait = 24 * time.Hour
	case isSlow:
		wait = slowness
	case isFar:
		wait = farness
	case isBusy:
		wait = busyness
	default:
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
