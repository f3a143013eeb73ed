package matcher

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// told is what the events of an exchange say: names, with the change behind them, and reasons.
func told(events []InstanceEvent, errs []error) string {
	var list []string
	for _, e := range events {
		text := e.Name
		for _, path := range []string{"previous_queue", "new_queue", "previous_classification", "new_classification", "status"} {
			if r := gjson.GetBytes(e.Payload, "body."+path); r.Exists() {
				text += " " + r.Raw
			}
		}
		list = append(list, text)
	}
	for _, err := range errs {
		if u := new(Underivable); errors.As(err, &u) {
			list = append(list, u.Item+" "+u.Reason)
		} else {
			list = append(list, err.Error())
		}
	}
	return strings.Join(list, "; ")
}

func TestChangesOfATicket(t *testing.T) {
	t.Parallel()
	const unread = ""
	full := `{"id":9,"status":3,"queue":{"id":2},"classification":{"path":[3,6]}}`
	for _, c := range []struct{ request, ticket, response, want string }{
		// A ticket is closed when its status becomes 3.
		{`{"status":3}`, `{"id":9,"status":1}`, ``, `close-ticket 3`},
		{`{"status":"3"}`, `{"id":9,"status":{"id":1}}`, ``, `close-ticket 3`},
		{`{"status":{"id":3,"name":"closed"}}`, `{"id":9,"status":{"id":"1"}}`, ``, `close-ticket 3`},
		{`{"status":3}`, `{"id":9,"status":3}`, ``, ``},
		{`{"status":"3"}`, `{"id":9,"status":{"id":3}}`, ``, ``},
		{`{"status":2}`, `{"id":9,"status":1}`, ``, ``},
		{`{"status":1}`, `{"id":9,"status":3}`, ``, ``},
		{`{"status":3}`, unread, ``, `close-ticket 3`},
		{`{"status":3}`, `{"id":9,"status":null}`, ``, `close-ticket 3`},
		{`{"status":3}`, `{"id":9}`, ``, `close-ticket 3`},
		{`{"status":33}`, unread, ``, ``},
		{`{"status":3.0}`, unread, ``, ``},
		{`{"status":true}`, unread, ``, ``},
		{`{"status":null}`, `{"id":9,"status":1}`, ``, ``},
		{`{"status":[3]}`, `{"id":9,"status":1}`, ``, ``},

		// It moves when its queue differs from before, as an id and not as it is written.
		{`{"queue":2}`, `{"id":9,"queue":1}`, ``, `change-queue 1 2`},
		{`{"queue_id":"2"}`, `{"id":9,"queue":{"id":1}}`, ``, `change-queue 1 2`},
		{`{"queue":{"id":2}}`, `{"id":9,"queue_id":"1"}`, ``, `change-queue 1 2`},
		{`{"queue":{"id":2},"queue_id":3,"queue":4}`, `{"id":9,"queue":1}`, ``, `change-queue 1 2`},
		{`{"queue":{"id":null},"queue_id":2}`, `{"id":9,"queue":1}`, ``, `change-queue 1 2`},
		{`{"queue":2}`, `{"id":9,"queue":"2"}`, ``, ``},
		{`{"queue":"q-2"}`, `{"id":9,"queue":"q-1"}`, ``, `change-queue "q-1" "q-2"`},
		{`{"queue":9007199254740993}`, `{"id":9,"queue":9007199254740992}`, ``, `change-queue 9007199254740992 9007199254740993`},
		{`{"queue":2}`, unread, ``, `change-queue null 2`},
		{`{"queue":2}`, `{"id":9}`, ``, `change-queue null 2`},
		{`{"queue":2}`, `{"id":9,"queue":null}`, ``, `change-queue null 2`},
		{`{"queue":null}`, `{"id":9,"queue":1}`, ``, `change-queue 1 null`},
		{`{"queue":null}`, `{"id":9,"queue":null}`, ``, ``},
		{`{"queue":null}`, `{"id":9}`, ``, ``},
		{`{"queue":null}`, unread, ``, `change-queue null null`},
		{`{"queue":{}}`, unread, ``, ``},

		// It is classified when its classification differs from before.
		{`{"classification_ids":[3,6,10,32]}`, `{"id":9,"classification_ids":[]}`, ``, `classify-ticket "" "3,6,10,32"`},
		{`{"classification_ids":["3", "6"]}`, `{"id":9,"classification":"3, 6"}`, ``, ``},
		{`{"classification":" 3 , 6"}`, `{"id":9,"classification":""}`, ``, `classify-ticket "" "3,6"`},
		{`{"classification":{"path":"3,6"}}`, `{"id":9,"classification":{"id":6,"path":[3,5]}}`, ``, `classify-ticket "3,5" "3,6"`},
		{`{"classification":{"path":[{"id":3,"name":"a"},{"id":6}]}}`, `{"id":9,"classification":null}`, ``, `classify-ticket "" "3,6"`},
		{`{"classification_id":3}`, `{"id":9,"classification":{"id":"3"}}`, ``, ``},
		{`{"classification_id":3}`, `{"id":9,"classification":{"id":"4"}}`, ``, `classify-ticket "4" "3"`},
		{`{"classification":3,"classification_id":4}`, unread, ``, `classify-ticket null "4"`},
		{`{"classification_ids":null,"classification":3}`, unread, ``, `classify-ticket null "3"`},
		{`{"classification_ids":[6,3]}`, `{"id":9,"classification_ids":[3,6]}`, ``, `classify-ticket "3,6" "6,3"`},
		{`{"classification_ids":[]}`, `{"id":9,"classification_ids":[3]}`, ``, `classify-ticket "3" ""`},
		{`{"classification":null}`, `{"id":9,"classification":3}`, ``, `classify-ticket "3" ""`},
		{`{"classification":""}`, unread, ``, `classify-ticket null ""`},
		{`{"classification":""}`, `{"id":9}`, ``, ``},
		{`{"classification":{"name":"x"}}`, unread, ``, ``},
		{`{"classification_ids":[[3],true,null]}`, unread, ``, ``},

		// One PUT may do all of it.
		{`{"classification":9,"queue":2,"status":3}`, `{"id":9,"status":1,"queue":1,"classification":8}`, ``, `close-ticket 3; classify-ticket "8" "9"; change-queue 1 2`},
		{`{"classification":9,"queue":2,"status":3}`, unread, ``, `close-ticket 3; classify-ticket null "9"; change-queue null 2`},
		{`{"classification":9,"queue":2,"status":3}`, `{"id":9,"status":3,"queue":1,"classification":9}`, ``, `change-queue 1 2`},

		// What a PUT does not carry, it does not change.
		{`{"title":"x"}`, `{"id":9,"status":1,"queue":1,"classification":8}`, ``, ``},
		{`{"title":"x"}`, unread, ``, ``},
		{`{"title":"x"}`, unread, full, ``},
		{`{"title":"x"}`, full, full, ``},
		{`{"title":"x"}`, `{"id":9}`, full, ``},
		{``, ``, ``, ``},

		// Where the answer shows the ticket, it tells of changes too that the request does not carry as fields.
		{`{"action":"close"}`, `{"id":9,"status":1,"queue":2,"classification":"3,6"}`, full, `close-ticket 3`},
		{``, `{"id":9,"status":1,"queue":1,"classification":null}`, `{"data":[` + full + `]}`, `close-ticket 3; classify-ticket "" "3,6"; change-queue 1 2`},
		{`{}`, unread, full, `close-ticket 3; classify-ticket null "3,6"; change-queue null 2`},
		{`{"queue":1}`, `{"id":9,"queue":1}`, `{"id":9,"queue":2}`, ``}, // the request comes first
		{`{"queue":null}`, `{"id":9,"queue":2}`, full, ``},              // nothing in it leaves the word to the answer
		{`{"queue":null}`, `{"id":9,"queue":1}`, `{"id":9,"queue":null}`, `change-queue 1 null`},
		{``, `{"id":9,"status":1}`, `{"status":"success","data":{"id":9,"status":1}}`, ``},
		{``, `{"id":9,"status":1}`, `{"status":3,"data":{"id":9,"status":1}}`, ``},

		// The ticket may be wrapped.
		{`{"queue":2}`, `{"data":{"id":9,"queue":2},"queue":1}`, ``, ``},
		{`{"queue":2}`, `{"data":[{"id":9,"queue":2},{"queue":3}]}`, ``, ``},
		{`{"queue":2}`, `{"ticket":{"id":9,"queue":2}}`, ``, ``},
		{`{"queue":2}`, `{"id":9,"data":{"queue":2},"queue":1}`, ``, `change-queue 1 2`},

		{`{"status":3`, `{"id":9,"status":1}`, ``, `close-ticket invalid; classify-ticket invalid; change-queue invalid`},
		{`{"status":3`, `{"id":9,"status":1}`, `{"id":9,"status":3}`, `close-ticket 3; classify-ticket invalid; change-queue invalid`},
	} {
		table := mustRules(t, nil)
		x := call{endpoint: putTicket, request: c.request, ticket: c.ticket, response: c.response}.exchange(t, table)
		if got := told(table.Derive(x, InstanceEvents(), "p", endless{})); got != c.want {
			t.Errorf("%s, before %s, after %s: got %s, want %s", c.request, c.ticket, c.response, got, c.want)
		}
	}
}

