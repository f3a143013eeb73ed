package matcher

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// vendorEvents are the endpoints of the seven events.
var vendorEvents = map[string]string{
	"answer": "POST /tickets/{ticketId}/replies", "create-ticket": "POST /tickets", "create-subticket": "POST /tickets/{ticketId}/subtickets",
	"close-ticket": "PUT /tickets/{ticketId}", "classify-ticket": "PUT /tickets/{ticketId}", "change-queue": "PUT /tickets/{ticketId}",
	"reply-ticket": "POST /tickets/{ticketId}/replies",
}

func TestRulesAreTheVendorsEvents(t *testing.T) {
	t.Parallel()
	var known []string
	for _, f := range Fields() {
		known = append(known, f.Name)
	}
	used := make(map[string]bool)
	seen := make(map[string]bool)
	for _, r := range Rules() {
		if vendorEvents[r.Event] != r.Method+" "+r.Path || seen[r.Event] || r.When == "" {
			t.Errorf("got %+v", r)
		}
		seen[r.Event] = true
		for _, f := range r.Fields {
			if !slices.Contains(known, f) {
				t.Errorf("%s: unknown field %s", r.Event, f)
			}
			used[f] = true
		}
	}
	if len(seen) != len(InstanceEvents()) || len(vendorEvents) != len(seen) {
		t.Errorf("got %v", seen)
	}
	for _, f := range Fields() {
		if !used[f.Name] || len(f.Candidates) == 0 || f.In == "" {
			t.Errorf("got %+v, used: %v", f, used[f.Name])
		}
	}
}

// The pages for operators have the default of every field, and the call of every event.
func TestFieldsAndRulesAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Fields() {
		if row := fmt.Sprintf("\n| `%s` | `%s` | %s |\n", f.Name, strings.Join(f.Candidates, "` `"), f.In); !strings.Contains(string(page), row) {
			t.Errorf("docs/configuration.md has no row %s", row)
		}
	}
	for _, r := range Rules() {
		if row := fmt.Sprintf("\n| `%s` | %s %s |", r.Event, r.Method, r.Path); !strings.Contains(string(page), row) {
			t.Errorf("docs/configuration.md has no row %s", row)
		}
	}
}

func TestRuleTablesMatchBelowPrefixAndVersion(t *testing.T) {
	t.Parallel()
	table, err := NewRuleTable("/prod/ticketing", nil)
	if err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]string{
		"POST /prod/ticketing/v1/tickets": "create-ticket", "POST /prod/ticketing/tickets/5/subtickets/": "create-subticket",
		"PUT /prod/ticketing/v2/tickets/a%2Fb": "close-ticket classify-ticket change-queue", "POST /prod/ticketing/tickets/5/replies": "answer reply-ticket",
		"POST /tickets": "", "PUT /prod/ticketing/tickets": "", "PATCH /prod/ticketing/tickets/5": "", "DELETE /prod/ticketing/tickets/5": "",
		"POST /prod/ticketing/users": "", "POST /prod/ticketing/tickets/5/alerts": "",
	} {
		method, path, _ := strings.Cut(call, " ")
		m, ok := table.Match(method, path, true)
		if ok != (want != "") || (ok && strings.Join(table.Events(&m), " ") != want) {
			t.Errorf("%s: got %+v, %v", call, m.Row, ok)
		}
	}
	if base, rest, ok := table.Base("/prod/ticketing/v1/webhooks/app", false); base != "/prod/ticketing/v1" || rest != "/webhooks/app" || !ok {
		t.Errorf("got %s, %s, %v", base, rest, ok)
	}
	if _, err := NewRuleTable("prod", nil); err == nil || !strings.Contains(err.Error(), `prefix "prod"`) {
		t.Errorf("got %v", err)
	}
}

