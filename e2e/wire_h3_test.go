package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

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
	ctx, cancel := context.WithTimeout(context.Background(), longPatience)
	defer cancel()
	proceed := make(chan struct{}, 1)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		fmt.Fprintf(&got, "%d\n%s", code, sorted(http.Header(header)))
		if code == http.StatusContinue {
			proceed <- struct{}{}
		}
		return nil
	}})
	request, err := c.request(ctx, x, x.reader(ctx, proceed))
	if err != nil {
		return err.Error()
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

func (c *h3) request(ctx context.Context, x *exchange, body io.Reader) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, x.method, "https://"+c.address+x.path, body)
	if err != nil {
		return nil, err
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
	return request, nil
}

func (c *h3) cancel(x *exchange, at stage, reached func()) string {
	ctx, cancel := context.WithTimeout(context.Background(), longPatience)
	defer cancel()
	var body io.Reader
	if at == inUpload {
		parts := make(chan []byte, 1)
		parts <- []byte(x.body[:sentOfUpload])
		body = readerFunc(func(p []byte) (int, error) {
			select {
			case part := <-parts:
				n := copy(p, part)
				if n < len(part) {
					parts <- part[n:]
				}
				return n, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
	}
	request, err := c.request(ctx, x, body)
	if err != nil {
		return err.Error()
	}
	if at == inAnswer {
		response, err := c.transport.RoundTrip(request)
		if err != nil {
			return h3Error(err)
		}
		reached()
		cancel()
		response.Body.Close()
		return fmt.Sprintf("%s length %d\n%s", response.Status, response.ContentLength, sorted(response.Header))
	}
	ended := make(chan error, 1)
	go func() {
		response, err := c.transport.RoundTrip(request)
		if err == nil {
			response.Body.Close()
		}
		ended <- err
	}()
	reached()
	cancel()
	return fmt.Sprint("canceled: ", errors.Is(<-ended, context.Canceled))
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
