package caddymodule

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const captureLimit = 64

// answers are handlers as they may stand behind us. What a client sees of them must be the same with
// capture in between.
var answers = map[string]http.HandlerFunc{
	"created with length": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "8")
		w.WriteHeader(201)
		io.WriteString(w, `{"id":1}`)
	},
	"length left to the server": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		io.WriteString(w, `{"id":1}`)
	},
	"implicit 200": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") },
	"nothing at all": func(http.ResponseWriter, *http.Request) {
	},
	"no content": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
	"empty body": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) },
	"flushed in pieces": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		for i := range 5 {
			fmt.Fprintf(w, "part %d,", i)
			_ = http.NewResponseController(w).Flush()
		}
	},
	"in many writes": func(w http.ResponseWriter, _ *http.Request) {
		for range 60 {
			io.WriteString(w, "x")
		}
	},
	"longer than the limit in odd writes": func(w http.ResponseWriter, _ *http.Request) {
		for i := range 40 {
			io.WriteString(w, strings.Repeat("x", i))
			if i%7 == 0 {
				_ = http.NewResponseController(w).Flush()
			}
		}
	},
	"flushed before the first byte": func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		io.WriteString(w, "late")
	},
	"longer than the limit": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "6000")
		w.WriteHeader(201)
		for range 60 {
			io.WriteString(w, strings.Repeat("x", 100))
		}
	},
	"as long as the limit": func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("x", captureLimit))
	},
	"longer than the limit, copied": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		_, _ = io.Copy(w, strings.NewReader(strings.Repeat("y", 3000)))
	},
	"announced trailers": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
	},
	"unannounced trailers": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		io.WriteString(w, "body")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Sum", "42")
	},
	"header changed too late": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Early", "1")
		w.WriteHeader(201)
		w.Header().Set("X-Late", "1")
		w.Header().Del("X-Early")
		io.WriteString(w, "body")
	},
	"repeated header": func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header()["x-odd-case"] = []string{"kept"}
		w.WriteHeader(201)
	},
	"early hints": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(103)
		w.Header().Del("Link")
		w.WriteHeader(201)
		io.WriteString(w, "body")
	},
	"status written twice": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		w.WriteHeader(500)
		io.WriteString(w, "body")
	},
	"redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusSeeOther) },
	"not found":   func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
	"server down": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) },
	"event stream": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		io.WriteString(w, "data: 2\n\n")
	},
	"broken off after a flush": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(201)
		io.WriteString(w, "part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	},
	"broken off": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(201)
		io.WriteString(w, "part")
		panic(http.ErrAbortHandler)
	},
}

func TestClientSeesTheSameWithCapture(t *testing.T) {
	t.Parallel()
	for name, answer := range answers {
		for _, hold := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/hold=%v", name, hold), func(t *testing.T) {
				t.Parallel()
				plain := rawExchange(t, answer)
				captured := rawExchange(t, func(w http.ResponseWriter, r *http.Request) {
					c := &capture{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, limit: captureLimit, hold: hold, seen: func() {}}
					whole := false
					defer func() { c.finish(!whole) }()
					answer(c, r)
					whole = true
				})
				if strings.HasSuffix(name, "copied") {
					plain, captured = dechunk(plain), dechunk(captured)
				}
				if plain != captured {
					t.Errorf("without:\n%s\nwith:\n%s", plain, captured)
				}
			})
		}
	}
}

var dateHeader = regexp.MustCompile(`(?m)^Date: .*$`)

// rawExchange returns the bytes of the answer as they come over the wire.
func rawExchange(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /tickets HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	answer, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		answer = append(answer, err.Error()...)
	}
	return dateHeader.ReplaceAllString(string(answer), "Date: now")
}

// dechunk joins the chunks of a body. A copy that the server makes by itself is framed in another way than one made by writes.
func dechunk(answer string) string {
	head, body, ok := strings.Cut(answer, "\r\n\r\n")
	for ok && strings.HasPrefix(head, "HTTP/1.1 1") {
		var next string
		next, body, ok = strings.Cut(body, "\r\n\r\n")
		head += "\r\n\r\n" + next
	}
	if !strings.Contains(head, "Transfer-Encoding: chunked") {
		return answer
	}
	var joined bytes.Buffer
	for {
		size, rest, ok := strings.Cut(body, "\r\n")
		var n int
		if _, err := fmt.Sscanf(size, "%x", &n); !ok || err != nil || len(rest) < n+2 {
			return head + "\r\n\r\n" + joined.String() + "|unfinished " + size
		}
		if n == 0 {
			return head + "\r\n\r\n" + joined.String() + "|trailer " + rest
		}
		joined.WriteString(rest[:n])
		body = rest[n+2:]
	}
}

