package main

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
)

// serveAPI is the stub of the legacy API: it answers a POST with 201 and an id, which count up from 1, and anything else
// with an empty list.
func serveAPI() (port int, err error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	var ids atomic.Int64
	answer := func(b []byte, r *request) []byte {
		if string(r.method) != "POST" {
			return appendResponse(b, "200 OK", []byte(`{"data":[]}`))
		}
		body := strconv.AppendInt([]byte(`{"id":`), ids.Add(1), 10)
		return appendResponse(b, "201 Created", append(body, '}'))
	}
	go acceptAll(listener, func(conn net.Conn) { serveWire(conn, answer) })
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// acceptAll serves each connection in a goroutine until the listener is closed.
func acceptAll(listener net.Listener, serve func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go serve(conn)
	}
}
