package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// target is what the load generator asks of a proxy.
type target struct {
	addr string
	path string // of a POST
	// tenants spreads the requests over that many projects, by the header X-Tenant; at least 1.
	tenants int
}

const (
	// bodySize is that of a request, in bytes.
	bodySize = 300
	// stampDigits is the length of a time in nanoseconds.
	stampDigits = 19
)

// message is the request of one connection, made once and changed in place: the time that it was meant for travels in
// its creator, which an event passes on as its actor; so receivers know when it began.
type message struct {
	text    []byte
	stamp   []byte // part of text
	tenant  []byte // part of text
	tenants int
	next    int
}

func (t target) message(worker int) *message {
	body := fmt.Sprintf(`{"creator":%0*d,"title":"Printer on fire","text":""}`, stampDigits, 0)
	body = strings.Replace(body, `""`, `"`+strings.Repeat("x", bodySize-len(body))+`"`, 1)
	text := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Type: application/json\r\nX-Tenant: t00\r\nContent-Length: %d\r\n\r\n%s",
		t.path, t.addr, len(body), body)
	at := bytes.Index(text, []byte(`"creator":`)) + len(`"creator":`)
	tenant := bytes.Index(text, []byte("t00")) + 1
	return &message{
		text: text, stamp: text[at : at+stampDigits], tenant: text[tenant : tenant+2], tenants: max(t.tenants, 1), next: worker,
	}
}

// at returns the message for a time.
func (m *message) at(meant time.Time) []byte {
	strconv.AppendInt(m.stamp[:0], meant.UnixNano(), 10)
	n := m.next % m.tenants
	m.next++
	m.tenant[0], m.tenant[1] = byte('0'+n/10), byte('0'+n%10) //nolint:gosec // a digit
	return m.text
}

// tenant is the project of webhooks, by its number.
func tenant(n int) string { return fmt.Sprintf("t%02d", n) }

// tenantHandler is the handler's setting that goes with it.
const tenantHandler = "project {http.request.header.X-Tenant}"

// closed has conns connections send one request after the other, for the given time.
func (t target) closed(ctx context.Context, conns int, d time.Duration) (sample, error) {
	return t.load(ctx, conns, func(do call) (sample, error) { return closedLoop(conns, d, do) })
}

// counted is closed for so many requests.
func (t target) counted(ctx context.Context, conns, n int) (sample, error) {
	return t.load(ctx, conns, func(do call) (sample, error) { return countedLoop(conns, n, do) })
}

// open sends requests at a rate, over at most conns connections.
func (t target) open(ctx context.Context, conns int, rate float64, d time.Duration) (sample, error) {
	return t.load(ctx, conns, func(do call) (sample, error) { return openLoop(conns, rate, d, do) })
}

func (t target) load(ctx context.Context, conns int, loop func(call) (sample, error)) (sample, error) {
	clients := make([]*client, conns)
	messages := make([]*message, conns)
	for i := range clients {
		c, err := dialClient(ctx, t.addr)
		if err != nil {
			return sample{}, fmt.Errorf("connecting to the proxy: %w", err)
		}
		defer c.conn.Close()
		clients[i], messages[i] = c, t.message(i)
	}
	s, err := loop(func(worker int, at time.Time) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		status, err := clients[worker].do(messages[worker].at(at))
		if err != nil {
			return err
		}
		if status != http.StatusCreated {
			return fmt.Errorf("status %d: %s", status, clients[worker].body)
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("sending requests to %s%s: %w", t.addr, t.path, err)
	}
	return s, nil
}
