package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// paced is an exchange over HTTP/1.1 of which each step waits for the one before to arrive at the other end, so that
// nothing passes that is held back.
type paced struct {
	*h1
	t    *testing.T
	id   string
	seen *apiCase
}

// pace runs the exchange with both sites and compares.
func (tw *twin) pace(t *testing.T, name string, script func() apiScript, client func(p *paced) string) {
	t.Helper()
	id := fmt.Sprint(tw.nextID())
	var outcomes [2]outcome
	for i, site := range tw.sites {
		p := &paced{h1: &h1{address: site.plain}, t: t, id: id, seen: tw.api.expect(id, named(script(), id))}
		if err := p.connect(); err != nil {
			t.Fatal(err)
		}
		outcomes[i].client = client(p)
		p.close()
		outcomes[i].api = strings.Join(p.seen.rest(), "\n")
		tw.api.forget(id)
	}
	tw.check(t, name, outcomes[without], outcomes[with])
}

func (p *paced) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.t.Error(err)
	}
}

func (p *paced) head(method, path, fields string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n%s\r\n", method, path, siteName, caseField, p.id, fields)
}

// read reads as many bytes as text has, and returns them.
func (p *paced) read(text string) string {
	got := make([]byte, len(text))
	n, err := io.ReadFull(p.in, got)
	if err != nil {
		return fmt.Sprintf("%q %v", got[:n], err)
	}
	return string(got)
}

// readHeadOnly reads the head of an answer.
func (p *paced) readHeadOnly() string {
	head, err := readHead(p.in)
	if err != nil {
		return head + err.Error()
	}
	return head
}

const chunkedAnswer = "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\nContent-Type: "

// wantedPath is one of a matched row that a webhook wants, otherPaths of those that go by untouched.
const wantedPath = "/v1/tickets"

var otherPaths = []string{"/v1/users", "/v1/other"}

