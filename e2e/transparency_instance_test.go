package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// readsBeside are the calls of an instance's pages and how often their ticket is read for a webhook's sake.
var readsBeside = []struct {
	method, path, body string
	status             int
	reads              int
	event              bool
}{
	{"PUT", "/v1/tickets/5", `{"queue":2,"title":"<b>\u00fc</b>"}`, 200, 1, true},
	{"PUT", "/v1/tickets/5", `{"queue":2}`, 204, 1, true},
	{"PUT", "/v1/tickets/5?notify=1", `{"queue":2}`, 404, 1, false},
	{"PUT", "/v1/tickets/5", `{"queue":1}`, 200, 1, false}, // it is there already
	{"POST", "/v1/tickets/5/replies", `{"type":"answer","text":"x"}`, 201, 1, true},
	{"POST", "/v1/tickets/5/replies", `{"type":"answer","text":"x"}`, 500, 0, false},
	{"POST", "/v1/tickets/5/replies", `{"type":"reply","text":"x"}`, 201, 0, true},
	{"POST", "/v1/tickets", `{"title":"x"}`, 201, 0, true},
	{"GET", "/v1/tickets/5", ``, 200, 0, false},
	{"POST", "/v1/other", `{}`, 200, 0, false},
}

// The API sees one GET more, where an event needs the ticket, and otherwise the same bytes; the client sees no difference.
func TestInstanceSiteIsTheSameButForOneRead(t *testing.T) {
	t.Parallel()
	tw := newTwin(t)
	events := 0
	tw.must(http.StatusCreated, "POST", "/instance/v1/webhooks/app", instanceRegistration(tw.rc.url("/instance"), tw.newSecret(), instanceEvents...))
	for _, protocol := range protocols {
		clients := make(clientsOf)
		for _, c := range readsBeside {
			for _, sending := range sendings[1:] {
				if protocol == "1.0" && sending != "length" {
					continue
				}
				x := &exchange{
					id: fmt.Sprint(tw.nextID()), protocol: protocol, method: c.method, path: "/instance" + c.path, sending: sending, body: c.body,
					fields: [][2]string{{"Content-Type", "application/json"}, {"Accept-Encoding", "gzip"}, {"Cookie", "a=b"}, {"If-Match", `"etag"`}, {"X-Twice", "1"}, {"X-Twice", "2"}},
				}
				if c.body == "" {
					x.sending = "none"
				}
				a := apiAnswer{status: c.status, fields: asJSON + "Date: x\r\nETag: \"new\"\r\n", body: `{"id":5}`, bodyless: c.status == http.StatusNoContent}
				text := a.withLength()
				if sending == "chunked" {
					text = a.inChunks("Trailer: X-Sum\r\n", "X-Sum: 42\r\n", a.body)
				}
				plain, ours := tw.withoutReads(clients, x, text, c.reads)
				tw.check(t, fmt.Sprintf("%s HTTP/%s %s %s: %d %s", x.id, protocol, c.method, c.path, c.status, sending), plain, ours)
				if c.event {
					events++
				}
			}
		}
		clients.close()
	}
	eventually(t, "all events to be made", func() bool { return tw.events() >= events })
	if n := tw.events(); n != events {
		t.Errorf("%d deliveries were made, want %d", n, events)
	}
	t.Logf("%d exchanges compared, of which %d made events", tw.cases.Load(), events)
}

// withoutReads makes the exchange without us and with us, and takes out of what the API saw so many reads of the ticket.
func (tw *twin) withoutReads(clients clientsOf, x *exchange, answer string, reads int) (plain, ours outcome) {
	script := func(c *apiConn) {
		c.readRequest()
		if x.method != "GET" && strings.HasPrefix(c.request.head, "GET /instance/v1/tickets/5 ") {
			c.send(ok(200, asJSON+"Set-Cookie: read=1\r\n", `{"id":5,"queue":1}`))
			return
		}
		c.send(answer)
	}
	for site, o := range []*outcome{without: &plain, with: &ours} {
		seen := tw.api.expect(x.id, script)
		o.client = clients.get(tw.sites[site], x.protocol).exchange(x)
		left := 1
		if site == with {
			left += reads
		}
		taken := 0
		for range left {
			request := seen.next()
			if site == with && taken < reads && strings.HasPrefix(request, "GET ") {
				taken++
				continue
			}
			o.api += request
		}
		o.api += fmt.Sprint(seen.rest())
		tw.api.forget(x.id)
	}
	return plain, ours
}