func TestRepliesAreOfAgentsOrNot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ request, response, want string }{
		{`{"type":"answer"}`, ``, "answer"},
		{`{"type":"Answer"}`, ``, "answer"},
		{`{"type":"reply"}`, ``, "reply-ticket"},
		{`{"type":"note"}`, ``, "reply-ticket"},
		{`{"is_agent":true}`, ``, "answer"},
		{`{"is_agent":1}`, ``, "answer"},
		{`{"is_agent":"true"}`, ``, "answer"},
		{`{"is_agent":"1"}`, ``, "answer"},
		{`{"is_agent":false}`, ``, "reply-ticket"},
		{`{"is_agent":0}`, ``, "reply-ticket"},
		{`{"is_agent":"yes"}`, ``, "reply-ticket"},
		{`{"from":{"is_agent":true}}`, ``, "answer"},
		{`{"user":{"is_agent":true}}`, ``, "answer"},
		{`{"creator":{"is_agent":true}}`, ``, "answer"},
		{`{"message":{"from":{"is_agent":true}}}`, ``, "answer"},
		{`{"is_agent":false,"from":{"is_agent":true}}`, ``, "reply-ticket"},
		{`{"type":"reply","is_agent":true}`, ``, "answer"},
		{`{"type":"answer","is_agent":false}`, ``, "answer"},
		{`{"text":"x"}`, ``, "reply-ticket"},
		{``, ``, "reply-ticket"},
		{`{"text":"x"}`, `{"data":[{"id":1,"type":"answer"}]}`, "answer"},
		{`{"text":"x"}`, `{"data":{"id":1,"creator":{"is_agent":true}}}`, "answer"},
		{`{"text":"x"}`, `{"type":"answer","reply":{"type":"reply"}}`, "reply-ticket"},
		{`{"type":"reply"}`, `{"id":1,"type":"answer"}`, "reply-ticket"},
		{`{"type":"reply"`, ``, "answer invalid; reply-ticket invalid"},
		{`{"type":"reply"`, `{"id":1,"type":"answer"}`, "answer"},
		{`{"text":"x"}`, `<`, "answer invalid; reply-ticket invalid"},
		{`{"type":"reply"}`, `<`, "reply-ticket"},
	} {
		table := mustRules(t, nil)
		x := call{endpoint: reply, request: c.request, response: c.response}.exchange(t, table)
		events, errs := table.Derive(x, InstanceEvents(), "p", endless{})
		if got := told(events, errs); got != c.want {
			t.Errorf("%s, %s: got %s, want %s", c.request, c.response, got, c.want)
		}
		if got := table.NeedsResource(x, InstanceEvents()); got != (c.want == "answer") {
			t.Errorf("%s, %s: resource needed: %v", c.request, c.response, got)
		}
	}
}

