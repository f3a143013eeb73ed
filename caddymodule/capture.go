package caddymodule

import (
	"errors"
	"io"
	"maps"
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
// What is held is let go unchanged: the header map is the client's own, so that trailers work, and what
// was changed in it after WriteHeader, which then no longer counts, is kept out of the header.
type capture struct {
	*caddyhttp.ResponseWriterWrapper
	limit int64       // bytes looked at, at most
	hold  bool        // whether to hold a success, or only look at it
	seen  func()      // called once, when all is seen of a success that will be; before it is let go
	mode  captureMode // where the answer stands

	status  int
	header  http.Header // as it was at WriteHeader, while held
	body    []byte      // what was seen
	cut     bool        // body is only the first part
	lost    error       // why the client cannot be written to any more
	flushed bool        // a flush was wanted while held,
	flushAt int         // first behind so many bytes of body
}

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
	c.body = append(c.body, part...)
	wasHolding := c.mode == holding
	if len(part) < len(p) {
		c.finish(true)
	}
	switch {
	case !wasHolding:
		return c.writeOn(p)
	case len(part) == len(p):
		return len(p), nil
	}
	n, err := c.ResponseWriterWrapper.Write(p[len(part):])
	return len(part) + n, err
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
	if !c.flushed {
		c.flushed, c.flushAt = true, len(c.body)
	}
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

func (c *capture) letGo() {
	header := c.Header()
	later := maps.Clone(header)
	clear(header)
	maps.Copy(header, c.header)
	c.ResponseWriterWrapper.WriteHeader(c.status)
	// An error from here on is the client's having gone. That concerns the client alone.
	// What came later is not for the header, even of writers that write it with the first byte of the body.
	defer func() {
		clear(header)
		maps.Copy(header, later)
	}()
	if !c.flushed {
		c.letGoBody(c.body)
		return
	}
	// The first flush decides what the server makes of the header, the last how soon the client gets it all.
	c.letGoBody(c.body[:c.flushAt])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	if len(c.body) > c.flushAt {
		c.letGoBody(c.body[c.flushAt:])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
	}
}

func (c *capture) letGoBody(p []byte) {
	if len(p) > 0 {
		_, _ = c.ResponseWriterWrapper.Write(p)
	}
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
	t.body = append(t.body, part...)
	t.cut = t.cut || len(part) < n
	t.end = t.end || errors.Is(err, io.EOF)
	return n, err
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
