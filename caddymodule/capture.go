package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// capture is the response writer behind which a matched and wanted request is answered. It looks at a
// final answer of status 2xx, and holds it if it is to be stored before the client sees it; any other
// answer passes through as if capture were not there.
//
// What is held is let go unchanged, write by write and flush by flush: the writers in front of us decide by the
// first write whether to compress, and by flushes how to frame. The header map is the client's own, so that
// trailers work, and what was changed in it after WriteHeader, which then no longer counts, is kept out of the
// header.
type capture struct {
	*caddyhttp.ResponseWriterWrapper
	limit int64       // bytes looked at, at most
	hold  bool        // whether to hold a success, or only look at it
	seen  func()      // called once, when all is seen of a success that will be; before it is let go
	mode  captureMode // where the answer stands

	status int
	header http.Header // as it was at WriteHeader, while held
	body   []byte      // what was seen
	cut    bool        // body is only the first part
	lost   error       // why the client cannot be written to any more
	pieces []piece     // how what is held was written
}

// piece is one write of what is held.
type piece struct {
	end   int  // behind so many bytes of body
	flush bool // then it was flushed
}

// maxPieces is how many writes are told apart. An answer in more of them than this is let go with the rest as one.
const maxPieces = 1024

type captureMode int

const (
	awaiting captureMode = iota // no final status yet
	passing                     // not looked at any more
	looking                     // copied on its way to the client
	holding                     // kept from the client
)

func (c *capture) WriteHeader(status int) {
	if c.mode != awaiting {
		return
	}
	// 1xx is not final; 101 is, and what follows is not HTTP.
	if status < 200 && status != http.StatusSwitchingProtocols {
		c.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	c.status = status
	if status < 200 || status > 299 {
		c.mode = passing
		c.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	c.mode = looking
	if c.hold {
		c.mode = holding
		c.header = c.Header().Clone()
	}
	if streams(c.Header()) {
		c.finish(true)
	}
	if !c.hold {
		c.ResponseWriterWrapper.WriteHeader(status)
	}
}

// streams reports whether an answer may trickle for ever, so that only its header can be waited for.
func streams(h http.Header) bool {
	return caddyhttp.IsIncremental(h) || strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "text/event-stream")
}

func (c *capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	if c.mode == passing {
		return c.ResponseWriterWrapper.Write(p)
	}
	room := int(c.limit) - len(c.body)
	part := p[:min(len(p), room)]
	c.body = appendWithin(c.body, part, c.limit)
	whole := len(part) == len(p)
	if c.mode == holding && whole {
		c.note(false)
		return len(p), nil
	}
	held := c.mode == holding
	if !whole {
		c.finish(true) // lets go of all before p
	}
	if held {
		return c.ResponseWriterWrapper.Write(p)
	}
	return c.writeOn(p)
}

// note keeps that a write or a flush ends here.
func (c *capture) note(flush bool) {
	last := len(c.pieces) - 1
	if last < 0 || c.pieces[last].end < len(c.body) && last < maxPieces-1 {
		c.pieces = append(c.pieces, piece{end: len(c.body), flush: flush})
		return
	}
	c.pieces[last].end = len(c.body)
	c.pieces[last].flush = c.pieces[last].flush || flush
}

// writeOn passes on what was looked at. As long as there is something to look at, a client that has gone
// does not stop the API's answer from being read.
func (c *capture) writeOn(p []byte) (int, error) {
	if c.lost == nil {
		_, c.lost = c.ResponseWriterWrapper.Write(p)
	}
	if c.mode == looking {
		return len(p), nil
	}
	if c.lost != nil {
		return 0, c.lost
	}
	return len(p), nil
}

// ReadFrom keeps io.Copy from going around Write while the answer is looked at.
func (c *capture) ReadFrom(r io.Reader) (int64, error) {
	if c.mode == passing {
		return c.ResponseWriterWrapper.ReadFrom(r)
	}
	return io.Copy(writerOnly{c}, r)
}

// FlushError is what http.ResponseController calls. A flush of what is held is made up for later.
func (c *capture) FlushError() error {
	if c.mode == awaiting {
		c.WriteHeader(http.StatusOK)
	}
	if c.mode != holding {
		err := http.NewResponseController(c.ResponseWriter).Flush()
		if c.mode == looking {
			return nil
		}
		return err
	}
	c.note(true)
	return nil
}

// finish says that no more will be looked at, and lets go of what is held. cut: more may follow.
func (c *capture) finish(cut bool) {
	if c.mode != looking && c.mode != holding {
		return
	}
	held := c.mode == holding
	c.mode = passing
	c.cut = cut
	c.seen()
	if held {
		c.letGo()
	}
}

// letGo writes what was held. An error is the client's having gone, which concerns the client alone.
func (c *capture) letGo() {
	late := c.takeLateFields()
	c.ResponseWriterWrapper.WriteHeader(c.status)
	start := 0
	for _, p := range c.pieces {
		if p.end > start {
			_, _ = c.ResponseWriterWrapper.Write(c.body[start:p.end])
		}
		if p.flush {
			_ = http.NewResponseController(c.ResponseWriter).Flush()
		}
		start = p.end
	}
	// Nothing else is put back: writers in front of us may have changed the header with the first write, and one of
	// HTTP/3 may not have sent it yet.
	for name, values := range late {
		setField(c.Header(), name, values)
	}
}

// takeLateFields takes what was changed in the header after WriteHeader out of it. What was removed is nil.
func (c *capture) takeLateFields() map[string][]string {
	header := c.Header()
	var late map[string][]string
	take := func(name string) {
		before, now := c.header[name], header[name]
		if slices.Equal(before, now) && (before == nil) == (now == nil) {
			return
		}
		if late == nil {
			late = make(map[string][]string)
		}
		late[name] = now
		setField(header, name, before)
	}
	for name := range c.header {
		take(name)
	}
	for name := range header {
		take(name)
	}
	return late
}

// setField sets a field as it is, or removes it if values is nil.
func setField(h http.Header, name string, values []string) {
	if values == nil {
		delete(h, name)
		return
	}
	h[name] = values
}

// writerOnly hides ReadFrom.
type writerOnly struct{ io.Writer }

// bodyTee keeps the first bytes of a request body as it is read on its way to the API. The transport may
// still be reading when the answer is there already, hence the lock.
type bodyTee struct {
	io.ReadCloser
	limit int64

	mu   sync.Mutex
	body []byte
	cut  bool // body is only the first part of what was read
	end  bool // all was read
}

func (t *bodyTee) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	part := p[:min(n, int(t.limit)-len(t.body))]
	t.body = appendWithin(t.body, part, t.limit)
	t.cut = t.cut || len(part) < n
	t.end = t.end || errors.Is(err, io.EOF)
	return n, err
}

// appendWithin is append to what will never be longer than limit. It leaves less behind than append does, which grows
// by quarters, and claims no more than twice what has come, whatever length was announced.
func appendWithin(to, part []byte, limit int64) []byte {
	if need := len(to) + len(part); need > cap(to) {
		to = append(make([]byte, 0, min(max(2*cap(to), need), int(limit))), to...)
	}
	return append(to, part...)
}

// seen returns what was kept so far, and whether the body, of the given length if that is not negative,
// has more.
func (t *bodyTee) seen(length int64) (body []byte, cut bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	whole := !t.cut && (t.end || length == int64(len(t.body)))
	return slices.Clip(t.body), !whole
}

var (
	_ http.ResponseWriter = (*capture)(nil)
	_ io.ReaderFrom       = (*capture)(nil)
	_ io.ReadCloser       = (*bodyTee)(nil)
)
