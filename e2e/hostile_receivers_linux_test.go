package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestHostileReceivers has every kind of them get deliveries, all at once and several times, beside a healthy one.
func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	const tickets, maxGrowth = 4, 96 << 20
	rows := hostileReceivers(t)
	up, healthy := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "timeout 5s\nretry 1h"})
	good := p.register("ticket", healthy.url("/"))
	webhooks := make(map[string]*webhook)
	receivers := make(map[string]*hostileReceiver)
	for name, row := range rows {
		receivers[name] = newHostile(t, row.serve)
		webhooks[name] = p.register("ticket", receivers[name].url)
	}
	for _, h := range receivers {
		h.deliveries.Store(true)
	}
	before, most := p.memory("RssAnon"), 0
	var worst time.Duration
	for range tickets {
		p.ticket()
		sent := time.Now()
		healthy.next()
		worst = max(worst, time.Since(sent))
		most = max(most, p.memory("RssAnon"))
	}
	for name, w := range webhooks {
		var list []delivery
		eventually(t, name+": an attempt of every delivery", func() bool {
			most = max(most, p.memory("RssAnon"))
			list, _ = p.page(w, "")
			return len(list) == tickets && !slices.ContainsFunc(list, func(d delivery) bool { return len(d.Attempts) == 0 })
		})
		for _, d := range list {
			checkOutcome(t, name, d, rows[name].want)
		}
		if n := receivers[name].connections.Load(); n > 4*tickets {
			t.Errorf("%s: %d connections for %d attempts", name, n, tickets)
		}
	}
	t.Logf("%d kinds of hostile receivers, %d attempts: memory went from %d to at most %d MiB, the healthy one waited %v at most",
		len(rows), len(rows)*tickets, before>>20, most>>20, worst)
	if most-before > maxGrowth {
		t.Errorf("memory grew by %d MiB", (most-before)>>20)
	}
	if worst > 5*time.Second {
		t.Errorf("the healthy receiver waited %v", worst)
	}
	if now := p.get(good); now.Status != "active" {
		t.Errorf("the healthy receiver's webhook is %s", now.Status)
	}
}

// checkOutcome fails unless the first attempt of a delivery came to one of what is wanted, in time, and the next is planned.
func checkOutcome(t *testing.T, name string, d delivery, want []string) {
	t.Helper()
	first, told, state := d.Attempts[0], delivered, "delivered"
	if first.Error != nil {
		told, state = *first.Error, "pending"
	}
	// A connection closed with something unread in it is reset, and which of the two we meet is a matter of timing.
	if !slices.Contains(want, told) && (told != wasReset || !slices.Contains(want, closedEarly)) {
		t.Errorf("%s: %q, want one of %q", name, told, want)
	}
	if d.State != state || (state == "pending") != (d.NextAttemptAt != nil) {
		t.Errorf("%s: %s, next attempt at %v", name, d.State, d.NextAttemptAt)
	}
	if *first.DurationMS > 10_000 {
		t.Errorf("%s: took %d ms", name, *first.DurationMS)
	}
	if first.Response != nil && len(*first.Response) > 3<<10 { // 1 KiB, of which each byte may become a replacement character
		t.Errorf("%s: %d bytes of the answer are kept", name, len(*first.Response))
	}
}

// TestAnswersCutOffAtEachByte ends a connection after each number of bytes of an answer, in order and not.
func TestAnswersCutOffAtEachByte(t *testing.T) {
	t.Parallel()
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"
	for name, end := range map[string]func(*tls.Conn){
		"closed":               func(c *tls.Conn) { c.Close() },
		"closed without a bye": func(c *tls.Conn) { c.NetConn().Close() },
		"reset":                func(c *tls.Conn) { reset(c.NetConn()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t)
			p := site(t, up, config{delivery: "timeout 5s\nretry" + strings.Repeat(" 5ms", len(answer))})
			cut := make(chan int, len(answer)+1)
			h := newHostile(t, over(func(conn *tls.Conn) {
				n := <-cut
				io.WriteString(conn, answer[:n])
				end(conn)
			}))
			w := p.register("ticket", h.url)
			h.deliveries.Store(true)
			for n := range len(answer) + 1 {
				cut <- n
			}
			p.ticket()
			d := p.settled(w, "delivered")
			for i, a := range d.Attempts {
				if last := i == len(d.Attempts)-1; last != (a.Error == nil) || !last && !slices.Contains([]string{closedEarly, wasReset, notHTTP}, *a.Error) {
					t.Errorf("after %d bytes: %v", i, a.Error)
				}
			}
			// A reset may overtake what was sent, even all of it; nothing may make an attempt of a part.
			if len(d.Attempts) != len(answer)+1 {
				t.Errorf("%d attempts, want %d", len(d.Attempts), len(answer)+1)
			}
		})
	}
}

