package caddymodule

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bentihooks/bentihooks/journal"
	"github.com/bentihooks/bentihooks/matcher"
)

func TestWebhooksPathIsFoundHoweverItIsSpelt(t *testing.T) {
	for _, c := range []struct {
		rest    string
		encoded bool
		want    []string
		ok      bool
	}{
		{"/webhooks", false, nil, true},
		{"/webhooks/", false, nil, true},
		{"/webhooks/a/ping", false, []string{"a", "ping"}, true},
		{"/%77ebhooks/a%2Fb", true, []string{"a/b"}, true},
		{"/webhooks/%zz", true, nil, false},
		{"/webhooksx", false, nil, false},
		{"/Webhooks", false, nil, false},
		{"//webhooks", false, nil, false},
		{"/tickets/webhooks", false, nil, false},
		{"", false, nil, false},
	} {
		got, ok := belowWebhooks(c.rest, c.encoded)
		if ok != c.ok || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, %v", c.rest, got, ok)
		}
	}
	if n := testing.AllocsPerRun(100, func() { belowWebhooks("/webhooksx/a%2Fb", true) }); n != 0 {
		t.Errorf("%v allocations for a path that is none of ours", n)
	}
}

func TestOnlyAnAPIsAnswerAuthorizes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, encoding, body string
		status               int
		cut, want            bool
	}{
		{"list", "", `{"data":[]}`, 200, false, true},
		{"array", "", ` [1]`, 200, false, true},
		{"long list", "", `{"data":[1,2`, 200, true, true},
		{"no content", "", "", 204, false, true},
		{"page", "", "<html>", 200, false, false},
		{"text", "", "ok", 200, false, false},
		{"nothing", "", "", 200, false, false},
		{"broken", "", `{"data":[`, 200, false, false},
		{"encoded though not asked for", "compress", `{"data":[]}`, 200, false, false},
	} {
		a := &recorder{header: http.Header{}, status: c.status, limit: 100, cut: c.cut}
		if c.encoding != "" {
			a.header.Set("Content-Encoding", c.encoding)
		}
		a.body.WriteString(c.body)
		if got := a.isJSON(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestIdentityGivenTwiceIsNoticed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"X-Inbenta-Key", "Authorization"} {
		h := http.Header{}
		h.Add(name, "a")
		if got := repeatedIdentity(h); got != "" {
			t.Errorf("%s once: %q", name, got)
		}
		h.Add(name, "b")
		if got := repeatedIdentity(h); got != name {
			t.Errorf("%s twice: %q", name, got)
		}
	}
}

func TestProjectThatCouldNotBeResolvedIsRefused(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"acme": true, "{benti.tenant}": true, "{benti.jwt.tenant}-x": true, "{http.request.header.X-Org}": true,
		"{benti.jtw.tenant}": false, "{benti.jwt.tenant": false, "{benti.request.a}": false, "{benti.path.a}": false, "a}": false,
	} {
		if err := checkProject(text); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// goneClient fails every write, as the connection to a client that has gone does.
type goneClient struct{ http.ResponseWriter }

func (goneClient) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAsyncReadsOnWhenTheClientHasGone(t *testing.T) {
	t.Parallel()
	c := &capture{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: goneClient{httptest.NewRecorder()}}, limit: 100}
	c.seen = func() {}
	c.WriteHeader(http.StatusCreated)
	for _, part := range []string{`{"a":1,`, `"id":7}`} {
		if n, err := c.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("the API's answer is not read on: %d, %v", n, err)
		}
	}
	c.finish(false)
	if string(c.body) != `{"a":1,"id":7}` {
		t.Errorf("saw %s", c.body)
	}
}

