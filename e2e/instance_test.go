package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var instanceEvents = []string{
	"answer", "create-ticket", "create-subticket", "close-ticket", "classify-ticket", "change-queue", "reply-ticket",
}

// instanceCall is a call of the instance's pages, what the API answers, and the ticket that it shows when it is read.
type instanceCall struct {
	method, path, contentType, request string
	status                             int
	response, ticket                   string
}

// script answers reads of tickets with the call's, and everything else as the API answers the call.
func (c *instanceCall) script(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		io.WriteString(w, c.ticket)
		return
	}
	w.WriteHeader(c.status)
	io.WriteString(w, c.response)
}

// make has the call made, which must be answered as the API does.
func (c *instanceCall) make(p *proxy) {
	p.t.Helper()
	p.upstream.answer(c.script)
	header := []string{}
	if c.contentType != "" {
		header = []string{"Content-Type", c.contentType}
	}
	if got := p.must(c.status, c.method, c.path, c.request, header...); got.body != c.response {
		p.t.Errorf("%s %s: the client got %s", c.method, c.path, got.body)
	}
}

const form = "application/x-www-form-urlencoded"

// sampleCalls make the events of the vendor's samples.
var sampleCalls = []struct {
	event string
	instanceCall
}{
	{"answer", instanceCall{
		method: "POST", path: "/v1/tickets/110063/replies", status: 201,
		request: `{"type":"answer","message":{"content":"text"},"to":[{"email":"email@email.com","name":"name"}],"cc":[],
			"from":{"name":"name","email":"email@email.com"}}`,
		response: `{"data":[{"id":7,"attachments":[{"id":123,"url":"image_url","name":"Image name.png","type":"image/png"}]}]}`,
		ticket: `{"data":{"id":110063,"creator":{"id":5,"name":"name","email":"email@email.com"},
			"queue":{"id":1,"name":"queue_name"},"source":{"id":"1","name":"source_name"}}}`,
	}},
	{"answer", instanceCall{
		method: "POST", path: "/tickets/110063/replies/", status: 200, contentType: form,
		request: "is_agent=1&text=text&to=name+%3Cemail%40email.com%3E&user[name]=name&user[email]=email%40email.com" +
			"&attachments[0][id]=123&attachments[0][url]=image_url&attachments[0][name]=Image+name.png&attachments[0][type]=image%2Fpng",
		response: `{"id":7}`,
		ticket:   `{"id":110063,"creator":{"name":"name","identifier":"email@email.com"},"queue_id":"1","queue_name":"queue_name","source_id":1,"source_name":"source_name"}`,
	}},
	{"create-ticket", instanceCall{method: "POST", path: "/v1/tickets", status: 201, request: `{"title":"x"}`, response: `{"id":110063}`}},
	{"create-subticket", instanceCall{method: "POST", path: "/v1/tickets/110063/subtickets", status: 201, request: `{}`, response: `{"data":[{"id":"110064"}]}`}},
	{"change-queue", instanceCall{method: "PUT", path: "/v1/tickets/110063", status: 200, request: `{"queue_id":"2"}`, response: `{}`, ticket: `{"id":110063,"queue":{"id":1}}`}},
	{"change-queue", instanceCall{method: "PUT", path: "/v1/tickets/110063", status: 204, contentType: form, request: `queue=2`, ticket: `{"data":[{"id":110063,"queue_id":1}]}`}},
	{"classify-ticket", instanceCall{
		method: "PUT", path: "/v1/tickets/110063", status: 200, request: `{"classification_ids":[3,6,10,32]}`, response: `{}`,
		ticket: `{"id":110063,"classification_ids":[]}`,
	}},
	{"classify-ticket", instanceCall{
		method: "PUT", path: "/v9/tickets/110063", status: 200, contentType: form, response: `{}`,
		request: `classification_ids[]=3&classification_ids[]=6&classification_ids[]=10&classification_ids[]=32`,
		ticket:  `{"id":110063,"classification":""}`,
	}},
	{"reply-ticket", instanceCall{
		method: "POST", path: "/v1/tickets/110063/replies", status: 201,
		request: `{"type":"reply","content":"\tHTML text\n<\/p>",
			"from":{"id":15789,"name":"Agent\u00a0Name","address":"username@example.com","external_id":null},
			"attachments":[{"id":641,"url":"image_url","name":"Image name.png","type":"image\/png"}]}`,
		response: `{"id":7}`,
	}},
	{"close-ticket", instanceCall{method: "PUT", path: "/v1/tickets/110063", status: 200, request: `{"status":3}`, response: `{"id":110063}`, ticket: `{"id":110063,"status":{"id":1}}`}},
	{"close-ticket", instanceCall{method: "PUT", path: "/v1/tickets/110063", status: 200, contentType: form, request: `status=3`, response: `{"id":110063}`, ticket: `{"id":110063,"status":"2"}`}},
}