// lazy is a writer in front of us as some are: it decides on the header by the first write, and writes it only then.
type lazy struct {
	http.ResponseWriter
	status int
	first  int // length of the first write
}

func (l *lazy) WriteHeader(status int) { l.status = status }

func (l *lazy) Write(p []byte) (int, error) {
	if l.first == 0 {
		l.first = len(p)
		l.Header().Set("Content-Encoding", "none")
		l.ResponseWriter.WriteHeader(l.status)
	}
	return l.ResponseWriter.Write(p)
}

func TestWriterInFrontDecidesAsWithoutCapture(t *testing.T) {
	t.Parallel()
	inner := httptest.NewRecorder()
	front := &lazy{ResponseWriter: inner}
	c := &capture{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: front}, limit: captureLimit, hold: true, seen: func() {}}
	c.WriteHeader(201)
	io.WriteString(c, "one")
	io.WriteString(c, "three")
	c.Header().Set("X-Late", "1")
	c.finish(false)
	if front.first != len("one") {
		t.Errorf("the first write was one of %d bytes", front.first)
	}
	if got := inner.Result().Header; got.Get("Content-Encoding") != "none" || got.Get("X-Late") != "" {
		t.Errorf("header is %v", got)
	}
	if got := c.Header(); got.Get("Content-Encoding") != "none" || got.Get("X-Late") != "1" {
		t.Errorf("header is %v in the end", got)
	}
}

func TestAnswerInVeryManyPiecesIsHeldInFewer(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	c := &capture{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, limit: 1 << 20, hold: true, seen: func() {}}
	const writes = 10 * maxPieces
	for range writes {
		io.WriteString(c, "x")
		_ = http.NewResponseController(c).Flush()
	}
	if len(c.pieces) != maxPieces {
		t.Errorf("%d pieces", len(c.pieces))
	}
	c.finish(false)
	if w.Body.Len() != writes || !w.Flushed {
		t.Errorf("%d of %d bytes, flushed %v", w.Body.Len(), writes, w.Flushed)
	}
}

func TestHeldAnswerIsSeenBeforeTheClientGetsAByte(t *testing.T) {
	t.Parallel()
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			w.Code = 0
			calls := 0
			c := &capture{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, limit: captureLimit, hold: true}
			c.seen = func() {
				calls++
				if w.Body.Len() > 0 || w.Result().StatusCode == 201 {
					t.Error("the client got something first")
				}
				if len(c.body) > captureLimit {
					t.Errorf("looked at %d bytes", len(c.body))
				}
			}
			func() {
				defer func() { _ = recover() }()
				defer c.finish(false)
				answer(c, httptest.NewRequest(http.MethodPost, "/tickets", nil))
			}()
			wantCalls := 0
			if c.status >= 200 && c.status <= 299 {
				wantCalls = 1
			}
			if calls != wantCalls {
				t.Errorf("seen was called %d times for status %d", calls, c.status)
			}
		})
	}
}

func TestRequestBodyIsKeptAsItIsRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		body     string
		read     int // -1: to the end
		length   int64
		wantBody string
		wantCut  bool
	}{
		{"whole, length known", "abc", -1, 3, "abc", false},
		{"whole, length unknown", "abc", -1, -1, "abc", false},
		{"all bytes but not the end, length known", "abc", 3, 3, "abc", false},
		{"all bytes but not the end, length unknown", "abc", 3, -1, "abc", true},
		{"part", "abcdef", 2, 6, "ab", true},
		{"over the limit", strings.Repeat("a", 20), -1, 20, strings.Repeat("a", 8), true},
		{"as long as the limit", "12345678", -1, 8, "12345678", false},
		{"not read", "abc", 0, 3, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tee := &bodyTee{ReadCloser: io.NopCloser(strings.NewReader(c.body)), limit: 8}
			if c.read < 0 {
				if _, err := io.Copy(io.Discard, tee); err != nil {
					t.Fatal(err)
				}
			} else if _, err := io.ReadFull(tee, make([]byte, c.read)); err != nil {
				t.Fatal(err)
			}
			body, cut := tee.seen(c.length)
			if string(body) != c.wantBody || cut != c.wantCut {
				t.Errorf("got %q cut %v, want %q cut %v", body, cut, c.wantBody, c.wantCut)
			}
		})
	}
}
