package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// exchanges are the methods and paths of calls that the API got.
func exchanges(calls []call) (list []string) {
	for _, c := range calls {
		list = append(list, c.method+" "+c.uri)
	}
	return list
}

// since returns what the API got behind the first n calls.
func (u *upstream) since(n int) []call { return u.seen()[n:] }

// The API sees one read more, and only when a webhook wants an event that needs it; the client sees nothing of it.
func TestTicketIsReadOnceAndOnlyWhenWanted(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance"})
	const ticket = `{"id":5,"status":1,"queue":1,"classification":"3"}`
	put := instanceCall{method: "PUT", path: "/v1/tickets/5", status: 200, request: `{"status":3,"queue":2,"classification":"4"}`, response: `{"id":5}`}
	answer := instanceCall{method: "POST", path: "/v1/tickets/5/replies", status: 201, request: `{"type":"answer","text":"x"}`, response: `{"id":7}`}
	reply := answer
	reply.request = `{"type":"reply","text":"x"}`
	with := func(c instanceCall, change func(*instanceCall)) instanceCall {
		change(&c)
		return c
	}
	refused := func(c *instanceCall) { c.status, c.response = 404, `{"errors":[{"code":404}]}` }
	disguised := func(c *instanceCall) { c.status, c.response = 200, `{"errors":[{"code":404}]}` }
	const readTicket = "GET /v1/tickets/5"
	for _, c := range []struct {
		name   string
		wanted []string
		call   instanceCall
		want   []string // beside the call
		first  bool     // the read comes before the call
	}{
		{"a PUT of which all is wanted", instanceEvents, put, []string{readTicket}, true},
		{"a PUT of which a close is wanted", []string{"close-ticket"}, put, []string{readTicket}, true},
		{"a PUT that fails", []string{"change-queue"}, with(put, refused), []string{readTicket}, true},
		{"a PUT of which nothing is wanted", []string{"create-ticket", "answer"}, put, nil, true},
		{"a PUT with a slash at the end", []string{"classify-ticket"}, with(put, func(c *instanceCall) { c.path += "/" }), []string{readTicket}, true},
		{"a PUT with a query", []string{"classify-ticket"}, with(put, func(c *instanceCall) { c.path += "?notify=1" }), []string{readTicket}, true},
		{"a PUT of a ticket with an odd id", []string{"close-ticket"}, with(put, func(c *instanceCall) { c.path = "/v1/tickets/a%2Fb" }), []string{"GET /v1/tickets/a%2Fb"}, true},
		{"a PUT of a ticket with an id like a path", []string{"close-ticket"}, with(put, func(c *instanceCall) { c.path = "/v1/tickets/replies" }), []string{"GET /v1/tickets/replies"}, true},
		{"an answer that is wanted", instanceEvents, answer, []string{readTicket}, false},
		{"an answer at an oddly written path", instanceEvents, with(answer, func(c *instanceCall) { c.path = "/v1/tickets/5/%72eplies/" }), []string{readTicket}, false},
		{"an answer that fails", instanceEvents, with(answer, refused), nil, false},
		{"an answer that fails with a 200", instanceEvents, with(answer, disguised), nil, false},
		{"an answer that nobody wants", []string{"reply-ticket", "close-ticket"}, answer, nil, false},
		{"a reply", instanceEvents, reply, nil, false},
		{"a new ticket", instanceEvents, instanceCall{method: "POST", path: "/v1/tickets", status: 201, request: `{}`, response: `{"id":1}`}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := p.registerInstance(rc.url("/"), c.wanted...)
			defer p.must(http.StatusNoContent, "DELETE", w.path(), "")
			up.answer(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Api", "of "+r.Method)
				if r.Method != http.MethodGet {
					c.call.script(w, r)
					return
				}
				http.SetCookie(w, &http.Cookie{Name: "read", Value: "1"})
				w.Header().Set("X-Read", "1")
				w.WriteHeader(http.StatusNonAuthoritativeInfo)
				io.WriteString(w, ticket)
			})
			before := len(up.seen())
			got := p.must(c.call.status, c.call.method, c.call.path, c.call.request, "Authorization", p.secret("Bearer of the caller"),
				"X-Inbenta-Key", "", "Cookie", "a=b", "X-Other", "1", "If-Match", `"etag"`, "Accept", "text/html", "Idempotency-Key", "once")
			if got.body != c.call.response || got.header.Get("X-Api") != "of "+c.call.method || got.header.Get("X-Read")+got.header.Get("Set-Cookie") != "" {
				t.Errorf("the client got %q, %v", got.body, got.header)
			}
			calls := up.since(before)
			want := slices.Insert(slices.Clone(c.want), map[bool]int{true: len(c.want), false: 0}[c.first], c.call.method+" "+c.call.path)
			if got := exchanges(calls); !slices.Equal(got, want) {
				t.Fatalf("the API got %q, want %q", got, want)
			}
			for _, call := range calls {
				for name, value := range map[string]string{"Authorization": "Bearer of the caller", "Cookie": "a=b", "X-Other": "1"} {
					if got := call.header.Values(name); len(got) != 1 || got[0] != value {
						t.Errorf("%s %s: header %s is %q", call.method, call.uri, name, got)
					}
				}
				if call.method == http.MethodGet {
					if len(call.body) > 0 || call.header.Get("Content-Type") != "" || call.header.Get("Accept") != "application/json" || call.header.Get("If-Match") != "" {
						t.Errorf("the read has header %v and body %q", call.header, call.body)
					}
				} else if string(call.body) != c.call.request || call.header.Get("If-Match") != `"etag"` || call.header.Get("Accept") != "text/html" {
					t.Errorf("the call came with header %v and body %q", call.header, call.body)
				}
			}
		})
	}
}