// tokens are the tokens of a JSON text in their order, which is that of its keys.
func tokens(t *testing.T, text string) (list []json.Token) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		list = append(list, token)
	}
}

// The vendor's samples, made of calls through the proxy: same keys in the same order, same types, same nulls.
func TestEachSampleOfTheVendorIsMadeOfACall(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance\nproject project_name"})
	w := p.registerInstance(rc.url("/app"), instanceEvents...)
	seen := make(map[string]bool) // ids
	for _, c := range sampleCalls {
		from := time.Now()
		c.make(p)
		got := rc.next()
		to := time.Now()
		got.check(t, w.secret)
		var list struct {
			Events []struct {
				ID        string
				CreatedAt string `json:"created_at"`
			}
		}
		if err := json.Unmarshal([]byte(got.body), &list); err != nil || len(list.Events) != 1 {
			t.Fatalf("%s: got %v: %s", c.event, err, got.body)
		}
		event := list.Events[0]
		if id, err := base64.StdEncoding.DecodeString(event.ID); err != nil || len(id) != 16 || seen[event.ID] {
			t.Errorf("%s: id %q", c.event, event.ID)
		}
		seen[event.ID] = true
		const layout = "20060102150405"
		if at := event.CreatedAt; at < from.UTC().Format(layout) || at > to.UTC().Format(layout) {
			t.Errorf("%s: created_at %q", c.event, at)
		}
		want := tokens(t, sample(t, c.event))
		want[slices.Index(want, json.Token("id"))+1] = event.ID
		want[slices.Index(want, json.Token("created_at"))+1] = event.CreatedAt
		if tokens := tokens(t, got.body); !slices.Equal(tokens, want) {
			t.Errorf("%s of %s %s: got\n%s, want\n%v", c.event, c.method, c.path, got.body, want)
		}
	}
	rc.none()
}

// sample is one of the vendor's page. A reply of an agent is an answer, so that what it says of the author of a
// reply-ticket cannot be; and one of its tickets is another project's.
func sample(t *testing.T, event string) string {
	t.Helper()
	text, err := os.ReadFile("../matcher/testdata/instance/" + event + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(`"is_agent": true`, `"is_agent": false`, "instance_name", "project_name").Replace(string(text))
}

// What a reply says arrives as it was, however the call was written.
func TestContentOfRepliesArrivesAsItWas(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance"})
	p.registerInstance(rc.url("/"), "answer", "reply-ticket")
	for _, content := range []string{
		"<p class=\"a\">1 < 2 &amp; 3 > 2</p>\r\n\t<script>alert('\\\\')</script>",
		"é ü \u00a0 \u2028\u2029 日本語 😀 e\u0301 \ufeff",
		`\u003cb\u003e \n is no line end, nor is \\n`, "\"", "/", "\x00\x01\x1f\x7f", "{\"events\":[{}]}", strings.Repeat("<i>é</i>", 10_000),
	} {
		escaped, err := json.Marshal(content) // < and > too
		if err != nil {
			t.Fatal(err)
		}
		var plain strings.Builder
		encoder := json.NewEncoder(&plain)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(content); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"answer", "reply"} {
			for name, c := range map[string]instanceCall{
				"escaped":   {request: fmt.Sprintf(`{"type":%q,"message":{"content":%s}}`, kind, escaped)},
				"plain":     {request: fmt.Sprintf(`{"type":%q,"content":%s}`, kind, plain.String())},
				"form":      {request: url.Values{"type": {kind}, "text": {content}}.Encode(), contentType: form},
				"multipart": {request: multipartForm("type", kind, "message", content), contentType: "multipart/form-data; boundary=B"},
			} {
				c.method, c.path, c.status, c.response, c.ticket = "POST", "/v1/tickets/5/replies", 201, `{"id":7}`, `{"id":5}`
				c.make(p)
				var got struct {
					Events []struct {
						Body struct{ Message struct{ Content *string } }
						Data struct{ Text *string } `json:"action_data"`
					}
				}
				body := rc.next().body
				if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Events) != 1 {
					t.Fatalf("%v: %s", err, body)
				}
				arrived := got.Events[0].Body.Message.Content
				if kind == "answer" {
					arrived = got.Events[0].Data.Text
				}
				if arrived == nil || *arrived != content {
					t.Errorf("%s %s of %.50q: got %.200s", name, kind, content, body)
				}
				if calls := up.seen(); kind == "reply" && string(calls[len(calls)-1].body) != c.request {
					t.Errorf("%s of %.50q: the API got %.200s", name, content, calls[len(calls)-1].body)
				}
			}
		}
	}
}