func TestWhatIsPacedIsTheSameWithAndWithoutUs(t *testing.T) {
	t.Parallel()
	tw := newTwin(t)
	var want []string
	wants := func() { want = append(want, fmt.Sprint(1_000_000+tw.ids.Load())) } // the latest case
	start := time.Now()

	for _, path := range append([]string{wantedPath}, otherPaths...) {
		tw.pace(t, "slow client sends to "+path, func() apiScript {
			return func(c *apiConn) {
				for range 5 {
					size, _ := c.in.ReadString('\n')
					part, _ := c.in.ReadString('\n')
					c.note(size + part)
				}
				c.request.readChunks(c.in)
				c.send(ok(201, asJSON, created(60)))
			}
		}, func(p *paced) (got string) {
			p.send(p.head("POST", path, "Transfer-Encoding: chunked\r\n"))
			for range 5 {
				p.send("1\r\na\r\n")
				got += p.seen.next()
			}
			p.send("0\r\n\r\n")
			return got + readAnswer(p.in, "POST", nil).String()
		})
		if path == wantedPath {
			wants()
		}
	}
	for _, c := range []struct{ method, path, kind string }{
		{"GET", "/v1/events", "text/event-stream"},
		{"GET", "/v1/events", "text/plain"},
		{"POST", "/v1/users", "application/json"},
		{"POST", "/async/v1/tickets", "application/json"},
		{"POST", wantedPath, "text/event-stream; charset=utf-8"},
	} {
		tw.pace(t, fmt.Sprintf("slow API answers %s %s with %s", c.method, c.path, c.kind), func() apiScript {
			return func(a *apiConn) {
				a.readRequest()
				a.send(chunkedAnswer + c.kind + "\r\nLocation: /v1/tickets/" + idMark + "\r\n\r\n")
				for range 5 {
					a.current.await()
					a.send("8\r\ndata: 1\n\r\n")
				}
				a.send("0\r\n\r\n")
			}
		}, func(p *paced) string {
			p.send(p.head(c.method, c.path, ""))
			got := p.seen.next() + p.readHeadOnly()
			for range 5 {
				p.seen.proceed <- struct{}{}
				got += p.read("8\r\ndata: 1\n\r\n")
			}
			return got + p.read("0\r\n\r\n")
		})
		if c.method == "POST" && c.path != "/v1/users" {
			wants()
		}
	}
	for _, c := range []struct{ method, path string }{{"GET", "/v1/socket"}, {"POST", wantedPath}} {
		tw.pace(t, "upgrade of "+c.method+" "+c.path, func() apiScript {
			return func(a *apiConn) {
				a.readRequest()
				a.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhello")
				ping := make([]byte, 4)
				_, err := io.ReadFull(a.in, ping)
				a.note(fmt.Sprintf("%s %v", ping, err))
				a.send("pong")
				a.noteEnd()
			}
		}, func(p *paced) string {
			p.send(p.head(c.method, c.path, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"))
			got := p.seen.next() + p.readHeadOnly() + p.read("hello")
			p.send("ping")
			got += p.seen.next() + p.read("pong")
			p.close()
			return got + p.seen.next()
		})
	}
	for _, path := range append([]string{wantedPath}, otherPaths...) {
		tw.pace(t, "pipelined "+path, func() apiScript { return answered(ok(201, asJSON, created(60))) }, func(p *paced) (got string) {
			p.send(p.head("GET", "/v1/other", "") + p.head("POST", path, "Content-Length: 2\r\n") + "{}" + p.head("GET", "/v1/another", "Connection: close\r\n"))
			for range 3 {
				got += readAnswer(p.in, "GET", nil).String() + p.seen.next()
			}
			return got + p.awaitClose()
		})
		if path == wantedPath {
			wants()
		}
	}
	for _, path := range append([]string{wantedPath}, otherPaths...) {
		never := func() apiScript {
			return func(c *apiConn) { c.readRequest() }
		}
		tw.pace(t, "client aborts in the head for "+path, never, func(p *paced) string {
			p.send(strings.TrimSuffix(p.head("POST", path, ""), "\r\n"))
			return ""
		})
		tw.pace(t, "client aborts in the body for "+path, never, func(p *paced) string {
			p.send(p.head("POST", path, "Content-Length: 100\r\n") + "part")
			p.close()
			return p.seen.next()
		})
		long := ok(201, asJSON, created(64<<20))
		tw.pace(t, "client aborts in a long answer to "+path, func() apiScript {
			return func(c *apiConn) {
				c.readRequest()
				c.send(long)
				c.note(fmt.Sprint("gone: ", c.drainToEnd()))
			}
		}, func(p *paced) string {
			p.send(p.head("POST", path, ""))
			got := p.seen.next() + p.readHeadOnly()
			p.close()
			return got + p.seen.next()
		})
		if path == wantedPath {
			wants()
		}
	}
	for _, path := range otherPaths {
		tw.pace(t, "client aborts before the answer to "+path, func() apiScript { return leftAlone }, func(p *paced) string {
			p.send(p.head("POST", path, ""))
			got := p.seen.next()
			p.close()
			return got + p.seen.next()
		})
	}
	want = append(want, tw.checkHeldAnswer(t))
	want = append(want, tw.checkCallsThatOutliveTheirClients(t)...)
	tw.checkEvents(t, want)
	t.Logf("%d exchanges compared, of which %d made events, in %v", tw.cases.Load(), len(want), time.Since(start).Round(time.Millisecond))
}

// leftAlone is a script that waits for the proxy to give up.
func leftAlone(c *apiConn) {
	c.readRequest()
	c.noteEnd()
}

// checkCallsThatOutliveTheirClients checks the wanted difference: without us, the API is hung up on when the client
// goes, or only stops sending. A wanted call goes on, and its event is kept. It returns whose events come.
func (tw *twin) checkCallsThatOutliveTheirClients(t *testing.T) (want []string) {
	t.Helper()
	for _, goes := range []string{"goes", "stops sending"} {
		id := fmt.Sprint(tw.nextID())
		tw.cases.Add(1)
		leave := func(i int, script apiScript) *paced {
			p := &paced{h1: &h1{address: tw.sites[i].plain}, t: t, id: id, seen: tw.api.expect(id, named(script, id))}
			if err := p.connect(); err != nil {
				t.Fatal(err)
			}
			p.send(p.head("POST", wantedPath, ""))
			p.seen.next()
			if goes == "goes" {
				p.close()
			} else {
				_ = p.conn.(*net.TCPConn).CloseWrite()
			}
			return p
		}
		p := leave(without, leftAlone)
		if got := p.seen.next(); got != "gone: true" {
			t.Errorf("client that %s, without us: %s", goes, got)
		}
		p.close()
		p = leave(with, func(c *apiConn) {
			c.readRequest()
			// Long enough for the proxy to notice the client's leave: without us it takes a millisecond.
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := c.in.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("client that %s, with us: the API is hung up on: %v", goes, err)
			}
			_ = c.SetReadDeadline(time.Time{})
			c.send(ok(201, asJSON, created(60)))
		})
		if goes == "stops sending" {
			if m := readAnswer(p.in, "POST", nil); statusOf(m.head) != 201 {
				t.Errorf("client that %s, with us: %s", goes, m)
			}
		}
		p.close()
		want = append(want, id)
	}
	return want
}

// checkHeldAnswer checks the other wanted difference: without us, the first part of an answer is there before the second
// is sent. A success that a webhook wants comes when all of it is there and its event is stored.
func (tw *twin) checkHeldAnswer(t *testing.T) (want string) {
	t.Helper()
	want = fmt.Sprint(tw.nextID())
	tw.cases.Add(1)
	var got [2]string
	for i, site := range tw.sites {
		p := &paced{h1: &h1{address: site.plain}, t: t, id: want}
		p.seen = tw.api.expect(want, named(func(c *apiConn) {
			c.readRequest()
			body := created(60)
			c.send(chunkedAnswer + "application/json\r\n\r\n" + strings.TrimSuffix(chunked("", body[:20]), "0\r\n\r\n"))
			c.current.await()
			c.send(chunked("", body[20:]))
		}, want))
		if err := p.connect(); err != nil {
			t.Fatal(err)
		}
		p.send(p.head("POST", wantedPath, ""))
		p.seen.next()
		if i == with {
			_ = p.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		}
		_, err := p.in.Peek(1)
		if held := errors.Is(err, os.ErrDeadlineExceeded); held != (i == with) {
			t.Errorf("site %d: the first part of an answer: %v", i, err)
		}
		p.seen.proceed <- struct{}{}
		if err := p.connect(); err != nil { // for its deadline
			t.Fatal(err)
		}
		got[i] = readAnswer(p.in, "POST", nil).String()
		p.close()
	}
	if got[without] != got[with] {
		t.Errorf("the client saw without us:\n%s\nand with us:\n%s", got[without], got[with])
	}
	return want
}
