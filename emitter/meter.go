package emitter

import (
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync"
)

// exchangeBytes is how much a receiver may send for one exchange, all told: the TLS handshake, the head and the body as far as they
// are read, what HTTP/2 has in its buffers when the rest is cut off, and room to spare. Beyond, its connection is closed.
// Deadlines end exchanges, not connections: a receiver that fills a kept HTTP/2 connection with pings or frames of no kind
// would keep a core busy, and the log, which net/http writes a line to for each, for as long as it likes.
const exchangeBytes = 512 << 10

// meter is a connection that breaks when its peer sends more than its exchanges need.
type meter struct {
	net.Conn

	mu    sync.Mutex
	left  int
	users int
}

func newMeter(conn net.Conn) *meter { return &meter{Conn: conn, left: exchangeBytes} }

// Read implements net.Conn.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left -= n; m.left < 0 {
		_ = m.Conn.Close()
		return 0, &failure{class: ClassConnect, text: "more was sent than an answer may have"}
	}
	return n, err
}

func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users++
	m.left += exchangeBytes
}

// end takes back what an exchange did not use.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users--
	m.left = min(m.left, (m.users+1)*exchangeBytes)
}

// trace follows an exchange to the connections that it gets.
func (d *dialing) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		conn, ok := info.Conn.(*tls.Conn)
		if !ok {
			return
		}
		if m, ok := conn.NetConn().(*meter); ok {
			m.begin()
			d.used = append(d.used, m)
		}
	}}
}

// end is called when the exchange has ended.
func (d *dialing) end() {
	for _, m := range d.used {
		m.end()
	}
}