func TestTrailersOfAHeldAnswerAreKeptOutOfALateHeader(t *testing.T) {
	t.Parallel()
	late := &lateHeader{header: http.Header{}}
	c := &capture{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: late}, limit: 100, hold: true, seen: func() {}}
	c.Header().Set("Trailer", "X-Sum")
	c.WriteHeader(http.StatusOK)
	_, _ = c.Write([]byte("body"))
	c.Header().Set("X-Sum", "42")
	c.finish(false)
	if got := late.sent.Get("X-Sum"); got != "" {
		t.Errorf("the trailer is in the header: %s", got)
	}
	if got := late.header.Get("X-Sum"); got != "42" {
		t.Errorf("the trailer is %q", got)
	}
}

// lateHeader sends its header with the first byte of the body, as Caddy's encode does.
type lateHeader struct{ header, sent http.Header }

func (l *lateHeader) Header() http.Header { return l.header }
func (l *lateHeader) WriteHeader(int)     {}
func (l *lateHeader) Write(p []byte) (int, error) {
	if l.sent == nil {
		l.sent = l.header.Clone()
	}
	return len(p), nil
}

// Else a crash between the keeping of two events of one request could lose the second without a trace.
func TestNoteOfARequestEndsWithTheLastOfItsEvents(t *testing.T) {
	t.Parallel()
	for kept, want := range map[int]int{0: 1, 1: 1, 2: 1, 3: 0} {
		path := filepath.Join(t.TempDir(), "in-flight")
		open := func() (*journal.InFlight, []journal.Entry) {
			notes, leftOver, err := journal.OpenInFlight(path, 8)
			if err != nil {
				t.Fatal(err)
			}
			return notes, leftOver
		}
		c := new(core)
		notes, _ := open()
		c.inFlight.notes.Store(notes)
		token, unkept := c.inFlight.begin(journal.Entry{Method: "PUT", Path: "/tickets/5"}), new(atomic.Int32)
		unkept.Store(3)
		c.endNotes([]event{{token: token, unkept: unkept}, {token: token, unkept: unkept}, {token: token, unkept: unkept}}[:kept])
		if err := notes.Close(); err != nil {
			t.Fatal(err)
		}
		notes, leftOver := open()
		if len(leftOver) != want {
			t.Errorf("with %d of 3 events kept, %d requests are in doubt, want %d", kept, len(leftOver), want)
		}
		if err := notes.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRequestOfNoRowCostsNoAllocation(t *testing.T) {
	h := new(Handler)
	h.setDefaults()
	if err := h.check(); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) error {
		if got != http.ResponseWriter(w) {
			t.Error("the writer is wrapped")
		}
		return nil
	})
	for _, c := range []struct{ method, path string }{{"GET", "/v1/tickets"}, {"POST", "/v1/tickets/7/close"}, {"POST", "/elsewhere"}, {"GET", "/"}} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if n := testing.AllocsPerRun(100, func() { _ = h.ServeHTTP(w, r, next) }); n != 0 {
			t.Errorf("%s %s: %v allocations", c.method, c.path, n)
		}
	}
}

// TestABugInDerivingIsNotTheClients has the derivation panic where its diagnostics hook is called.
func TestABugInDerivingIsNotTheClients(t *testing.T) {
	t.Parallel()
	table, err := matcher.NewTable("/v1", matcher.Rows())
	if err != nil {
		t.Fatal(err)
	}
	match, ok := table.Match(http.MethodPut, "/v1/tickets/7", false)
	if !ok {
		t.Fatal("no match")
	}
	o := &observation{handler: &Handler{}, exchange: matcher.Exchange{
		Match: match, Status: http.StatusOK, Looked: func(matcher.Look) { panic("secret") },
	}}
	events, errs := o.derive()
	if len(events) != 0 || len(errs) != 1 || strings.Contains(errs[0].Error(), "secret") {
		t.Fatalf("%v, %v", events, errs)
	}
	if p, ok := errors.AsType[*derivationPanic](errs[0]); !ok || !strings.Contains(string(p.stack), "Derive") {
		t.Errorf("%#v", errs[0])
	}
}
