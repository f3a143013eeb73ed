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
	// How many more bytes the server takes on the connection, on this stream, and on one that begins.
	window, ofStream, initial int64
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
		const atFirst = 1<<16 - 1
		c.window, c.initial = atFirst, atFirst
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
	return c.conn.SetDeadline(time.Now().Add(longPatience))
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
	if err := c.start(x); err != nil {
		return "", err
	}
	if x.sending != "none" && x.sending != "expect" {
		if err := c.writeBody(x); err != nil {
			return "", err
		}
	}
	return c.read(x)
}

// start sends the head of a request on a new stream.
func (c *h2) start(x *exchange) error {
	if err := c.connect(); err != nil {
		return err
	}
	if c.stream++; c.stream > 1 {
		c.stream++
	}
	c.ofStream = c.initial
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
	return c.writeFields(fields, x.sending == "none")
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
	if err := c.writeData([]byte(x.body), !trailer); err != nil || !trailer {
		return err
	}
	return c.writeFields([][2]string{{"x-sum", "42"}}, true)
}

// writeData sends data as the server takes it. end: nothing follows.
func (c *h2) writeData(data []byte, end bool) error {
	const frame = 16 << 10
	for {
		if err := c.awaitWindow(int64(min(len(data), 1))); err != nil {
			return err
		}
		part := data[:min(int64(len(data)), frame, c.window, c.ofStream)]
		data = data[len(part):]
		c.window -= int64(len(part))
		c.ofStream -= int64(len(part))
		if err := c.framer.WriteData(c.stream, end && len(data) == 0, part); err != nil || len(data) == 0 {
			return err
		}
	}
}

// awaitWindow reads until the server takes so many bytes.
func (c *h2) awaitWindow(n int64) error {
	for min(c.window, c.ofStream) < n {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		if header := frame.Header(); header.StreamID == c.stream && header.Type != http2.FrameWindowUpdate {
			return fmt.Errorf("%s while the body is sent", header.Type)
		}
		if err := c.readControl(frame); err != nil {
			return err
		}
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

// readControl takes a frame that is no part of an answer.
func (c *h2) readControl(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			if size, ok := f.Value(http2.SettingInitialWindowSize); ok {
				c.ofStream += int64(size) - c.initial
				c.initial = int64(size)
			}
			return c.framer.WriteSettingsAck()
		}
	case *http2.WindowUpdateFrame:
		switch f.StreamID {
		case 0:
			c.window += int64(f.Increment)
		case c.stream:
			c.ofStream += int64(f.Increment)
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

func (c *h2) cancel(x *exchange, at stage, reached func()) string {
	got, err := c.goTo(x, at)
	reached()
	if err == nil {
		err = c.framer.WriteRSTStream(c.stream, http2.ErrCodeCancel)
	}
	if err != nil {
		c.close()
		return got + err.Error()
	}
	return got
}

// goTo makes an exchange up to a stage, and tells what of the answer was seen.
func (c *h2) goTo(x *exchange, at stage) (string, error) {
	if err := c.start(x); err != nil {
		return "", err
	}
	switch at {
	case inUpload:
		return "", c.writeData([]byte(x.body[:sentOfUpload]), false)
	case inAnswer:
		return c.readHead()
	}
	return "", nil
}

func (c *h2) readHead() (string, error) {
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return "", err
		}
		if head, ok := frame.(*http2.MetaHeadersFrame); ok && head.StreamID == c.stream {
			var got strings.Builder
			for _, field := range head.Fields {
				fmt.Fprintf(&got, "%s: %s\n", field.Name, field.Value)
			}
			return got.String(), nil
		}
		if err := c.readControl(frame); err != nil {
			return "", err
		}
	}
}
