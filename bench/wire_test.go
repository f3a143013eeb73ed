package main

import (
	"bufio"
	"errors"
	"net"
	"strings"
	"testing"
)

func TestServerReadsRequestsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	br := bufio.NewReader(strings.NewReader("POST /a HTTP/1.1\r\nHost: x\r\ncontent-length: 5\r\nX-Hook-Delivery: abc\r\n\r\nhello" +
		"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"))
	var r request
	if err := r.read(br); err != nil {
		t.Fatal(err)
	}
	if string(r.method) != "POST" || string(r.path) != "/a" || string(r.delivery) != "abc" || string(r.body) != "hello" {
		t.Errorf("got %q %q %q %q", r.method, r.path, r.delivery, r.body)
	}
	if err := r.read(br); err != nil {
		t.Fatal(err)
	}
	if string(r.method) != "GET" || string(r.path) != "/b" || len(r.delivery) != 0 || len(r.body) != 0 {
		t.Errorf("got %q %q %q %q", r.method, r.path, r.delivery, r.body)
	}
}

func TestClientSpeaksWithServer(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	go serveWire(far, func(b []byte, r *request) []byte { return appendResponse(b, "201 Created", r.body) })
	defer near.Close()
	c := &client{conn: near, br: bufio.NewReader(near)}
	for _, body := range []string{`{"id":1}`, ""} {
		status, err := c.do([]byte("POST / HTTP/1.1\r\nContent-Length: " + string(rune('0'+len(body))) + "\r\n\r\n" + body))
		if err != nil || status != 201 || string(c.body) != body {
			t.Errorf("got %d %q, %v", status, c.body, err)
		}
	}
}

func TestMalformedMessagesAreErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"nonsense\r\n\r\n", "POST / HTTP/1.1\r\nno colon\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
	} {
		if err := new(request).read(bufio.NewReader(strings.NewReader(text))); !errors.Is(err, errMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