func TestFieldsCanBeOverridden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field      string
		candidates []string
		call       call
		want       string // a part of the payload, or what is told
	}{
		{"ticket.status", []string{"state"}, call{endpoint: putTicket, request: `{"state":3,"status":1}`}, "close-ticket 3"},
		{"ticket.status", []string{"state"}, call{endpoint: putTicket, request: `{"status":3}`}, ""},
		{"ticket.queue.id", []string{"desk.no", "desk"}, call{endpoint: putTicket, request: `{"desk":7}`, ticket: `{"data":{"desk":{"no":6}}}`}, "change-queue 6 7"},
		{"ticket.queue.id", []string{"data.attributes.queue"}, call{endpoint: putTicket, request: `{"data":{"attributes":{"queue":7}}}`, ticket: `{"data":{"attributes":{"queue":6}}}`}, "change-queue 6 7"},
		{"ticket.queue.id", []string{"attributes.queue", "data.attributes.queue"}, call{endpoint: putTicket, request: `{"data":{"attributes":{"queue":7}}}`, ticket: `{"data":[{"attributes":{"queue":7}}]}`}, ""},
		{"ticket.classification", []string{"[a.id,b.id]"}, call{endpoint: putTicket, request: `{"a":{"id":1},"b":{"id":2}}`}, `classify-ticket null "1,2"`},
		{"ticket.classification", []string{"tags.#.no"}, call{endpoint: putTicket, request: `{"tags":[{"no":1},{"no":2}]}`}, `classify-ticket null "1,2"`},
		{"reply.type", []string{"kind"}, call{endpoint: reply, request: `{"kind":"answer"}`}, "answer"},
		{"reply.is_agent", []string{"{agent}"}, call{endpoint: reply, request: `{"text":"x"}`}, "reply-ticket"},
		{"reply.type", []string{"{role}"}, call{endpoint: reply, request: `{"text":"x"}`}, "answer"},
		{"reply.author", []string{"{http.auth.user.id}"}, call{endpoint: reply, request: `{"text":"x"}`}, `"from":{"id":"bob","name":null`},
		{"reply.author", []string{"{benti.jwt.email}", "from"}, call{endpoint: reply, request: `{"from":5}`}, `"from":{"id":null,"name":null,"address":"j@x"`},
		{"reply.author", []string{"{benti.path.ticketId}"}, call{endpoint: reply}, `"from":{"id":110063,`},
		{"person.name", []string{"full_name"}, call{endpoint: reply, request: `{"from":{"full_name":"N","name":"n"}}`}, `"name":"N"`},
		{"attachment.url", []string{"href"}, call{endpoint: reply, request: `{"files":[{"id":1,"href":"u"}]}`}, `"url":"u"`},
		{"ticket.id", []string{"result.no"}, call{endpoint: "POST /tickets", response: `{"id":1,"result":{"no":5}}`}, `"PROJECTNAME-00000005"`},
		{"ticket.id", []string{"result.no"}, call{endpoint: "POST /tickets", response: `{"id":1}`}, `create-ticket no_id`},
		{"ticket.id", []string{"{benti.request.no}"}, call{endpoint: "POST /tickets/1/subtickets", request: `{"no":5}`, response: `{"id":1}`}, `"PROJECTNAME-00000005"`},
	} {
		table := mustRules(t, map[string][]string{c.field: c.candidates})
		x := c.call.exchange(t, table)
		x.Authorization = bearer(`{"email":"j@x"}`)
		x.External = func(text string) (string, bool) {
			return map[string]string{"{http.auth.user.id}": "bob", "{role}": "answer"}[text], true
		}
		events, errs := table.Derive(x, InstanceEvents(), "project_name", endless{})
		got := told(events, errs)
		if got != c.want && (len(events) != 1 || c.want == "" || !strings.Contains(string(events[0].Payload), c.want)) {
			t.Errorf("%s %v: got %s, %s; want %s", c.field, c.candidates, got, events, c.want)
		}
	}
}

