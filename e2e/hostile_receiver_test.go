package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// hostileReceiver is one that agrees to handshakes, and then does with each connection what it likes.
type hostileReceiver struct {
	url         string
	deliveries  atomic.Bool  // whether handshakes are over
	connections atomic.Int32 // for deliveries
}

// newHostile makes a receiver that, once deliveries is set, has serve called with the bare connection.
func newHostile(t *testing.T, serve func(net.Conn)) *hostileReceiver {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	h := &hostileReceiver{url: "https://" + address + "/"}
	listener := listen(t, address)
	ended := make(chan struct{})
	t.Cleanup(func() {
		close(ended)
		listener.Close()
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				gone := make(chan struct{})
				defer close(gone)
				go func() {
					select {
					case <-ended:
						conn.Close()
					case <-gone:
					}
				}()
				if !h.deliveries.Load() {
					agree(conn)
					return
				}
				h.connections.Add(1)
				serve(conn)
			}()
		}
	}()
	return h
}

// agree answers a handshake, on a connection that is not kept.
func agree(raw net.Conn) {
	conn := tls.Server(raw, tlsConfig("http/1.1"))
	defer conn.Close()
	if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		challenge := r.Header.Get("X-Inbenta-Challenge")
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(challenge), challenge)
	}
}

func tlsConfig(protocols ...string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certs.local}, NextProtos: protocols}
}

// overTLS serves a connection over TLS with a config of choice; the request has been read when then is called, unless the
// connection has no such thing.
func overTLS(config *tls.Config, then func(*tls.Conn)) func(net.Conn) {
	return func(raw net.Conn) {
		conn := tls.Server(raw, config)
		defer conn.Close()
		if conn.Handshake() != nil {
			return
		}
		if conn.ConnectionState().NegotiatedProtocol != "h2" {
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
		}
		then(conn)
	}
}

// over is overTLS for HTTP/1.1.
func over(then func(*tls.Conn)) func(net.Conn) { return overTLS(tlsConfig("http/1.1"), then) }

// says answers every request with a text.
func says(text string) func(net.Conn) {
	return func(raw net.Conn) {
		conn := tls.Server(raw, tlsConfig("http/1.1"))
		defer conn.Close()
		reader := bufio.NewReader(conn)
		for {
			r, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			io.WriteString(conn, text)
		}
	}
}

// saysAndEnds answers with a text and hangs up.
func saysAndEnds(text string) func(net.Conn) {
	return over(func(conn *tls.Conn) { io.WriteString(conn, text) })
}

// floods answers with a text, and then with another without an end.
func floods(first, again string) func(net.Conn) {
	return over(func(conn *tls.Conn) {
		go io.Copy(io.Discard, conn)
		for _, err := io.WriteString(conn, first); err == nil; _, err = io.WriteString(conn, again) {
		}
	})
}

// reset ends a connection without a word of TCP's.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// frames answers requests over HTTP/2 with a text, in which stream 1 stands for that of the request. If there is another text, it
// follows without an end.
func frames(first, again string) func(net.Conn) {
	return overTLS(tlsConfig("h2"), func(conn *tls.Conn) {
		const preface, settings = 24, "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		io.WriteString(conn, settings)
		if _, err := io.CopyN(io.Discard, conn, preface); err != nil {
			return
		}
		for {
			stream := readRequestFrames(conn)
			if stream == "" {
				return
			}
			_, err := io.WriteString(conn, strings.ReplaceAll(first, "\x00\x00\x00\x01", stream))
			if again == "" {
				continue
			}
			go io.Copy(io.Discard, conn)
			for err == nil {
				_, err = io.WriteString(conn, again)
			}
		}
	})
}

// readRequestFrames reads frames until one ends a request, and returns its stream as it is on the wire; nothing if the sender has gone.
func readRequestFrames(conn io.Reader) (stream string) {
	const frameHead, endStream = 9, 1
	for {
		head := make([]byte, frameHead)
		if _, err := io.ReadFull(conn, head); err != nil {
			return ""
		}
		size := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, conn, size); err != nil {
			return ""
		}
		if kind := head[3]; kind <= 1 && head[4]&endStream != 0 { // DATA or HEADERS
			return string(head[5:])
		}
	}
}
