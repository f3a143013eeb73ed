package emitter

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2conn is a receiver's end of an HTTP/2 connection, frame by frame.
type h2conn struct {
	*http2.Framer
	conn net.Conn
}

// serveH2 starts an HTTP/2 receiver that does with each connection what handle does, after the preface and the given settings.
func serveH2(tb testing.TB, handle func(*h2conn), settings ...http2.Setting) string {
	tb.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"h2"}}
	return serveConn(tb, false, func(raw net.Conn) {
		conn := tls.Server(raw, config)
		defer conn.Close()
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(conn, preface); err != nil {
			return
		}
		c := &h2conn{http2.NewFramer(conn, conn), conn}
		if c.WriteSettings(settings...) != nil {
			return
		}
		handle(c)
	})
}

// request reads frames up to the end of the next request, and returns its stream; 0 if the client has gone.
func (c *h2conn) request() uint32 {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return 0
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				return frame.StreamID
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				return frame.StreamID
			}
		}
	}
}

// head sends the head of an answer; fields are names and values in turn.
func (c *h2conn) head(stream uint32, end bool, fields ...string) error {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
}

// drain reads until the client has gone.
func (c *h2conn) drain() { untilClosed(c.conn) }

func TestHostileHTTP2Receivers(t *testing.T) {
	t.Parallel()
	filler := make([]byte, 16<<10)
	for name, row := range map[string]struct {
		handle   func(*h2conn)
		settings []http2.Setting
		class    string
		text     string
	}{
		"silent": {handle: func(c *h2conn) { c.drain() }, class: ClassTimeout},
		"no settings, then GOAWAY": {handle: func(c *h2conn) {
			_ = c.WriteGoAway(0, http2.ErrCodeNo, nil)
			c.drain()
		}, class: ClassConnect, text: "every connection was closed before the answer"},
		"GOAWAY for every request": {handle: func(c *h2conn) {
			c.request()
			_ = c.WriteGoAway(0, http2.ErrCodeNo, nil)
			c.drain()
		}, class: ClassConnect, text: "every connection was closed before the answer"},
		"GOAWAY with an error": {handle: func(c *h2conn) {
			id := c.request()
			_ = c.WriteGoAway(id, http2.ErrCodeInternal, []byte("root password is 1234"))
		}, class: ClassConnect},
		"GOAWAY after the answer": {handle: func(c *h2conn) {
			id := c.request()
			_ = c.head(id, true, ":status", "200")
			_ = c.WriteGoAway(id, http2.ErrCodeNo, nil)
			c.drain()
		}, class: ClassDelivered},
		"GOAWAY within the answer": {handle: func(c *h2conn) {
			id := c.request()
			_ = c.head(id, false, ":status", "200")
			_ = c.WriteGoAway(id, http2.ErrCodeNo, nil)
			_ = c.WriteData(id, true, []byte("x"))
			c.drain()
		}, class: ClassDelivered},
		"resets the stream": {handle: func(c *h2conn) {
			_ = c.WriteRSTStream(c.request(), http2.ErrCodeInternal)
			c.drain()
		}, class: ClassConnect},
		"cancels the stream": {handle: func(c *h2conn) {
			_ = c.WriteRSTStream(c.request(), http2.ErrCodeCancel)
			c.drain()
		}, class: ClassConnect},
		"resets within the answer": {handle: func(c *h2conn) {
			id := c.request()
			_ = c.head(id, false, ":status", "200")
			_ = c.WriteRSTStream(id, http2.ErrCodeInternal)
			c.drain()
		}, class: ClassConnect},
		"resets after the answer": {handle: func(c *h2conn) {
			id := c.request()
			_ = c.head(id, true, ":status", "200")
			_ = c.WriteRSTStream(id, http2.ErrCodeNo)
			c.drain()
		}, class: ClassDelivered},
		"refuses every stream": {handle: func(c *h2conn) {
			for id := c.request(); id != 0; id = c.request() {
				_ = c.WriteRSTStream(id, http2.ErrCodeRefusedStream)
			}
		}, class: ClassTimeout},
		"has no room for streams": {handle: func(c *h2conn) { c.drain() }, settings: []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 0}}, class: ClassTimeout},
		"takes no body":           {handle: func(c *h2conn) { c.drain() }, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, class: ClassTimeout},
		"floods with 1xx": {handle: func(c *h2conn) {
			for id := c.request(); c.head(id, false, ":status", "103", "link", "</x>") == nil; {
			}
		}, class: ClassConnect},
		"floods with a header": {handle: func(c *h2conn) {
			fields := []string{":status", "200"}
			for i := range 1000 {
				fields = append(fields, fmt.Sprint("x-", i), strings.Repeat("0", 40))
			}
			_ = c.head(c.request(), true, fields...)
			c.drain()
		}, class: ClassConnect},
		"floods with CONTINUATION": {handle: func(c *h2conn) {
			id := c.request()
			var block bytes.Buffer
			_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes()})
			field := []byte("\x00\x01x\x011")
			for c.WriteContinuation(id, false, bytes.Repeat(field, 1000)) == nil {
			}
		}, class: ClassConnect},
		"floods with trailers": {handle: func(c *h2conn) {
			id := c.request()
			_ = c.head(id, false, ":status", "200")
			var fields []string
			for i := range 1000 {
				fields = append(fields, fmt.Sprint("x-", i), strings.Repeat("0", 100))
			}
			_ = c.head(id, true, fields...)
			c.drain()
		}, class: ClassConnect},
		"sends more than its window": {handle: func(c *h2conn) {
			id := c.request()
			_ = c.head(id, false, ":status", "200")
			for c.WriteData(id, false, filler) == nil {
			}
		}, class: ""}, // what is read decides
		"answers without a status": {handle: func(c *h2conn) {
			_ = c.head(c.request(), true, "content-type", "text/plain")
			c.drain()
		}, class: ClassConnect},
		"answers with a status that is none": {handle: func(c *h2conn) {
			_ = c.head(c.request(), true, ":status", "2OO")
			c.drain()
		}, class: ClassConnect},
		"says more than it announced": {handle: func(c *h2conn) {
			id := c.request()
			_ = c.head(id, false, ":status", "200", "content-length", "1")
			_ = c.WriteData(id, true, []byte("xyz"))
			c.drain()
		}, class: ClassConnect},
		"says less than it announced": {handle: func(c *h2conn) {
			id := c.request()
			_ = c.head(id, false, ":status", "200", "content-length", "10")
			_ = c.WriteData(id, true, []byte("xyz"))
			c.drain()
		}, class: ClassConnect},
		"pushes": {handle: func(c *h2conn) {
			id := c.request()
			var block bytes.Buffer
			_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
			_ = c.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: block.Bytes(), EndHeaders: true})
			c.drain()
		}, class: ClassConnect},
		"answers another stream": {handle: func(c *h2conn) {
			_ = c.head(c.request()+2, true, ":status", "200")
			c.drain()
		}, class: ClassTimeout},
		"frame of no kind, then silence": {handle: func(c *h2conn) {
			_ = c.WriteRawFrame(0xee, 0xff, c.request(), []byte("x"))
			c.drain()
		}, class: ClassTimeout},
		"floods with pings": {handle: func(c *h2conn) {
			for c.request(); c.WritePing(false, [8]byte{}) == nil; {
			}
		}, class: ClassConnect},
		"floods with settings": {handle: func(c *h2conn) {
			for c.request(); c.WriteSettings() == nil; {
			}
		}, class: ClassConnect},
		"floods with frames of no kind": {handle: func(c *h2conn) {
			for id := c.request(); c.WriteRawFrame(0xee, 0, id, filler) == nil; {
			}
		}, class: ClassConnect, text: "more was sent than an answer may have"},
		"frame too large": {handle: func(c *h2conn) {
			c.request()
			_, _ = c.conn.Write([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1})
			c.drain()
		}, class: ClassConnect},
		"HTTP/1.1 after all": {handle: func(c *h2conn) {
			fmt.Fprint(c.conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			c.drain()
		}, class: ClassConnect},
		"hangs up in the middle of a frame": {handle: func(c *h2conn) {
			c.request()
			_, _ = c.conn.Write([]byte{0, 0, 9, 1, 4})
		}, class: ClassConnect},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var connections atomic.Int32
			url := serveH2(t, func(c *h2conn) {
				connections.Add(1)
				row.handle(c)
			}, row.settings...)
			timeout := 5 * time.Second
			if row.class == ClassTimeout {
				timeout = 300 * time.Millisecond
			}
			client := newTestClient(t, loopback(timeout))
			began := time.Now()
			res := client.Post(t.Context(), hook(url+"/hook?token=abc"), event())
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			if row.class != "" && res.Class != row.class || !strings.Contains(res.Attempt.Error, row.text) {
				t.Errorf("class %s, error %q; want %s, %q", res.Class, res.Attempt.Error, row.class, row.text)
			}
			checkError(t, res)
			if strings.Contains(res.Attempt.Error, "1234") {
				t.Errorf("error %q quotes the receiver", res.Attempt.Error)
			}
			if n := connections.Load(); n > maxConnections {
				t.Errorf("%d connections for one attempt", n)
			}
		})
	}
}