// multipartForm is a body of fields, names and values in turn, with the boundary B.
func multipartForm(fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "--B\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", fields[i], fields[i+1])
	}
	return b.String() + "--B--\r\n"
}

func TestAttachmentsOfReplies(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance"})
	p.registerInstance(rc.url("/"), "reply-ticket")
	var many, wantMany []string
	for n := range 50 {
		many = append(many, fmt.Sprintf(`{"id":%d,"url":"/m/%d","name":"%d \"é\".png","type":"image\/png","size":9}`, n, n, n))
		wantMany = append(wantMany, fmt.Sprintf(`{"id":"%d","url":"/m/%d","name":"%d \"é\".png","type":"image/png"}`, n, n, n))
	}
	for _, c := range []struct{ request, response, want string }{
		{`{"text":"x"}`, `{"id":7}`, `[]`},
		{`{"text":"x","attachments":null}`, `{"id":7,"attachments":[]}`, `[]`},
		{`{"text":"x","attachments":[{"name":"a"}]}`, `{"id":7}`, `[{"id":null,"url":null,"name":"a","type":null}]`},
		{`{"text":"x","media":5}`, `{"id":7}`, `[{"id":"5","url":null,"name":null,"type":null}]`},
		{`{"text":"x","attachments":[{"name":"a"}]}`, `{"data":{"id":7,"files":[{"uuid":"u-1","filename":"b","mime_type":"text/plain"}]}}`, `[{"id":"u-1","url":null,"name":"b","type":"text/plain"}]`},
		{`{"text":"x"}`, `{"id":7,"attachments":[` + strings.Join(many, ",") + `]}`, `[` + strings.Join(wantMany, ",") + `]`},
	} {
		call := instanceCall{method: "POST", path: "/v1/tickets/5/replies", status: 200, request: c.request, response: c.response}
		call.make(p)
		if body := rc.next().body; !strings.HasSuffix(body, `"attachments":`+c.want+`}}}]}`) {
			t.Errorf("%s, %s: got %s, want %s", c.request, c.response, body, c.want)
		}
	}
}