func TestEventsThatCannotBeToldFromAPartAreUnderivable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		endpoint, request, response string
		want                        string
	}{
		{putTicket, `{"text":"aaa`, ``, "close-ticket too_long; classify-ticket too_long; change-queue too_long"},
		{putTicket, `{"status":1,"queue":2,"classification_ids":[3,6`, ``, "change-queue null 2; classify-ticket too_long"},
		{putTicket, `{"status":1,"queue":2,"classification_ids":[3,6],`, ``, `classify-ticket null "3,6"; change-queue null 2`},
		{putTicket, `{"status":1,"queue":2,"classification":{"path":[3,6`, ``, "change-queue null 2; classify-ticket too_long"},
		{putTicket, `{"status":{"id":3,"na`, `{"id":1,"queue":2,"classification":5}`, `close-ticket 3; classify-ticket null "5"; change-queue null 2`},
		{reply, `{"text":"aaa`, ``, "answer too_long; reply-ticket too_long"},
		{reply, `{"type":"answer","text":"aaa`, ``, "answer"},
		{"POST /tickets", `{"title":"aaa`, `{"id":5}`, "create-ticket"},
		{"POST /tickets", ``, `{}`, "create-ticket no_id"},
		{"POST /tickets/1/subtickets", ``, `{`, "create-subticket invalid"},
	} {
		table := mustRules(t, nil)
		x := call{endpoint: c.endpoint, request: c.request, response: c.response}.exchange(t, table)
		x.Request.Cut = c.request != ""
		events, errs := table.Derive(x, InstanceEvents(), "p", endless{})
		if got := told(events, errs); got != c.want {
			t.Errorf("%s: got %s, want %s", c.request, got, c.want)
		}
	}
}

