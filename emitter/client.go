package emitter

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxDrain is how much of an answer is read so that its connection can serve again. The rest is cut off.
	maxDrain = 64 << 10
	// maxResponseHeader bounds the head of an answer, all its 1xx heads together.
	maxResponseHeader = 64 << 10
	// idleTimeout is how long an unused connection is kept.
	idleTimeout = 90 * time.Second
	// idlePerSlot is how many unused connections are kept for each attempt that can be in flight. More receivers than
	// slots take turns, and a handshake costs more than an attempt. An unused connection costs memory and two goroutines.
	idlePerSlot = 4
	// pingAfter and pingTimeout find HTTP/2 connections whose peer is gone without a word. Without them every
	// attempt would go into such a connection and time out until the kernel gives it up, a quarter of an hour later.
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
	// streamBuffer and connectionBuffer are how much of an answer an HTTP/2 receiver may send before it is read. They are
	// memory that receivers decide about; by default it would be 4 MiB for each attempt in flight.
	streamBuffer     = maxDrain
	connectionBuffer = 1 << 20
)

// Client speaks HTTPS to receivers: certificates always verified, TLS 1.2 or later, HTTP/2 where offered, no
// proxy, no redirects, no address that its [Guard] refuses. Safe for concurrent use.
type Client struct {
	cfg Config
	// rt makes one round trip; a fake in tests.
	rt        http.RoundTripper
	closeIdle func()

	mu     sync.Mutex
	users  int
	closed bool
}

// NewClient makes a client out of c's Timeout, MaxConcurrent, MaxPerWebhook, AllowCIDR, AllowPorts, RootCAs, Header, UserAgent
// and Resolver. It connects to nothing yet.
func NewClient(c Config) *Client {
	c = c.withDefaults()
	d := &dialer{
		guard:    Guard{Allow: c.AllowCIDR},
		ports:    c.AllowPorts,
		resolver: c.Resolver,
		tls:      &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs, NextProtos: []string{"h2", "http/1.1"}},
	}
	t := &http.Transport{
		Proxy:                  nil, // on purpose: a proxy of the environment would dial for us, unguarded
		DialTLSContext:         d.dialTLS,
		DialContext:            noPlainText,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           idlePerSlot * c.MaxConcurrent,
		MaxIdleConnsPerHost:    c.MaxPerWebhook,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout,
			MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: connectionBuffer,
		},
	}
	return &Client{cfg: c, rt: t, closeIdle: t.CloseIdleConnections}
}

// noPlainText serves URLs that are not https, which nobody should have let in.
func noPlainText(context.Context, string, string) (net.Conn, error) {
	return nil, &failure{class: ClassConnect, text: "only https is spoken"}
}

// Close closes the idle connections, and those in use when they become idle. The client still works after it,
// though without keeping connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.closeIdle()
}

// exchange makes one request and reads the answer: its head, and up to keep bytes of its body. The whole of it
// is bounded by the timeout. The answer's body is closed when it returns.
func (c *Client) exchange(parent context.Context, req *http.Request, keep int64) (*http.Response, []byte, *failure) {
	c.use(1)
	defer c.use(-1)
	ctx, cancel := context.WithTimeout(parent, c.cfg.Timeout)
	defer cancel()
	// Straight to the transport: http.Client would follow redirects and carry the secret along.
	d := &dialing{ctx: ctx}
	defer d.end()
	traced := httptrace.WithClientTrace(context.WithValue(ctx, dialingKey{}, d), d.trace())
	resp, err := c.rt.RoundTrip(req.WithContext(traced))
	if err != nil {
		return nil, nil, explain(parent, ctx, err, c.cfg.Timeout)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, nil, nil // the body is the bare connection, which no deadline guards
	}
	body, err := readAnswer(resp.Body, keep)
	if err != nil {
		return resp, body, explain(parent, ctx, err, c.cfg.Timeout)
	}
	return resp, body, nil
}

// use counts the exchanges in flight, to close what they leave behind once the client is closed.
func (c *Client) use(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users += n
	if c.closed && c.users == 0 {
		c.closeIdle()
	}
}

// readAnswer returns the first keep bytes and reads on, at most maxDrain in all. A body that is longer is no error.
func readAnswer(body io.Reader, keep int64) ([]byte, error) {
	head, err := io.ReadAll(io.LimitReader(body, keep))
	if err != nil {
		return head, err
	}
	_, err = io.CopyN(io.Discard, body, maxDrain-keep)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return head, err
}

// isEOF reports whether the peer closed the connection. net/http has several unexported spellings of it, and who
// writes to such a connection meets a broken pipe.
func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "server closed") || strings.HasSuffix(err.Error(), "EOF")
}
