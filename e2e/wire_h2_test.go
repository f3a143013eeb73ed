package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

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