// What was seen in part of the ticket before a change is not taken for all of it.
func TestACutTicketIsNotKnownWhereItWasNotSeen(t *testing.T) {
	t.Parallel()
	for cut, want := range map[string]string{
		`{"id":9,"queue":2,"classification_ids":[3`:          `classify-ticket null ""`,
		`{"id":9,"queue":2,"classification_ids":[3],`:        `classify-ticket "3" ""`,
		`{"id":9,"classification_ids":[],`:                   `change-queue null 2`,
		`{"data":[{"id":9,"queue":2,"classification_`:        `classify-ticket null ""`,
		`{"data":[{"id":9,"queue":2,"classification_ids":[3`: `classify-ticket null ""`,
		`{"data":[`: `classify-ticket null ""; change-queue null 2`,
	} {
		table := mustRules(t, nil)
		x := call{endpoint: putTicket, request: `{"queue":2,"classification_ids":[]}`}.exchange(t, table)
		x.Ticket, _ = ReadTicket(200, Body{Bytes: []byte(cut), Cut: true}, 1<<20)
		if got := told(table.Derive(x, InstanceEvents(), "p", endless{})); got != want {
			t.Errorf("%s: got %s, want %s", cut, got, want)
		}
	}
}

func TestFailedCallsMakeNoInstanceEvent(t *testing.T) {
	t.Parallel()
	table := mustRules(t, nil)
	for name, c := range sampleCalls {
		for _, status := range []int{0, 101, 199, 300, 304, 404, 500} {
			x := c.exchange(t, table)
			x.Status = status
			events, errs := table.Derive(x, InstanceEvents(), "p", endless{})
			if len(events) > 0 || len(errs) != 1 || !errors.Is(errs[0], ErrNoChange) || table.NeedsResource(x, InstanceEvents()) {
				t.Errorf("%s, %d: got %v, %v", name, status, names(events), errs)
			}
		}
		c.response = `{"id":1,"errors":[{"code":5}]}`
		if got := told(c.derive(t, table)); got != ErrNoChange.Error() {
			t.Errorf("%s with an error object: got %s", name, got)
		}
	}
}

