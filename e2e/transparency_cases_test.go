package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// oddCase is an exchange that the matrix does not have.
type oddCase struct {
	name         string
	method, path string
	fields       [][2]string
	sending      string // length unless given
	body         string // a ticket unless given
	script       apiScript
	requests     int  // that the API sees
	events       bool // whether one comes of it
	only         string
}

const fire = `{"title":"Printer on fire"}`

// ok frames an answer with a length.
func ok(status int, fields, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d Fine\r\nDate: Thu, 18 Aug 2022 15:07:05 GMT\r\n%sContent-Length: %d\r\n\r\n%s", status, fields, len(body), body)
}

const asJSON = "Content-Type: application/json\r\n"

// idMark stands for the id of the case in answers, and is as long.
const idMark = "7777777"

// created is the usual answer to a ticket, of the given length at least.
func created(length int) string {
	const start, end = `{"id":` + idMark + `,"title":"`, `"}`
	fill := max(length-len(start)-len(end), 0)
	return start + strings.Repeat("Printer on fire. ", fill/17+1)[:fill] + end
}

func answered(text string) apiScript { return respond(text, false) }

// brokenOff is a script that ends the connection in the middle of an answer.
func brokenOff(text string) apiScript { return respond(text, true) }

func oddCases() []oddCase {
	cases := []oddCase{
		{name: "path stripped in front of us", path: "/stripped/v1/tickets", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "path rewritten in front of us", path: "/old/tickets?a=b", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "method and path rewritten behind us", path: "/rewritten/v1/tickets?a=b", script: answered(ok(201, asJSON+"X-Legacy: 1\r\n", created(60))), requests: 1, events: true},
		{name: "body read by a matcher behind us", path: "/inspected/v1/tickets", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "body of no length read by a matcher behind us", path: "/inspected/v1/tickets", sending: "chunked", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "answered by a matcher behind us", path: "/inspected/v1/tickets", body: `{"title":"forbidden"}`},
		{name: "answer turned into another behind us", path: "/caught/v1/tickets", script: answered(ok(404, asJSON, `{"errors":[{"code":404}]}`)), requests: 1},
		{name: "answer not turned into another behind us", path: "/caught/v1/tickets", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "allowed by forward_auth", path: "/guarded/v1/tickets", fields: [][2]string{{"X-Auth", "yes"}}, script: guarded, requests: 2, events: true},
		{name: "denied by forward_auth", path: "/guarded/v1/tickets", fields: [][2]string{{"X-Auth", "no"}}, script: guarded, requests: 1},
		{name: "allowed by basic_auth", path: "/password/v1/tickets", fields: [][2]string{{"Authorization", "Basic YW5uOnNlY3JldA=="}}, script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "denied by basic_auth", path: "/password/v1/tickets", fields: [][2]string{{"Authorization", "Basic YW5uOndyb25n"}}},
		{name: "unknown to basic_auth", path: "/password/v1/tickets"},
		{name: "API is down", path: "/down/v1/tickets"},
		{name: "API is down, handled", path: "/handled/down/v1/tickets"},
		{name: "API is down, another answers in handle_errors", path: "/fallback/v1/tickets", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "API hangs up, handled", path: "/handled/v1/tickets", script: brokenOff(""), requests: 1},
		{name: "API fails, not handled", path: "/handled/v1/tickets", script: answered(ok(500, asJSON, `{}`)), requests: 1},
		{name: "body is within max_size", path: "/limited/v1/tickets", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "body is over max_size", path: "/limited/v1/tickets", body: created(1001), script: answered(ok(201, asJSON, created(60))), only: "1.1 2"},
		{name: "no such path", path: "/nowhere", script: answered(ok(404, asJSON, `{}`)), requests: 1},
		{name: "said twice who calls", path: "/v1/tickets", fields: [][2]string{{"x-inbenta-key", "a"}, {"X-Inbenta-Key", "b"}}, script: answered(ok(201, asJSON, created(60))), requests: 1},
		{name: "odd request header", path: "/v1/tickets", fields: [][2]string{{"X-Empty", ""}, {"x_under_score", "1"}, {"X-Utf8", "Ümlaut"}, {"X-Long", strings.Repeat("long ", 2000)}, {"TE", "trailers"}, {"X-Forwarded-For", "1.2.3.4"}, {"Via", "1.0 fred"}, {"Cookie", "a=1"}, {"cookie", "b=2"}}, script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "hop-by-hop request header", path: "/v1/tickets", fields: [][2]string{{"Connection", "X-Hop"}, {"X-Hop", "1"}, {"Keep-Alive", "timeout=5"}, {"Proxy-Authorization", "x"}}, only: "1.1", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "client ends the connection", path: "/v1/tickets", fields: [][2]string{{"Connection", "close"}}, only: "1.1", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "client keeps an old connection", path: "/v1/tickets", fields: [][2]string{{"Connection", "keep-alive"}}, only: "1.0", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "absolute form", path: "http://api.test/v1/tickets", only: "1.1", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "trailing slash", path: "/v1/tickets/", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "doubled slash", path: "//v1//tickets", script: answered(ok(201, asJSON, created(60))), requests: 1},
		{name: "encoded path", path: "/v1/tickets/a%2Fb%20c/replies?q=%2F;x", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "lower case method", method: "post", path: "/v1/tickets", script: answered(ok(201, asJSON, created(60))), requests: 1},
		{name: "asterisk", method: "OPTIONS", path: "*", sending: "none", only: "1.1"},
		{name: "empty body with a length", path: "/v1/tickets", body: " ", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "no body", path: "/v1/tickets", sending: "none", script: answered(ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "nothing tells the type of the answer", path: "/v1/tickets", script: answered(ok(201, "", "<html><body>")), requests: 1},
		{name: "odd answer header", path: "/v1/tickets", script: answered(ok(201, asJSON+"X-Empty:\r\nX-Utf8: Ümlaut\r\nX-Spaces:   a  b  \r\nx_under: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nSET-COOKIE: a=3\r\nVia: 1.0 fred\r\nServer: legacy\r\nX-Long: "+strings.Repeat("long ", 2000)+"\r\n", created(60))), requests: 1, events: true},
		{name: "hop-by-hop answer header", path: "/v1/tickets", script: brokenOff(ok(201, asJSON+"Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n", created(60))), requests: 1, events: true},
		{name: "several types", path: "/v1/tickets", script: answered(ok(201, asJSON+"Content-Type: text/plain\r\n", created(60))), requests: 1, events: true},
		{name: "id in Location only", path: "/v1/tickets", script: answered(ok(201, "Location: /v1/tickets/"+idMark+"\r\n", "")), requests: 1, events: true},
		{name: "error with a good status", path: "/v1/tickets", script: answered(ok(200, asJSON, `{"error":{"code":1}}`)), requests: 1},
		{name: "many hints", path: "/v1/tickets", script: answered(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: </b>\r\n\r\n", 4) + ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "processing", path: "/v1/tickets", script: answered("HTTP/1.1 102 Processing\r\nX-Left: 5\r\n\r\n" + ok(201, asJSON, created(60))), requests: 1, events: true},
		{name: "several trailers", path: "/v1/tickets", script: answered("HTTP/1.1 201 Created\r\n" + asJSON + "Date: x\r\nTrailer: X-B\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked("X-A: 1\r\nX-B: 2\r\nX-B: 3\r\n", created(60))), requests: 1, events: true},
		{name: "event stream", path: "/v1/tickets", script: answered("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nLocation: /v1/tickets/" + idMark + "\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked("", "data: 1\n\n", "data: 2\n\n")), requests: 1, events: true},
		{name: "incremental", path: "/v1/tickets", script: answered("HTTP/1.1 200 OK\r\nIncremental: ?1\r\nContent-Type: text/plain\r\nLocation: /v1/tickets/" + idMark + "\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked("", "one", "two")), requests: 1, events: true},
	}
	for _, status := range []int{203, 205, 206, 207, 226, 299, 300, 418, 599, 600, 999} {
		fields, body := asJSON, created(60)
		if status == 205 {
			fields += "Location: /v1/tickets/" + idMark + "\r\n"
		}
		cases = append(cases, oddCase{name: fmt.Sprint("status ", status), path: "/v1/tickets", script: answered(ok(status, fields, body)), requests: 1, events: status < 300})
	}
	for _, bad := range []struct{ name, text string }{
		{"garbage", "garbage\r\n\r\n"},
		{"part of a head", "HTTP/1.1 201 Crea"},
		{"bad field", "HTTP/1.1 201 Created\r\nno colon\r\n\r\n"},
		{"space in a field's name", "HTTP/1.1 201 Created\r\nX Y: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"},
		{"two lengths", "HTTP/1.1 201 Created\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"},
		{"negative length", "HTTP/1.1 201 Created\r\nContent-Length: -1\r\n\r\nab"},
		{"switch that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: Upgrade\r\n\r\n"},
		{"long head", "HTTP/1.1 201 Created\r\nX-Long: " + strings.Repeat("x", 11<<20) + "\r\nContent-Length: 0\r\n\r\n"},
	} {
		for _, path := range []string{"/v1/tickets", "/handled/v1/tickets"} {
			cases = append(cases, oddCase{name: "answer is malformed: " + bad.name, path: path, script: brokenOff(bad.text), requests: 1})
		}
	}
	return slices.Concat(cases, brokenAnswers(), resetAnswers(), answersOfEachLength())
}

// guarded is a script for a request that forward_auth asks about first.
func guarded(c *apiConn) {
	c.readRequest()
	switch {
	case !strings.HasPrefix(c.request.head, "GET /auth "):
		c.send(ok(201, asJSON, created(60)))
	case field(c.request.head, "x-auth") == "yes":
		c.send(ok(200, "X-User: ann\r\n", ""))
	default:
		c.send(ok(401, asJSON+"WWW-Authenticate: Bearer\r\n", `{"error":"who are you"}`))
	}
}

// brokenAnswers end too early, at each stage. The API may have done what it was asked, so an event is made of what was seen.
func brokenAnswers() (cases []oddCase) {
	const head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nDate: x\r\nLocation: /v1/tickets/" + idMark + "\r\n"
	const chunkedHead = head + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
	body := created(60)
	long := created(70_000)
	for _, b := range []struct{ name, text string }{
		{"behind the head", head + "Content-Length: 60\r\n\r\n"},
		{"in the body", head + "Content-Length: 60\r\n\r\n" + body[:20]},
		{"in a long body", head + "Content-Length: 80000\r\n\r\n" + long},
		{"before the first chunk", chunkedHead},
		{"in a chunk's size", chunkedHead + "3"},
		{"in a chunk", chunkedHead + fmt.Sprintf("%x\r\n", len(body)) + body[:20]},
		{"between chunks", chunkedHead + fmt.Sprintf("%x\r\n", 20) + body[:20] + "\r\n"},
		{"before the last chunk", chunkedHead + strings.TrimSuffix(chunked("", body), "0\r\n\r\n")},
		{"in a wrong chunk", chunkedHead + "zz\r\n"},
		{"in the trailers", chunkedHead + strings.TrimSuffix(chunked("", body), "\r\n") + "X-Su"},
	} {
		for _, row := range []struct {
			path   string
			events bool
		}{{"/v1/tickets", true}, {"/async/v1/tickets", true}, {"/v1/users", false}, {"/v1/other", false}} {
			cases = append(cases, oddCase{name: "API breaks off " + b.name + " of " + row.path, path: row.path, script: brokenOff(b.text), requests: 1, events: row.events})
		}
	}
	return cases
}

// resetAnswers end in a reset, at each stage. They are short: what the proxy's kernel has no room for goes with the connection.
func resetAnswers() (cases []oddCase) {
	const head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nDate: x\r\nLocation: /v1/tickets/" + idMark + "\r\n"
	body := created(60)
	for _, r := range []struct {
		name, text string
		started    bool // the answer
	}{
		{"before the answer", "", false},
		{"in the status line", "HTTP/1.1 201 Crea", false},
		{"in the head", head, false},
		{"behind the hints", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", false},
		{"behind the head", head + "Content-Length: 60\r\n\r\n", true},
		{"in the body", head + "Content-Length: 60\r\n\r\n" + body[:20], true},
		{"in a chunk", head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(body)) + body[:20], true},
		{"before the last chunk", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.TrimSuffix(chunked("", body), "0\r\n\r\n"), true},
		{"in a body that ends with the connection", head + "Connection: close\r\n\r\n" + body[:20], true},
	} {
		for _, path := range []string{"/v1/tickets", "/async/v1/tickets", "/handled/v1/tickets", "/handled/v1/other", "/v1/users", "/v1/other"} {
			cases = append(cases, oddCase{
				name: "API resets " + r.name + " of " + path, path: path, requests: 1, events: r.started && strings.HasSuffix(path, "/tickets"),
				script: func(c *apiConn) {
					c.readRequest()
					c.send(r.text)
					c.reset()
				},
			})
		}
	}
	return cases
}

// answersOfEachLength are around the sizes of the buffers on their way, through proxies that are set up in different ways.
func answersOfEachLength() (cases []oddCase) {
	for _, prefix := range []string{"", "/async", "/nolength", "/buffered", "/flushed", "/encoded", "/inside"} {
		for _, length := range []int{0, 40, 511, 512, 513, 2047, 2048, 2049, 4095, 4096, 4097, 10_000, 32_768, 32_769, 200_000} {
			for _, framing := range []string{"length", "chunked"} {
				body, fields := created(length), asJSON+"Location: /v1/tickets/"+idMark+"\r\n"
				if length == 0 {
					body = ""
				}
				text := ok(201, fields, body)
				if framing == "chunked" {
					if length == 0 {
						continue // without us, too, Caddy gives such an answer a length or does not, as it happens
					}
					text = "HTTP/1.1 201 Created\r\nDate: x\r\n" + fields + "Transfer-Encoding: chunked\r\n\r\n" + chunked("", body[:len(body)/2], body[len(body)/2:])
				}
				c := oddCase{
					name: fmt.Sprintf("%d bytes %s through %s", length, framing, prefix), path: prefix + "/v1/tickets", script: answered(text), requests: 1, events: true,
				}
				if prefix == "/encoded" || prefix == "/inside" {
					c.fields = [][2]string{{"Accept-Encoding", "gzip"}}
				}
				cases = append(cases, c)
			}
		}
	}
	return cases
}

func (c *oddCase) exchange(id, protocol string) *exchange {
	x := &exchange{gunzip: len(c.fields) > 0 && c.fields[0][0] == "Accept-Encoding", id: id, protocol: protocol, method: c.method, path: c.path, fields: c.fields, sending: c.sending, body: c.body}
	if x.method == "" {
		x.method = "POST"
	}
	if x.body == "" {
		x.body = fire
	}
	if x.sending == "" {
		x.sending = "length"
		if x.method == "GET" {
			x.sending = "none"
		}
	}
	if protocol == "1.0" && x.sending != "length" {
		x.sending = "none"
	}
	return x
}

// named puts the id of the case into what its script sends.
func named(script apiScript, id string) apiScript {
	return func(c *apiConn) {
		c.named = id
		script(c)
	}
}

func TestOddExchangesAreTheSameWithAndWithoutUs(t *testing.T) {
	t.Parallel()
	tw := newTwin(t)
	start := time.Now()
	type job struct {
		c        *oddCase
		protocol string
	}
	queue := make(chan job)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var want []string
	for range 4 {
		clients := make(clientsOf)
		workers.Go(func() {
			defer clients.close()
			for j := range queue {
				id := fmt.Sprint(tw.nextID())
				outcomes := tw.runOdd(clients, j.c, j.c.exchange(id, j.protocol))
				tw.check(t, id+" HTTP/"+j.protocol+" "+j.c.name, outcomes[without], outcomes[with])
				if j.c.events {
					mu.Lock()
					want = append(want, id)
					mu.Unlock()
				}
			}
		})
	}
	cases := oddCases()
	for i := range cases {
		for _, protocol := range protocols {
			if cases[i].only == "" || strings.Contains(cases[i].only, protocol) {
				queue <- job{&cases[i], protocol}
			}
		}
	}
	close(queue)
	workers.Wait()
	tw.checkEvents(t, want)
	t.Logf("%d exchanges compared, of which %d made events, in %v", tw.cases.Load(), len(want), time.Since(start).Round(time.Millisecond))
}

func (tw *twin) runOdd(clients clientsOf, c *oddCase, x *exchange) (outcomes [2]outcome) {
	var seen *apiCase
	if c.script != nil {
		seen = tw.api.expect(x.id, named(c.script, x.id))
		defer tw.api.forget(x.id)
	}
	for i, site := range tw.sites {
		outcomes[i].client = clients.get(site, x.protocol).exchange(x)
		for range c.requests {
			outcomes[i].api += seen.next()
		}
		if seen != nil {
			outcomes[i].api += fmt.Sprint(seen.rest())
		}
	}
	return outcomes
}
