package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// caseField is the header field by which the API and the test know which case a request belongs to.
const caseField = "x-case"

// rawAPI is a legacy API of nothing but bytes: it keeps requests as they come over the wire, and answers as the script of
// their case says.
type rawAPI struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu    sync.Mutex
	cases map[string]*apiCase
	open  map[net.Conn]bool
}

type apiCase struct {
	script  apiScript
	seen    chan string   // what came
	proceed chan struct{} // what scripts wait for that go step by step
}

// apiScript serves one request, of which the head has been read.
type apiScript func(*apiConn)

// apiConn is a connection of the proxy's to the API.
type apiConn struct {
	net.Conn
	in      *bufio.Reader
	request message
	current *apiCase
	named   string // what idMark stands for in answers
	last    bool   // the connection is not used again
}

func newRawAPI(t *testing.T) *rawAPI {
	t.Helper()
	api := &rawAPI{listener: listen(t, fmt.Sprintf("127.0.0.1:%d", freePort(t))), cases: make(map[string]*apiCase), open: make(map[net.Conn]bool)}
	api.serving.Go(func() {
		for {
			conn, err := api.listener.Accept()
			if err != nil {
				return
			}
			api.mu.Lock()
			api.open[conn] = true
			api.mu.Unlock()
			api.serving.Go(func() { api.serve(conn) })
		}
	})
	t.Cleanup(func() {
		api.listener.Close()
		api.mu.Lock()
		for conn := range api.open {
			conn.Close()
		}
		api.mu.Unlock()
		api.serving.Wait()
	})
	return api
}

func (api *rawAPI) address() string { return api.listener.Addr().String() }

// expect sets how requests of a case are answered, and returns where they are to be seen.
func (api *rawAPI) expect(id string, script apiScript) *apiCase {
	c := &apiCase{script: script, seen: make(chan string, 16), proceed: make(chan struct{}, 16)}
	api.mu.Lock()
	defer api.mu.Unlock()
	api.cases[id] = c
	return c
}

func (api *rawAPI) forget(id string) {
	api.mu.Lock()
	defer api.mu.Unlock()
	delete(api.cases, id)
}

func (api *rawAPI) serve(conn net.Conn) {
	defer func() {
		conn.Close()
		api.mu.Lock()
		defer api.mu.Unlock()
		delete(api.open, conn)
	}()
	in := bufio.NewReader(conn)
	for last := false; !last; {
		head, err := readHead(in)
		if err != nil {
			return
		}
		api.mu.Lock()
		current := api.cases[field(head, caseField)]
		api.mu.Unlock()
		if current == nil {
			fmt.Fprintf(conn, "HTTP/1.1 599 No Such Case\r\nContent-Length: 0\r\n\r\n")
			return
		}
		c := &apiConn{Conn: conn, in: in, request: message{head: head}, current: current}
		current.script(c)
		last = c.last
	}
}

// readRequest reads the body of the request, asking for it if the client waits to be asked, and notes what came.
func (c *apiConn) readRequest() {
	if strings.EqualFold(field(c.request.head, "expect"), "100-continue") {
		c.send("HTTP/1.1 100 Continue\r\n\r\n")
	}
	c.request.readBody(c.in, true, "none")
	if c.request.broken != "" {
		c.last = true
	}
	c.note(c.request.String())
}

// note says what the API saw.
func (c *apiConn) note(what string) { c.current.seen <- what }

func (c *apiConn) send(text string) {
	if c.named != "" {
		text = strings.ReplaceAll(text, idMark, c.named)
	}
	// An error is the proxy's having gone, which shows otherwise.
	_, _ = c.Write([]byte(text))
}

// hangUp ends the connection with all that was sent on its way.
func (c *apiConn) hangUp() {
	c.last = true
	c.Close()
}

// noteEnd waits for the proxy to hang up, and notes whether it did, or what it met instead.
func (c *apiConn) noteEnd() {
	c.last = true
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b, err := c.in.ReadByte()
	if err == nil {
		c.note(fmt.Sprintf("gone: false, more came: %q", b))
		return
	}
	var m message
	if m.breakOff(err); m.broken != "broken off" {
		c.note("gone: false, " + m.broken)
		return
	}
	c.note("gone: true")
}

// drainToEnd reads what is still on its way, and says whether the proxy hangs up behind it.
func (c *apiConn) drainToEnd() bool {
	c.last = true
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, c.in)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// reset ends the connection as one that crashed: what was sent arrives, and then no end but a reset.
func (c *apiConn) reset() {
	c.last = true
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// respond is a script that reads the whole request and answers with text. Without an end in the text, the end of the
// connection is the end of the answer.
func respond(text string, close bool) apiScript {
	return func(c *apiConn) {
		c.readRequest()
		c.send(text)
		if close {
			c.hangUp()
		}
	}
}

const sawNothing = "the API saw nothing"

// next waits for what the API saw next.
func (c *apiCase) next() string {
	select {
	case seen := <-c.seen:
		return seen
	case <-time.After(patience):
		return sawNothing
	}
}

// await waits until the test lets the script go on.
func (c *apiCase) await() {
	select {
	case <-c.proceed:
	case <-time.After(patience):
	}
}

// rest returns what the API saw beside.
func (c *apiCase) rest() (rest []string) {
	for {
		select {
		case seen := <-c.seen:
			rest = append(rest, seen)
		default:
			return rest
		}
	}
}