func TestNewTicketsAreFoundInLocation(t *testing.T) {
	t.Parallel()
	for fields, want := range map[string]string{"": "P-00000077", "ticket.id": ""} {
		overrides := map[string][]string{fields: {"id"}}
		if fields == "" {
			overrides = nil
		}
		table := mustRules(t, overrides)
		x := call{endpoint: "POST /tickets"}.exchange(t, table)
		x.Status, x.Header = 201, http.Header{"Location": {"/v1/tickets/77"}}
		events, errs := table.Derive(x, InstanceEvents(), "p", endless{})
		if (want == "") != (len(errs) == 1) || (want != "" && events[0].Ticket != want) {
			t.Errorf("%s: got %v, %v", fields, events, errs)
		}
	}
}

func TestInvalidFieldsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		candidates []string
		want       string
	}{
		"ticket.priority":   {[]string{"x"}, `unknown field "ticket.priority": allowed are ticket.id, ticket.status, ticket.classification, ticket.queue.id, `},
		"":                  {[]string{"x"}, `unknown field "": allowed are ticket.id,`},
		"ticket.status":     {nil, "field ticket.status: at least one path is needed"},
		"ticket.queue.id":   {[]string{"a", ""}, "field ticket.queue.id: empty path"},
		"ticket.queue.name": {[]string{"a", "b", "a"}, "field ticket.queue.name: a is given twice"},
		"reply.text":        {[]string{"{benti.response"}, `field reply.text: source "{benti.response": unbalanced braces`},
		"reply.type":        {[]string{"{benti.requset.type}"}, `field reply.type: source "{benti.requset.type}": allowed are`},
		"reply.author":      {[]string{"{benti.path.userId}"}, "field reply.author: {benti.path.userId}: the path has no {userId}"},
		"ticket.id":         {[]string{"{benti.path.ticketId}"}, "field ticket.id: {benti.path.ticketId}: the path has no {ticketId}"},
		"person.name":       {[]string{"{benti.jwt.name}"}, `field person.name: {benti.jwt.name}: placeholders are not allowed here, only paths such as "id"`},
		"attachment.url":    {[]string{"{x}"}, `field attachment.url: {x}: placeholders are not allowed here`},
	} {
		if _, err := NewRuleTable("", map[string][]string{name: c.candidates}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRuleTablesMatchWithoutAllocating(t *testing.T) {
	table := mustRules(t, nil)
	wanted := InstanceEvents()
	for name, f := range map[string]func(){
		"other method": func() { table.Match("GET", "/v1/tickets/5", false) },
		"other path":   func() { table.Match("POST", "/v1/users", false) },
		"base":         func() { table.Base("/v1/webhooks", false) },
		"hit": func() {
			m, _ := table.Match("PUT", "/v1/tickets/5", false)
			if len(table.Events(&m)) != 3 || !table.NeedsBefore(&m, wanted) {
				t.Error("no hit")
			}
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkRuleTableMatch(b *testing.B) {
	table := mustRules(b, nil)
	for _, c := range []struct{ name, method, path string }{
		{"miss/method", "GET", "/v1/tickets/110063"},
		{"miss/path", "POST", "/v1/users"},
		{"hit", "PUT", "/v1/tickets/110063"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Match(c.method, c.path, false)
			}
		})
	}
}

func BenchmarkRuleTableDerive(b *testing.B) {
	table := mustRules(b, nil)
	big := sampleCalls["answer"]
	big.request = strings.Replace(big.request, `"text"`, `"`+strings.Repeat("<p>text</p>", 90_000)+`"`, 1)
	calls := map[string]call{"answer/1MB": big}
	for name, c := range sampleCalls {
		calls[name] = c
	}
	for name, c := range calls {
		b.Run(name, func(b *testing.B) {
			x := c.exchange(b, table)
			b.ReportAllocs()
			for b.Loop() {
				x.request, x.response, x.tree = nil, nil, nil
				if events, _ := table.Derive(x, InstanceEvents(), "p", endless{}); len(events) != 1 {
					b.Fatal(events)
				}
			}
		})
	}
}
