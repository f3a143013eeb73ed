package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

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
