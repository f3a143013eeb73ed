package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// What follows is as much of HTTP/1.1 as the two ends of the measured proxy need: messages with a Content-Length over
// kept connections. net/http at both ends would take several times the CPU of what is measured between them.

// request is what a server was asked. Its slices are valid until the next read.
type request struct {
	method, path []byte
	delivery     []byte // X-Hook-Delivery
	body         []byte
}

var errMalformed = errors.New("malformed message")

func (r *request) read(br *bufio.Reader) error {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return err
	}
	method, rest, _ := bytes.Cut(line, []byte(" "))
	path, _, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return fmt.Errorf("request line %q: %w", line, errMalformed)
	}
	r.method = append(r.method[:0], method...)
	r.path = append(r.path[:0], path...)
	r.delivery = r.delivery[:0]
	length := 0
	err = readHeader(br, func(name, value []byte) error {
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, err = strconv.Atoi(string(value))
			return err
		case bytes.EqualFold(name, []byte("X-Hook-Delivery")):
			r.delivery = append(r.delivery, value...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.body, err = readBody(br, r.body, length)
	return err
}

// readHeader calls fn for every field up to the empty line.
func readHeader(br *bufio.Reader, fn func(name, value []byte) error) error {
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return nil
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return fmt.Errorf("header line %q: %w", line, errMalformed)
		}
		if err := fn(name, bytes.TrimSpace(value)); err != nil {
			return err
		}
	}
}

// readBody reads length bytes into buf, which it grows if need be.
func readBody(br *bufio.Reader, buf []byte, length int) ([]byte, error) {
	if length < 0 || length > 1<<20 {
		return buf, fmt.Errorf("body of %d bytes: %w", length, errMalformed)
	}
	if cap(buf) < length {
		buf = make([]byte, length)
	}
	buf = buf[:length]
	_, err := io.ReadFull(br, buf)
	return buf, err
}

// serveWire answers the requests of one connection until it ends. answer appends a whole response to b.
func serveWire(conn net.Conn, answer func(b []byte, r *request) []byte) {
	defer conn.Close()
	br := bufio.NewReaderSize(conn, 8<<10)
	var r request
	var b []byte
	for r.read(br) == nil {
		b = answer(b[:0], &r)
		if _, err := conn.Write(b); err != nil {
			return
		}
	}
}

// appendResponse appends a response with a short body.
func appendResponse(b []byte, status string, body []byte) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = append(b, status...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}

// client is one kept connection.
type client struct {
	conn net.Conn
	br   *bufio.Reader
	body []byte
}

func dialClient(ctx context.Context, addr string) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, br: bufio.NewReaderSize(conn, 4<<10)}, nil
}

// do sends a whole request and returns the status of the answer, whose body is in c.body until the next call.
func (c *client) do(request []byte) (status int, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	line, err := c.br.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("reading answer: %w", err)
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("status line %q: %w", line, errMalformed)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, fmt.Errorf("status line %q: %w", line, errMalformed)
	}
	length := -1
	err = readHeader(c.br, func(name, value []byte) error {
		if bytes.EqualFold(name, []byte("Content-Length")) {
			length, err = strconv.Atoi(string(value))
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if status == 204 || status == 304 {
		length = 0
	}
	c.body, err = readBody(c.br, c.body, length)
	return status, err
}