// What stands behind the directive may change the request. The ticket is read as the call came, through all of it again.
func TestTicketIsReadThroughTheRestOfTheRoute(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	route := `handle_path /prod/* {
		request_header -X-Internal
		request_header +X-Added 1
		reverse_proxy UPSTREAM
	}
	respond 404
`
	p := site(t, up, config{
		caddyfile: strings.Replace(standardCaddyfile, "reverse_proxy UPSTREAM\n", route, 1),
		handler:   "source instance\nprefix /prod\nauthorize off\nproject acme",
	})
	p.must(http.StatusCreated, "POST", "/prod/webhooks/app", instanceRegistration(rc.url("/"), p.newSecret(), instanceEvents...))
	for _, c := range []struct {
		call instanceCall
		want string
	}{
		{
			instanceCall{method: "PUT", path: "/prod/v1/tickets/5", status: 200, request: `{"queue":2}`, response: `{}`, ticket: `{"id":5,"queue":1}`},
			`"previous_queue":1,"new_queue":2`,
		},
		{
			instanceCall{method: "POST", path: "/prod/v1/tickets/5/replies", status: 200, request: `{"type":"answer"}`, response: `{"id":1}`, ticket: `{"id":5,"queue":{"id":1,"name":"q"}}`},
			`"queue":{"id":1,"name":"q"}`,
		},
	} {
		before := len(up.seen())
		up.answer(c.call.script)
		p.must(200, c.call.method, c.call.path, c.call.request, "X-Internal", "1")
		if got := rc.next(); !strings.Contains(got.body, c.want) {
			t.Errorf("%s is not in %s", c.want, got.body)
		}
		calls := up.since(before)
		if len(calls) != 2 {
			t.Errorf("the API got %q", exchanges(calls))
		}
		for _, call := range calls {
			if got := call.header["X-Added"]; len(got) != 1 || call.header.Get("X-Internal") != "" || strings.HasPrefix(call.uri, "/prod") {
				t.Errorf("%s %s came with %v", call.method, call.uri, call.header)
			}
		}
	}
}

const readFailures = "benti_webhooks_before_read_failures_total"