func TestEncodedAndLimitedBodies(t *testing.T) {
	t.Parallel()
	table := mustRules(t, nil)
	for _, encoding := range allEncodings {
		x := call{endpoint: putTicket}.exchange(t, table)
		x.Request.Encoding, x.Request.Bytes = header(encoding), encode(t, encoding, []byte(`{"queue":2}`))
		x.Ticket, _ = ReadTicket(200, Body{Encoding: header(encoding), Bytes: encode(t, encoding, []byte(`{"id":9,"queue":1}`))}, 1<<20)
		if got := told(table.Derive(x, InstanceEvents(), "p", endless{})); got != "change-queue 1 2" {
			t.Errorf("%q: got %s", encoding, got)
		}
	}
	x := call{endpoint: putTicket, request: `{"status":3,"queue":2}`}.exchange(t, table)
	x.Limit = len(`{"status":3,"queue"`)
	if got := told(table.Derive(x, InstanceEvents(), "p", endless{})); got != "close-ticket 3; classify-ticket too_long; change-queue too_long" {
		t.Errorf("limited: got %s", got)
	}
	x = call{endpoint: putTicket}.exchange(t, table)
	x.Request.Encoding, x.Request.Bytes = "gzip", []byte(`{"queue":2}`)
	if got := told(table.Derive(x, []string{"change-queue"}, "p", endless{})); got != "change-queue undecodable" {
		t.Errorf("undecodable: got %s", got)
	}
}

func TestWhatMustBeRead(t *testing.T) {
	t.Parallel()
	table := mustRules(t, nil)
	for endpoint, c := range map[string]struct{ events, before string }{
		"POST /tickets":              {"create-ticket", ""},
		"POST /tickets/9/subtickets": {"create-subticket", ""},
		putTicket:                    {"close-ticket classify-ticket change-queue", "close-ticket classify-ticket change-queue"},
		reply:                        {"answer reply-ticket", ""},
	} {
		x := call{endpoint: endpoint}.exchange(t, table)
		if got := strings.Join(table.Events(&x.Match), " "); got != c.events {
			t.Errorf("%s: got %s", endpoint, got)
		}
		for _, name := range InstanceEvents() {
			if got := table.NeedsBefore(&x.Match, []string{name}); got != slices.Contains(strings.Fields(c.before), name) {
				t.Errorf("%s for %s: %v", endpoint, name, got)
			}
		}
		if table.NeedsBefore(&x.Match, nil) || table.NeedsResource(x, InstanceEvents()) {
			t.Errorf("%s: something must be read", endpoint)
		}
	}
	x := call{endpoint: reply, request: `{"type":"answer"}`}.exchange(t, table)
	if table.NeedsResource(x, []string{"reply-ticket"}) {
		t.Error("the resource of an answer that nobody wants is read")
	}
}

func TestReadTicket(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		body   Body
		reason string
	}{
		{200, Body{Bytes: []byte(`{"id":1}`)}, ""},
		{206, Body{Bytes: []byte(`{"data":{"queue":1}}`)}, ""},
		{200, Body{Bytes: []byte(`{"data":[{"queue":1}]}`)}, ""},
		{200, Body{Bytes: []byte(`{"queue":1,"x":`), Cut: true}, "too_long, in part"},
		{404, Body{Bytes: []byte(`{"id":1}`)}, "status"},
		{301, Body{}, "status"},
		{0, Body{}, "status"},
		{200, Body{Bytes: []byte(`{"error":{"code":1}}`)}, "error_object"},
		{200, Body{}, "no_ticket"},
		{200, Body{Bytes: []byte(`<html>`)}, "no_ticket"},
		{200, Body{Bytes: []byte(`{}`)}, "no_ticket"},
		{200, Body{Bytes: []byte(`{"data":[]}`)}, "no_ticket"},
		{200, Body{Bytes: []byte(`{"data":null}`)}, "no_ticket"},
		{200, Body{Bytes: []byte(`[1]`)}, "no_ticket"},
		{200, Body{Bytes: []byte(`{"id":1`)}, "invalid"},
		{200, Body{Encoding: "gzip", Bytes: []byte(`{"id":1}`)}, "undecodable"},
		{200, Body{Bytes: []byte(`{"i`), Cut: true}, "too_long"},
		{200, Body{Bytes: []byte(`{"data":[`), Cut: true}, "too_long"},
	} {
		ticket, reason := ReadTicket(c.status, c.body, 1<<20)
		if ticket != nil && reason != "" {
			ticket, reason = nil, reason+", in part"
		}
		if reason != c.reason || (ticket == nil) != (reason != "") {
			t.Errorf("%d %s: got %v, %q; want %q", c.status, c.body.Bytes, ticket, reason, c.reason)
		}
	}
}