// TestHandshakesOfTLSCutOff does the same to the receiver's half of a TLS handshake, by steps.
func TestHandshakesOfTLSCutOff(t *testing.T) {
	t.Parallel()
	const step, steps = 29, 20
	up := newUpstream(t)
	p := site(t, up, config{delivery: "timeout 5s\nretry" + strings.Repeat(" 5ms", steps)})
	cut := make(chan int, steps+1)
	h := newHostile(t, func(raw net.Conn) {
		conn := tls.Server(&cutConn{raw, <-cut}, tlsConfig("http/1.1"))
		conn.Handshake()
	})
	w := p.register("ticket", h.url)
	h.deliveries.Store(true)
	for n := range steps + 1 {
		cut <- n * step
	}
	p.ticket()
	for i, a := range p.settled(w, "dead").Attempts {
		if a.Error == nil || !strings.HasPrefix(*a.Error, "tls: ") {
			t.Errorf("after %d bytes: %s", i*step, *a.Error)
		}
	}
}

// cutConn ends after some bytes were written to it.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.Conn.Write(p[:n]); err != nil || n == len(p) {
		return n, err
	}
	c.Conn.Close()
	return n, net.ErrClosed
}

func TestRetryAfterInAllItsForms(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 10m"})
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	const usual = 10 * time.Minute
	rows := []struct {
		value string
		want  time.Duration
	}{
		{"1800", 30 * time.Minute},
		{"3600", time.Hour},
		{"3601", time.Hour},
		{"999999999999999999999999999999", time.Hour},
		{"9223372036854775807", time.Hour},
		{" 1800 ", 30 * time.Minute},
		{"0", usual},
		{"1", usual},
		{"-1", usual},
		{"-99999999999999999999", usual},
		{"+1800", usual},
		{"1800.5", usual},
		{"1e9", usual},
		{"0x708", usual},
		{"１８００", usual},
		{"NaN", usual},
		{"soon", usual},
		{"", usual},
		{in(45 * time.Minute), 45 * time.Minute},
		{in(240 * time.Hour), time.Hour},
		{in(-time.Hour), usual},
		{"Fri, 31 Dec 9999 23:59:59 GMT", time.Hour},
		{"Mon, 01 Jan 0001 00:00:00 GMT", usual},
		{"Fri, 31 Feb 2099 00:00:00 GMT", usual},
		{time.Now().Add(45 * time.Minute).Format(time.RFC3339), usual},
		{strings.Repeat("9", 10_000), time.Hour},
	}
	rc.answer(func(w http.ResponseWriter, got *post) {
		i, _ := strconv.Atoi(got.path[1:])
		w.Header()["Retry-After"] = []string{rows[i].value, "7200"} // of two the first counts
		w.WriteHeader([]int{429, 503}[i%2])
	})
	var webhooks []*webhook
	for i := range rows {
		webhooks = append(webhooks, p.register("ticket", rc.url(fmt.Sprint("/", i))))
	}
	p.ticket()
	for i, w := range webhooks {
		var d delivery
		eventually(t, "an attempt", func() bool {
			list, _ := p.page(w, "?limit=1")
			d = list[0]
			return d.State == "pending" && len(d.Attempts) == 1
		})
		wait, want := d.NextAttemptAt.Sub(d.Attempts[0].At), rows[i].want
		least, most := want-5*time.Second, want+time.Minute
		if want == usual {
			least, most = want*8/10, want*12/10+time.Minute
		}
		if wait < least || wait > most {
			t.Errorf("%.40q: attempted again after %v, want %v", rows[i].value, wait, want)
		}
	}
}
