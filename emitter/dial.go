package emitter

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxDials bounds how many of a host's addresses one attempt tries: a name with a thousand addresses
	// must not turn one event into a thousand connections.
	maxDials = 8
	// minDialTime is the least time that one address gets, as long as there is so much left.
	minDialTime = 2 * time.Second
	// maxConnections bounds how many connections one attempt opens. Transport repeats a request whose HTTP/2 connection
	// took it and said goodbye (GOAWAY), on a new connection each time: a receiver that always does so would have us
	// make TLS handshakes until the attempt's deadline, hundreds in a second.
	maxConnections = 4
)

// dialer opens TLS connections to vetted addresses only.
type dialer struct {
	guard    Guard
	ports    []uint16 // allowed; none means all
	resolver *net.Resolver
	tls      *tls.Config
}

// dialing is what is known of an exchange where its connections are made.
type dialing struct {
	// ctx is the exchange's own context. Transport dials under one that does not end with the request, and so would
	// go on after the deadline.
	ctx         context.Context
	connections atomic.Int32
	used        []*meter
}

// dialingKey holds a *dialing in the context of a request.
type dialingKey struct{}

// dialTLS serves [http.Transport.DialTLSContext]. The host is looked up once, and what was vetted is what is
// dialled: nothing between the two can swap the address.
func (d *dialer) dialTLS(ctx context.Context, _, addr string) (net.Conn, error) {
	if exchange, ok := ctx.Value(dialingKey{}).(*dialing); ok {
		ctx = exchange.ctx
		if exchange.connections.Add(1) > maxConnections {
			return nil, &failure{class: ClassConnect, text: "every connection was closed before the answer"}
		}
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &failure{ClassConnect, "host and port are not valid", err}
	}
	if !d.portAllowed(port) {
		return nil, &failure{class: ClassRefusedAddress, text: "the port is not allowed"}
	}
	addrs, err := d.lookUp(ctx, host)
	if err != nil {
		return nil, err
	}
	raw, err := d.dialAny(ctx, addrs, port)
	if err != nil {
		return nil, &failure{ClassConnect, "no connection", err}
	}
	config := d.tls.Clone()
	config.ServerName = host
	conn := tls.Client(newMeter(raw), config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, &failure{ClassTLS, tlsText(err), err}
	}
	return conn, nil
}

func (d *dialer) portAllowed(port string) bool {
	if len(d.ports) == 0 {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && slices.Contains(d.ports, uint16(n))
}

// lookUp returns the addresses of host, all of them allowed. One refused address refuses the name: a name
// that is public and internal at the same time is an attack or a mistake.
func (d *dialer) lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	if disguised(host) {
		return nil, refused()
	}
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, &failure{ClassDNS, dnsText(err), err}
	}
	for i, addr := range addrs {
		addrs[i] = addr.Unmap()
		if !d.guard.Allowed(addr) {
			return nil, refused()
		}
	}
	return interleave(addrs), nil
}

// disguised reports whether host is an IPv4 address in other words: as an IPv6 one (::ffff:127.0.0.1), or in a way that some
// resolvers still read, such as 2130706433, 0x7f.1, 017700000001 and 127.1. No name ends in a number (RFC 3696, section 2), and
// whoever means an address can write it plainly. What it would lead to does not matter then, nor which resolver there is.
func disguised(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Is4In6()
	}
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	if strings.EqualFold(host, "localhost.") {
		host = "localhost" // is for the machine's own list of hosts, not for the DNS (RFC 6761, section 6.3)
	}
	addrs, err := d.resolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, err
}

// interleave makes the address families take turns, beginning with the one that the resolver put first, so
// that a broken IPv6 (or IPv4) costs one wait and not all of them.
func interleave(addrs []netip.Addr) []netip.Addr {
	var first, second, mixed []netip.Addr
	for _, addr := range addrs {
		if addr.Is4() == addrs[0].Is4() {
			first = append(first, addr)
		} else {
			second = append(second, addr)
		}
	}
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			mixed = append(mixed, first[i])
		}
		if i < len(second) {
			mixed = append(mixed, second[i])
		}
	}
	return mixed
}

// dialAny tries the addresses one after the other, each with its share of the time that is left.
func (d *dialer) dialAny(ctx context.Context, addrs []netip.Addr, port string) (net.Conn, error) {
	addrs = addrs[:min(len(addrs), maxDials)]
	var errs []error
	for i, addr := range addrs {
		conn, err := d.dial(ctx, addr, port, len(addrs)-i)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (d *dialer) dial(ctx context.Context, addr netip.Addr, port string, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		share := max(time.Until(deadline)/time.Duration(left), minDialTime)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, share)
		defer cancel()
	}
	// The check on the socket's own address is a second belt, for whatever comes between here and there.
	nd := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || !d.guard.Allowed(ap.Addr()) {
			return refused()
		}
		return nil
	}}
	return nd.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), port))
}