// TestAReceiverMayNotTalkBetweenExchanges is about a connection that nobody waits at, and which no deadline ends.
func TestAReceiverMayNotTalkBetweenExchanges(t *testing.T) {
	t.Parallel()
	sent := make(chan int, 1)
	url := serveH2(t, func(c *h2conn) {
		_ = c.head(c.request(), true, ":status", "200")
		go c.drain() // of the answers to the pings
		const frame = 9 + 8
		for n := 0; ; n += frame {
			if c.WritePing(false, [8]byte{}) != nil {
				sent <- n
				return
			}
		}
	})
	if res := newTestClient(t, loopback(5*time.Second)).Post(t.Context(), hook(url), event()); res.Class != ClassDelivered {
		t.Fatalf("result %+v", res)
	}
	select {
	case n := <-sent:
		if n < exchangeBytes/4 || n > 8<<20 { // and what the kernel holds
			t.Errorf("cut off after %d bytes", n)
		}
	case <-time.After(20 * time.Second):
		t.Error("the connection stands")
	}
}

// TestManyLongAnswersShareAConnection is what the meter must not hinder.
func TestManyLongAnswersShareAConnection(t *testing.T) {
	t.Parallel()
	const posts, workers = 400, 16
	var connections sync.Map
	url := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		connections.Store(r.RemoteAddr, true)
		fmt.Fprint(w, strings.Repeat("x", maxDrain))
	})
	client := newTestClient(t, loopback(20*time.Second))
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for range posts / workers {
				if res := client.Post(t.Context(), hook(url), event()); res.Class != ClassDelivered {
					t.Errorf("result %+v", res)
				}
			}
		})
	}
	work.Wait()
	n := 0
	connections.Range(func(any, any) bool { n++; return true })
	if n > workers {
		t.Errorf("%d connections", n)
	}
}
