package caddymodule

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/bentihooks/bentihooks/matcher"
)

// recorder takes the answer to a request of our own. Of the body it keeps as much as its limit.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	limit  int
	cut    bool
}

func newRecorder(limit int) *recorder { return &recorder{header: make(http.Header), limit: limit} }

func (a *recorder) Header() http.Header { return a.header }

func (a *recorder) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

func (a *recorder) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	part := p[:min(len(p), a.limit-a.body.Len())]
	a.cut = a.cut || len(part) < len(p)
	a.body.Write(part)
	return len(p), nil
}

// Flush exists because proxies flush; there is nothing to do.
func (a *recorder) Flush() {}

// isJSON reports whether the answer is a JSON object or array, as far as it was seen, or has no body at all
// by its status.
func (a *recorder) isJSON() bool {
	if a.status == http.StatusNoContent {
		return true
	}
	body := bytes.TrimSpace(a.body.Bytes())
	if len(body) == 0 || a.header.Get("Content-Encoding") != "" || (body[0] != '{' && body[0] != '[') {
		return false
	}
	return a.cut || json.Valid(body)
}

func (a *recorder) isError() bool {
	return matcher.IsError(a.seen(), a.limit)
}

// seen is the body as far as it was seen.
func (a *recorder) seen() matcher.Body {
	return matcher.Body{
		Type: a.header.Get("Content-Type"), Encoding: strings.Join(a.header.Values("Content-Encoding"), ","), Bytes: a.body.Bytes(), Cut: a.cut,
	}
}

var (
	_ http.ResponseWriter = (*recorder)(nil)
	_ http.Flusher        = (*recorder)(nil)
	_ io.Writer           = (*recorder)(nil)
)
