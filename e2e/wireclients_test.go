package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// exchange is one request, in a form that can be sent over each version of HTTP.
type exchange struct {
	id           string
	protocol     string // 1.0, 1.1, 2 or 3
	method, path string
	fields       [][2]string // sent in this order and, over HTTP/1, in this case
	sending      string      // how the body is sent: none, length, chunked, trailer or expect
	body         string
	gunzip       bool // an answer in gzip is compared by what it holds
}

// sendings are the ways in which a body can be sent; over HTTP/2 and 3 "chunked" is one of a length not told.
var sendings = []string{"none", "length", "chunked", "trailer", "expect"}

// siteName is what all clients call the site, so that the API sees the same of each.
const siteName = "api.test"

// wireClient makes exchanges one after the other, and tells all that can be seen of the answers.
type wireClient interface {
	exchange(x *exchange) string
	close()
}

// h1 speaks HTTP/1.0 and 1.1 over plain TCP. It keeps its connection as long as the server does.
type h1 struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
}

// connect makes sure that there is a connection.
func (c *h1) connect() error {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	return c.conn.SetDeadline(time.Now().Add(patience))
}

func (c *h1) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// head is the request's head as it is sent over HTTP/1.
func (x *exchange) head() string {
	version := x.protocol
	if version != "1.0" {
		version = "1.1"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/%s\r\nHost: %s\r\n%s: %s\r\n", x.method, x.path, version, siteName, caseField, x.id)
	for _, f := range x.fields {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	switch x.sending {
	case "length":
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(x.body))
	case "chunked":
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case "trailer":
		b.WriteString("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n")
	case "expect":
		fmt.Fprintf(&b, "Content-Length: %d\r\nExpect: 100-continue\r\n", len(x.body))
	}
	b.WriteString("\r\n")
	return b.String()
}

// framed is the request's body as it is sent over HTTP/1.
func (x *exchange) framed() string {
	switch x.sending {
	case "none":
		return ""
	case "chunked":
		return chunked("", x.body[:len(x.body)/2], x.body[len(x.body)/2:])
	case "trailer":
		return chunked("X-Sum: 42\r\n", x.body)
	}
	return x.body
}

func (c *h1) exchange(x *exchange) string {
	if err := c.connect(); err != nil {
		return err.Error()
	}
	waits := x.sending == "expect"
	text := x.head()
	if !waits {
		text += x.framed()
	}
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.close()
		return err.Error()
	}
	m := readAnswer(c.in, x.method, func(status int) {
		if status == 100 && waits {
			waits = false
			io.WriteString(c.conn, x.body)
		}
	})
	if x.gunzip {
		m.body.gunzip()
	}
	got := m.String()
	connection := strings.ToLower(field(m.head, "connection"))
	stays := m.broken == "" && m.framing != "until close" && connection != "close" && (x.protocol != "1.0" || connection == "keep-alive")
	if stays && !waits {
		return got
	}
	if m.broken == "" {
		got += "\n" + c.awaitClose()
	}
	c.close()
	return got
}

// awaitClose reads to the end of the connection, where nothing more should come.
func (c *h1) awaitClose() string {
	rest, err := io.ReadAll(c.in)
	var m message
	m.breakOff(err)
	return fmt.Sprintf("closed with %q %s", rest, strings.TrimPrefix(m.broken, "broken off"))
}

// h2 speaks HTTP/2 frame by frame, so that it sees the order of fields.
type h2 struct {
	address string
	conn    *tls.Conn
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32
}

func clientTLS(protocol string) *tls.Config {
	return &tls.Config{RootCAs: certs.pool(), ServerName: "localhost", NextProtos: []string{protocol}}
}

func (c *h2) connect() error {
	if c.conn == nil {
		conn, err := tls.Dial("tcp", c.address, clientTLS("h2"))
		if err != nil {
			return err
		}
		c.conn, c.stream = conn, 0
		c.framer = http2.NewFramer(conn, bufio.NewReader(conn))
		c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		c.encoder = hpack.NewEncoder(&c.block)
		_, err = io.WriteString(conn, http2.ClientPreface)
		const window = 1 << 30
		err = errors.Join(err, c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}), c.framer.WriteWindowUpdate(0, window))
		if err != nil {
			return err
		}
	}
	return c.conn.SetDeadline(time.Now().Add(patience))
}

func (c *h2) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *h2) exchange(x *exchange) string {
	got, err := c.try(x)
	if err != nil {
		c.close()
		return got + err.Error()
	}
	return got
}

func (c *h2) try(x *exchange) (string, error) {
	if err := c.connect(); err != nil {
		return "", err
	}
	if c.stream++; c.stream > 1 {
		c.stream++
	}
	fields := [][2]string{{":method", x.method}, {":scheme", "https"}, {":authority", siteName}, {":path", x.path}, {caseField, x.id}}
	fields = append(fields, x.fields...)
	switch x.sending {
	case "length":
		fields = append(fields, [2]string{"content-length", strconv.Itoa(len(x.body))})
	case "trailer":
		fields = append(fields, [2]string{"trailer", "x-sum"})
	case "expect":
		fields = append(fields, [2]string{"content-length", strconv.Itoa(len(x.body))}, [2]string{"expect", "100-continue"})
	}
	if err := c.writeFields(fields, x.sending == "none"); err != nil {
		return "", err
	}
	if x.sending != "none" && x.sending != "expect" {
		if err := c.writeBody(x); err != nil {
			return "", err
		}
	}
	return c.read(x)
}

