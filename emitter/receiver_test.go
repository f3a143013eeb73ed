package emitter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

const testSecret = "s3cret of the webhook"

// certificate is for example.com, 127.0.0.1 and ::1, and is its own authority.
var certificate = sync.OnceValue(func() tls.Certificate {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	return srv.TLS.Certificates[0]
})

func authority() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(certificate().Leaf)
	return pool
}

// loopback is a configuration for receivers on this machine.
func loopback(timeout time.Duration) Config {
	return Config{
		Timeout: timeout, UserAgent: "Bentihooks/test", RootCAs: authority(),
		AllowCIDR: prefixes("127.0.0.0/8", "::1/128"),
	}
}

func newTestClient(tb testing.TB, c Config) *Client {
	tb.Helper()
	if err := c.Validate(); err != nil {
		tb.Fatal(err)
	}
	client := NewClient(c)
	tb.Cleanup(client.Close)
	return client
}

// serve starts a TLS receiver, with HTTP/2 if h2, and returns its URL.
func serve(tb testing.TB, h2 bool, handler http.HandlerFunc) string {
	tb.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{certificate()}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.EnableHTTP2 = h2
	srv.StartTLS()
	tb.Cleanup(srv.Close)
	return srv.URL
}

// serveConn starts a receiver that does with each connection what handle does. TLS, if wanted, is done before.
func serveConn(tb testing.TB, withTLS bool, handle func(net.Conn)) string {
	tb.Helper()
	var ln net.Listener
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if withTLS {
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"http/1.1"}})
	}
	var (
		conns   sync.WaitGroup
		mu      sync.Mutex
		open    []net.Conn
		accepts = make(chan struct{})
	)
	go func() {
		defer close(accepts)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			conns.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	}()
	tb.Cleanup(func() {
		ln.Close()
		<-accepts
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		conns.Wait()
	})
	return "https://" + ln.Addr().String()
}

// untilClosed reads a connection until the other side has gone.
func untilClosed(conn net.Conn) {
	buf := make([]byte, 4096)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

func hook(url string) *store.Webhook {
	return &store.Webhook{ID: "w", URL: url, Secret: testSecret, Status: store.Active}
}

func event() *store.Delivery {
	return &store.Delivery{
		ID: "0198c0de-0000-7000-8000-000000000000", Webhook: "w",
		Payload: []byte(`{"id":200,"item":"reply","action":"add","timestamp":1660834225,"actor":4014,"parent":100}`),
	}
}

// nameServer answers look-ups on the loopback interface with the addresses given, for every name; none means
// that there is no such host.
type nameServer struct {
	conn    net.PacketConn
	addrs   []netip.Addr
	queries atomic.Int32
}

func newNameServer(tb testing.TB, addrs ...string) (*net.Resolver, *nameServer) {
	tb.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &nameServer{conn: conn}
	for _, a := range addrs {
		s.addrs = append(s.addrs, netip.MustParseAddr(a))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	tb.Cleanup(func() {
		conn.Close()
		<-done
	})
	var d net.Dialer
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}, s
}

func (s *nameServer) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		s.queries.Add(1)
		if _, err := s.conn.WriteTo(s.reply(buf[:n]), from); err != nil {
			return
		}
	}
}

// reply answers one query, by RFC 1035, section 4.
func (s *nameServer) reply(query []byte) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5
	kind := binary.BigEndian.Uint16(query[end-4:])
	var answers []byte
	count := uint16(0)
	for _, addr := range s.addrs {
		if (kind == 1) != addr.Is4() {
			continue
		}
		data := addr.AsSlice()
		answers = append(answers, 0xc0, 12)
		answers = binary.BigEndian.AppendUint16(answers, kind)
		answers = append(answers, 0, 1, 0, 0, 0, 1)
		answers = binary.BigEndian.AppendUint16(answers, uint16(len(data)))
		answers = append(answers, data...)
		count++
	}
	flags := uint16(0x8180)
	if len(s.addrs) == 0 {
		flags |= 3 // no such name
	}
	reply := append([]byte{}, query[:2]...)
	for _, field := range []uint16{flags, 1, count, 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, field)
	}
	return append(append(reply, query[12:end]...), answers...)
}

// withHost replaces the host of a URL and keeps its port.
func withHost(url, host string) string {
	return "https://" + host + url[strings.LastIndexByte(url, ':'):]
}