// One PUT, three events, and only those that a webhook wants, each webhook for itself.
func TestOneCallMakesSeveralEvents(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance\nproject acme"})
	p.registerInstance(rc.url("/all"), instanceEvents...)
	p.registerInstance(rc.url("/two"), "change-queue", "close-ticket", "answer")
	p.registerInstance(rc.url("/none"), "create-ticket")
	call := instanceCall{
		method: "PUT", path: "/v1/tickets/9", status: 200, request: `{"status":3,"queue":2,"classification":"4"}`, response: `{}`,
		ticket: `{"id":9,"status":1,"queue":1,"classification":"3"}`,
	}
	call.make(p)
	want := []string{
		`/all "action":"change-queue" "body":{"ticket_id":"ACME-00000009","previous_queue":1,"new_queue":2}`,
		`/all "action":"classify-ticket" "body":{"ticket_id":"ACME-00000009","previous_classification":"3","new_classification":"4"}`,
		`/all "action":"close-ticket" "body":{"ticket_id":"ACME-00000009","status":3}`,
		`/two "action":"change-queue" "body":{"ticket_id":"ACME-00000009","previous_queue":1,"new_queue":2}`,
		`/two "action":"close-ticket" "body":{"ticket_id":"ACME-00000009","status":3}`,
	}
	var got []string
	ids := make(map[string]string)
	for len(got) < len(want) {
		for _, e := range rc.next().events(t) {
			name, _, _ := strings.Cut(e.raw, `,"created_at"`)
			got = append(got, e.path+" "+name[strings.Index(name, `"action"`):]+" "+strings.TrimSuffix(e.raw[strings.Index(e.raw, `"body"`):], "}"))
			if id := ids[e.Action]; id != "" && id != e.ID {
				t.Errorf("%s has one id for one webhook, and another for another", e.Action)
			}
			ids[e.Action] = e.ID
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || len(ids) != 3 {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The same again changes nothing.
	call.ticket = `{"id":9,"status":3,"queue":2,"classification":"4"}`
	call.make(p)
	last := instanceCall{method: "POST", path: "/v1/tickets", status: 201, request: `{}`, response: `{"id":1}`}
	last.make(p)
	for range 2 {
		if got := rc.next(); !strings.Contains(got.body, "create-ticket") {
			t.Errorf("got %s", got.body)
		}
	}
}

// instanceEvent is one of a list that a receiver got.
type instanceEvent struct {
	ID, Action string
	Body       struct {
		Ticket string `json:"ticket_id"`
	}

	path, raw string
}

// events are those of a list.
func (p *post) events(t *testing.T) []instanceEvent {
	t.Helper()
	var list struct{ Events []json.RawMessage }
	if err := json.Unmarshal([]byte(p.body), &list); err != nil {
		t.Fatalf("%v: %s", err, p.body)
	}
	events := make([]instanceEvent, len(list.Events))
	for i, raw := range list.Events {
		if err := json.Unmarshal(raw, &events[i]); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		events[i].path, events[i].raw = p.path, string(raw)
	}
	return events
}

// A site whose fields have other names says so.
func TestFieldsOfASiteHaveItsNames(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{
		site: "basic_auth {\n jo " + correctHash + "\n}",
		handler: `source instance
			project acme
			prefix /api
			authorize off
			field ticket.id result.number {benti.request.number}
			field ticket.status state.code state
			field ticket.queue.id desk.no desk
			field ticket.classification tags.#.no
			field reply.type kind
			field reply.author {http.auth.user.id}
			field reply.text html
			field attachment.url href
			field ticket.creator owner
			field person.name full_name`,
	})
	credentials := "Basic " + base64.StdEncoding.EncodeToString([]byte("jo:correct"))
	p.must(http.StatusCreated, "POST", "/api/v1/webhooks/app", instanceRegistration(rc.url("/"), p.newSecret(), instanceEvents...), "Authorization", credentials)
	for _, c := range []struct {
		call instanceCall
		want []string // parts of the payloads
	}{
		{instanceCall{method: "POST", path: "/api/v1/tickets", request: `{"number":8}`, response: `{"id":1,"result":{"number":7}}`}, []string{`"ticket_id":"ACME-00000007"`}},
		{instanceCall{method: "POST", path: "/api/v1/tickets", request: `{"number":8}`, response: `{"id":1}`}, []string{`"ticket_id":"ACME-00000008"`}},
		{
			instanceCall{
				method: "PUT", path: "/api/v1/tickets/5", request: `{"state":3,"status":1,"desk":{"no":"d-2"},"queue":1,"tags":[{"no":3},{"no":4}]}`,
				response: `{}`, ticket: `{"id":5,"state":{"code":1},"status":3,"desk":"d-1","queue":9,"tags":[{"no":3}]}`,
			},
			[]string{`"status":3`, `"previous_classification":"3","new_classification":"3,4"`, `"previous_queue":"d-1","new_queue":"d-2"`},
		},
		{
			instanceCall{
				method: "POST", path: "/api/v1/tickets/5/replies", request: `{"kind":"answer","type":"reply","html":"<b>","text":"no","files":[{"id":1,"href":"u"}]}`,
				response: `{"id":1}`, ticket: `{"id":5,"owner":{"full_name":"N","name":"no","email":"n@x"}}`,
			},
			[]string{`"text":"<b>"`},
		},
		{
			instanceCall{method: "POST", path: "/api/v1/tickets/5/replies", request: `{"kind":"reply","type":"answer","html":"<b>","from":{"id":3}}`, response: `{"id":1}`},
			[]string{`"content":"<b>","from":{"id":"jo","name":null,`},
		},
	} {
		up.answer(func(w http.ResponseWriter, r *http.Request) {
			c.call.status = http.StatusOK
			c.call.script(w, r)
		})
		p.must(http.StatusOK, c.call.method, c.call.path, c.call.request, "Authorization", credentials)
		var got string
		for n := 0; n < len(c.want); {
			for _, e := range rc.next().events(t) {
				got += e.raw
				n++
			}
		}
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s is not in %s", c.call.request, want, got)
			}
		}
		if strings.Contains(c.call.request, `"kind":"answer"`) {
			for _, want := range []string{`"creator":{"name":"N","identifier":"n@x"}`, `"attachments":[{"id":"1","url":"u",`} {
				if !strings.Contains(got, want) {
					t.Errorf("%s is not in %s", want, got)
				}
			}
		}
	}
	rc.none()
}