func (c *h2) writeFields(fields [][2]string, end bool) error {
	c.block.Reset()
	for _, f := range fields {
		if err := c.encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(f[0]), Value: f[1]}); err != nil {
			return err
		}
	}
	return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.block.Bytes(), EndStream: end, EndHeaders: true})
}

func (c *h2) writeBody(x *exchange) error {
	trailer := x.sending == "trailer"
	const frame = 16 << 10
	for body := []byte(x.body); ; {
		part := body[:min(len(body), frame)]
		body = body[len(part):]
		if err := c.framer.WriteData(c.stream, len(body) == 0 && !trailer, part); err != nil {
			return err
		}
		if len(body) == 0 {
			break
		}
	}
	if trailer {
		return c.writeFields([][2]string{{"x-sum", "42"}}, true)
	}
	return nil
}

// read tells what comes of the answer. Where one data frame ends and the next begins is not part of the message.
func (c *h2) read(x *exchange) (string, error) {
	var got strings.Builder
	var body digest
	started, waits := false, x.sending == "expect"
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return got.String(), err
		}
		if frame.Header().StreamID != c.stream {
			if err := c.readControl(frame); err != nil {
				return got.String(), err
			}
			continue
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				fmt.Fprintf(&got, "%s: %s\n", field.Name, field.Value)
			}
			if f.PseudoValue("status") == "100" && waits {
				waits = false
				if err := c.writeBody(x); err != nil {
					return got.String(), err
				}
			}
			if started {
				got.WriteString("as trailers\n")
			}
			started = len(f.PseudoFields()) == 0 || f.PseudoValue("status") >= "200"
			if f.StreamEnded() {
				return got.String() + body.String(), nil
			}
		case *http2.DataFrame:
			body.Write(f.Data())
			if f.StreamEnded() {
				if x.gunzip {
					body.gunzip()
				}
				return got.String() + body.String(), nil
			}
		case *http2.RSTStreamFrame:
			return fmt.Sprintf("%s%s\nreset: %s", &got, &body, f.ErrCode), nil
		}
	}
}

// readControl takes a frame that does not belong to the stream.
func (c *h2) readControl(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("goaway: %s", f.ErrCode)
	}
	return nil
}

// h3 speaks HTTP/3. The server sends the fields of a header in random order, with or without us.
type h3 struct {
	address   string
	transport *http3.Transport
	conns     []*quic.Conn // all that were ever made: the transport forgets those on which a stream failed
}

func newH3(address string) *h3 {
	c := &h3{address: address}
	dial := func(ctx context.Context, address string, tls *tls.Config, config *quic.Config) (*quic.Conn, error) {
		conn, err := quic.DialAddrEarly(ctx, address, tls, config)
		if err == nil {
			c.conns = append(c.conns, conn)
		}
		return conn, err
	}
	c.transport = &http3.Transport{TLSClientConfig: clientTLS("h3"), DisableCompression: true, Dial: dial, QUICConfig: &quic.Config{HandshakeIdleTimeout: patience, MaxIdleTimeout: 2 * patience}}
	return c
}

func (c *h3) close() {
	c.transport.Close()
	for _, conn := range c.conns {
		conn.CloseWithError(0, "")
	}
}

func (c *h3) exchange(x *exchange) string {
	var got strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	proceed := make(chan struct{}, 1)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		fmt.Fprintf(&got, "%d\n%s", code, sorted(http.Header(header)))
		if code == http.StatusContinue {
			proceed <- struct{}{}
		}
		return nil
	}})
	request, err := http.NewRequestWithContext(ctx, x.method, "https://"+c.address+x.path, x.reader(ctx, proceed))
	if err != nil {
		return err.Error()
	}
	request.Host = siteName
	request.Header.Set(caseField, x.id)
	for _, f := range x.fields {
		request.Header[textproto.CanonicalMIMEHeaderKey(f[0])] = append(request.Header.Values(f[0]), f[1])
	}
	switch x.sending {
	case "length", "expect":
		request.ContentLength = int64(len(x.body))
	case "trailer":
		request.Trailer = http.Header{"X-Sum": {"42"}}
	}
	if x.sending == "expect" {
		request.Header.Set("Expect", "100-continue")
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return h3Error(err)
	}
	defer response.Body.Close()
	var body digest
	_, err = io.Copy(&body, response.Body)
	if x.gunzip {
		body.gunzip()
	}
	fmt.Fprintf(&got, "%s length %d\n%s%s\ntrailer %s", response.Status, response.ContentLength, sorted(response.Header), &body, sorted(response.Trailer))
	if err != nil { // what of the answer came before that is chance: the end of a stream may overtake what was sent on it
		return h3Error(err)
	}
	return got.String()
}

// h3Error words an error without the names of streams and ports.
func h3Error(err error) string {
	if e, ok := errors.AsType[*http3.Error](err); ok {
		return fmt.Sprintf("stream error %s", e.ErrorCode)
	}
	return err.Error()
}

// reader is the request's body. One that waits to be asked for is sent when proceed says so.
func (x *exchange) reader(ctx context.Context, proceed <-chan struct{}) io.Reader {
	if x.sending == "none" {
		return nil
	}
	var body io.Reader = strings.NewReader(x.body)
	if x.sending == "expect" {
		body = io.MultiReader(readerFunc(func([]byte) (int, error) {
			select {
			case <-proceed:
				return 0, io.EOF
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}), body)
	}
	return struct{ io.Reader }{body} // of a length that nobody can guess
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// sorted writes a header whose order says nothing, but for that of the values of one name.
func sorted(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	return b.String()
}