// A read that fails stops neither the call nor its events, and is counted.
func TestTicketThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const limit = 2048
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: fmt.Sprintf("source instance\nbody_limit %d", limit), global: "metrics"})
	p.registerInstance(rc.url("/"), instanceEvents...)
	counted := make(map[string]float64)
	long := strings.Repeat("x", 2*limit)
	answers := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		name, reason string
		read         http.HandlerFunc
		previous     string // of the queue, and the classification
	}{
		{"404", "status", answers(404, `{"id":5,"queue":1}`), `null null`},
		{"redirect", "status", answers(302, ``), `null null`},
		{"500", "status", answers(500, ``), `null null`},
		{"error object", "error_object", answers(200, `{"errors":[{"code":1}]}`), `null null`},
		{"empty", "no_ticket", answers(204, ``), `null null`},
		{"a page", "no_ticket", answers(200, `<html>`), `null null`},
		{"a list", "no_ticket", answers(200, `{"data":[]}`), `null null`},
		{"broken JSON", "invalid", answers(200, `{"id":5,"queue":1`), `null null`},
		{"too deep", "invalid", answers(200, `{"id":5,"x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`}`), `null null`},
		{"unknown encoding", "undecodable", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "none")
			io.WriteString(w, `{"id":5,"queue":1}`)
		}, `null null`},
		{"too long", "too_long", answers(200, `{"id":5,"text":"`+long+`","queue":1,"classification":3}`), `null null`},
		{"too long to see all", "too_long", answers(200, `{"id":5,"queue":1,"text":"`+long+`","classification":3}`), `1 null`},
		{"too long when decoded", "too_long", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, gzipped(`{"id":5,"text":"`+strings.Repeat("x", 1<<20)+`","queue":1}`))
		}, `null null`},
		{"broken off", "upstream", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"id":5,`)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, `null null`},
		{"no answer at all", "upstream", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, `null null`},
		{"no answer in time", "timeout", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, `null null`},
		{"no whole answer in time", "timeout", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"id":5,`)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, `null null`},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(up.seen())
			up.answer(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					c.read(w, r)
					return
				}
				w.Header().Set("X-Api", "1")
				io.WriteString(w, `{"id":5}`)
			})
			start := time.Now()
			got := p.must(200, "PUT", "/v1/tickets/5", `{"status":3,"queue":2,"classification":4}`)
			took := time.Since(start)
			if got.body != `{"id":5}` || got.header.Get("X-Api") != "1" {
				t.Errorf("the client got %q, %v", got.body, got.header)
			}
			if isSlow := c.reason == "timeout"; isSlow && took < 2*time.Second || took > 2*time.Second+patience/4 {
				t.Errorf("the call took %v", took)
			}
			queue, classification, _ := strings.Cut(c.previous, " ")
			var all string
			for n := 0; n < 3; {
				got := rc.next()
				n += len(got.events(t))
				all += got.body
			}
			for _, want := range []string{`"status":3`, `"previous_queue":` + queue + `,"new_queue":2`, `"previous_classification":` + classification + `,"new_classification":"4"`} {
				if !strings.Contains(all, want) {
					t.Errorf("%s is not in %s", want, all)
				}
			}
			calls := exchanges(up.since(before))
			if c.name == "no answer at all" { // the proxy may try a read again that a kept connection broke under
				calls = slices.Compact(calls)
			}
			if !slices.Equal(calls, []string{"GET /v1/tickets/5", "PUT /v1/tickets/5"}) {
				t.Errorf("the API got %q", calls)
			}
			counted[c.reason]++
			if got := p.metric(readFailures + `{reason="` + c.reason + `"}`); got != counted[c.reason] {
				t.Errorf("%v failures are counted", got)
			}

			// With an answer there is the same, only later.
			rc.none()
			p.must(200, "POST", "/v1/tickets/5/replies", `{"type":"answer","text":"x"}`)
			want := `"resource_data":{"creator":{"name":null,"identifier":null},"queue":{"id":` + queue + `,`
			if got := rc.next(); !strings.Contains(got.body, want) {
				t.Errorf("%s is not in %s", want, got.body)
			}
			counted[c.reason]++
			if got := p.metric(readFailures + `{reason="` + c.reason + `"}`); got != counted[c.reason] {
				t.Errorf("%v failures are counted", got)
			}
		})
	}
}

// A client that hangs up during the read has made its call all the same, as without us.
func TestClientThatHangsUpDuringTheReadHasMadeItsCall(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance"})
	p.registerInstance(rc.url("/"), "change-queue")
	reading, gone := make(chan struct{}), make(chan struct{})
	up.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			close(reading)
			<-gone
			io.WriteString(w, `{"id":5,"queue":1}`)
			return
		}
		io.WriteString(w, `{"id":5}`)
	})
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		<-reading
		hangUp()
	}()
	if _, err := p.do(ctx, "PUT", "/v1/tickets/5", `{"queue":2}`); err == nil {
		t.Error("the client did not hang up")
	}
	close(gone)
	if got := rc.next(); !strings.Contains(got.body, `"previous_queue":1,"new_queue":2`) {
		t.Errorf("got %s", got.body)
	}
}

// A proxy that is its own upstream, by way of another site, reads no ticket for the reading of one.
func TestReadingATicketIsNoCallToReadOneFor(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	inner := freePort(t)
	text := strings.Replace(standardCaddyfile, "reverse_proxy UPSTREAM\n}\n", fmt.Sprintf(`reverse_proxy 127.0.0.1:%d
}
http://:%d {
	benti_webhooks {
		source instance
	}
	reverse_proxy UPSTREAM
}
`, inner, inner), 1)
	p := site(t, up, config{caddyfile: text, handler: "source instance"})
	p.registerInstance(rc.url("/"), "change-queue")
	before := len(up.seen())
	call := instanceCall{method: "PUT", path: "/v1/tickets/5", status: 200, request: `{"queue":2}`, response: `{}`, ticket: `{"id":5,"queue":1}`}
	call.make(p)
	// Both sites are watched, and each reads the ticket once.
	want := []string{"GET /v1/tickets/5", "GET /v1/tickets/5", "PUT /v1/tickets/5"}
	if got := exchanges(up.since(before)); !slices.Equal(got, want) {
		t.Errorf("the API got %q, want %q", got, want)
	}
	for n := 0; n < 2; {
		n += len(rc.next().events(t))
	}
	rc.none()
}
