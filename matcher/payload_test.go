package matcher

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestTextsSurvive(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`"<p class=\"a\">1 &lt; 2 &amp; 3</p>"`: "<p class=\"a\">1 &lt; 2 &amp; 3</p>",
		`"\tHTML text\n<\/p>\r\n"`:              "\tHTML text\n</p>\r\n",
		`"Agent\u00a0Name \u2028"`:              "Agent\u00a0Name \u2028",
		`"\u0000\u001f\b\f\\\""`:                "\x00\x1f\b\f\\\"",
		`"é😀\ud83d\ude00"`:                      "é😀😀",
		`"a\ud83db"`:                            "a\ufffdb", // half a character
		`"a\ude00b"`:                            "a\ufffdb",
		`"a\ud83d\u0041b"`:                      "a\ufffdAb",
		"\"a\xff\xc3b\"":                        "a\ufffd\ufffdb", // no UTF-8
		`""`:                                    "",
		`5`:                                     "5",
		`"{\"content\":1}"`:                     `{"content":1}`,
	} {
		got := call{endpoint: reply, request: `{"content":` + text + `}`}.only(t, "reply-ticket").Get("body.message.content")
		if got.String() != want || got.Raw[0] != '"' {
			t.Errorf("%s: got %q, want %q", text, got.Str, want)
		}
	}
	const long = 200_000
	got := call{endpoint: reply, request: `{"content":"` + strings.Repeat("<é>", long) + `"}`}.only(t, "reply-ticket").Get("body.message.content")
	if got.Str != strings.Repeat("<é>", long) {
		t.Errorf("got %d bytes", len(got.Str))
	}
}

func TestAnyTextSurvives(t *testing.T) {
	t.Parallel()
	table := mustRules(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("<&>\"\\/\n\r\t\x00\x1f\x7f\u00a0\u2028😀é")))).Draw(t, "text")
		request, err := json.Marshal(map[string]string{"type": "answer", "text": text, "escaped": "\u2028"})
		if err != nil || !utf8.ValidString(text) {
			t.Skip()
		}
		m, _ := table.Match("POST", "/tickets/1/replies", false)
		x := &Exchange{Match: m, Status: 200, Limit: 1 << 20, Request: Body{Type: jsonType, Bytes: request}}
		events, _ := table.Derive(x, InstanceEvents(), "p", endless{})
		var got struct {
			Data struct{ Text string } `json:"action_data"`
		}
		if err := json.Unmarshal(events[0].Payload, &got); err != nil || got.Data.Text != text {
			t.Fatalf("%q came as %q, %v", text, got.Data.Text, err)
		}
	})
}

func TestReplyTextCandidatesInOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ request, response, want string }{
		{`{"message":{"content":"1"},"content":"2","text":"3"}`, ``, `"1"`},
		{`{"content":"2","text":"3","message":"4"}`, ``, `"2"`},
		{`{"content":"","text":"3","message":"4"}`, ``, `"3"`},
		{`{"message":"4"}`, `{"id":1,"content":"5"}`, `"4"`},
		{`{"message":{"body":"4"}}`, `{"id":1,"content":"5"}`, `"5"`},
		{`{"x":1}`, `{"data":{"id":1,"text":"5"},"message":"Reply added"}`, `"5"`},
		{`{"x":1}`, `{"data":{"id":1},"message":"Reply added"}`, `null`},
		{`{"content":""}`, ``, `""`},
		{`{"content":null}`, ``, `null`},
		{`{}`, ``, `null`},
	} {
		call := call{endpoint: reply, request: c.request, response: c.response}
		if got := call.only(t, "reply-ticket").Get("body.message.content").Raw; got != c.want {
			t.Errorf("%s, %s: got %s, want %s", c.request, c.response, got, c.want)
		}
	}
}

func TestAuthors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ request, response, want string }{
		{`{"from":{"id":1,"name":"n","email":"e@x","external_id":"007"},"user":2}`, ``, `1 "n" "e@x" "007"`},
		{`{"user":{"id":"1","address":"e@x","external_id":12}}`, ``, `1 null "e@x" 12`},
		{`{"creator":{"id":"u-1","identifier":"e@x","external_id":1.5}}`, ``, `"u-1" null "e@x" "1.5"`},
		{`{"message":{"from":{"name":5}}}`, ``, `null "5" null null`},
		{`{"from":4014}`, ``, `4014 null null null`},
		{`{"from":"e@x"}`, ``, `null null "e@x" null`},
		{`{"from":{},"user":null,"creator":7}`, ``, `7 null null null`},
		{`{"from":[{"id":1}]}`, ``, `null null null null`},
		{`{"from":{"id":{"x":1},"name":["n"],"email":false}}`, ``, `null null null null`},
		{`{"text":"x"}`, `{"data":[{"id":1,"creator":{"id":5,"name":"n"}}]}`, `5 "n" null null`},
		// The answer completes what the request says of the same person, not of another.
		{`{"user":4014}`, `{"id":1,"creator":{"id":"4014","name":"n","email":"e@x","external_id":"x"}}`, `4014 "n" "e@x" "x"`},
		{`{"user":"e@x"}`, `{"id":1,"creator":{"id":5,"name":"n","email":"e@x"}}`, `5 "n" "e@x" null`},
		{`{"user":4014}`, `{"id":1,"creator":{"id":5,"name":"n","email":"e@x"}}`, `4014 null null null`},
		{`{"user":{"id":1,"name":"a"}}`, `{"id":1,"creator":{"name":"b","email":"e@x"}}`, `1 "a" null null`},
		{`{"user":{"id":1,"email":"e@x"}}`, `{"id":1,"creator":{"id":2,"name":"b","email":"e@x"}}`, `1 null "e@x" null`},
	} {
		call := call{endpoint: reply, request: c.request, response: c.response}
		from := call.only(t, "reply-ticket").Get("body.message.from")
		got := from.Get("id").Raw + " " + from.Get("name").Raw + " " + from.Get("address").Raw + " " + from.Get("external_id").Raw
		if got != c.want || from.Get("is_agent").Raw != "false" {
			t.Errorf("%s, %s: got %s, want %s", c.request, c.response, from.Raw, c.want)
		}
	}
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]string{
		`[{"email":"a@x","name":"A"},{"address":"b@x"}]`: `[{"email":"a@x","name":"A"},{"email":"b@x","name":null}]`,
		`{"email":"a@x","name":"A"}`:                     `[{"email":"a@x","name":"A"}]`,
		`["a@x","B <b@x>"]`:                              `[{"email":"a@x","name":null},{"email":"b@x","name":"B"}]`,
		`"a@x"`:                                          `[{"email":"a@x","name":null}]`,
		`"\"Doe, J\" <a@x>, =?utf-8?q?=C3=A9?= <b@x>"`:   `[{"email":"a@x","name":"Doe, J"},{"email":"b@x","name":"é"}]`,
		`"a@x; b@x"`:                                     `[{"email":"a@x; b@x","name":null}]`, // no list of RFC 5322
		`"someone"`:                                      `null`,
		`[]`:                                             `null`,
		`null`:                                           `null`,
		`[null,5,{"id":5},[],"",true]`:                   `null`, // ids are no addresses
		`[{"name":"A"},5]`:                               `[{"email":null,"name":"A"}]`,
		`"` + strings.Repeat("a", maxAddresses) + `@x"`: `null`,
	} {
		for _, name := range []string{"to", "cc", "bcc"} {
			for _, c := range []call{
				{request: `{"type":"answer","` + name + `":` + to + `}`},
				{request: `{"type":"answer","message":{"` + name + `":` + to + `}}`},
				{request: `{"type":"answer","` + name + `":[]}`, response: `{"data":{"id":1,"` + name + `":` + to + `}}`},
			} {
				c.endpoint = reply
				if got := c.only(t, "answer").Get("action_data." + name).Raw; got != want {
					t.Errorf("%s %.80s: got %.80s, want %s", name, to, got, want)
				}
			}
		}
	}
}

func TestAttachments(t *testing.T) {
	t.Parallel()
	file := func(n int) string {
		return fmt.Sprintf(`{"id":"%d","url":"https://h/%d?a=1&b=2","name":"a \"%d\".png","type":"image/png"}`, n, n, n)
	}
	for _, c := range []struct{ request, response, want string }{
		{`{"text":"x"}`, ``, `[]`},
		{`{"attachments":[]}`, ``, `[]`},
		{`{"attachments":null}`, ``, `[]`},
		{`{"attachments":[` + file(1) + `]}`, ``, `[` + file(1) + `]`},
		{`{"attachments":` + file(1) + `}`, ``, `[` + file(1) + `]`},
		{`{"message":{"attachments":[` + file(1) + `,` + file(2) + `,` + file(3) + `]}}`, ``, `[` + file(1) + `,` + file(2) + `,` + file(3) + `]`},
		{`{"media":["abc",12]}`, ``, `[{"id":"abc","url":null,"name":null,"type":null},{"id":"12","url":null,"name":null,"type":null}]`},
		{`{"media":[{"uuid":"abc","filename":"n","mime_type":"t"},{},null,true]}`, ``, `[{"id":"abc","url":null,"name":"n","type":"t"}]`},
		{`{"media":["abc"]}`, `{"data":{"id":1,"attachments":[` + file(2) + `]}}`, `[` + file(2) + `]`}, // the answer knows best
		{`{"media":["abc"]}`, `{"id":1,"attachments":[]}`, `[{"id":"abc","url":null,"name":null,"type":null}]`},
	} {
		for event, path := range map[string]string{"reply-ticket": "body.message.attachments", "answer": "attachments"} {
			call := call{endpoint: reply, request: c.request, response: c.response}
			if event == "answer" {
				call.request = `{"type":"answer",` + call.request[1:]
			}
			if got := call.only(t, event).Get(path).Raw; got != c.want {
				t.Errorf("%s %s, %s: got %s, want %s", event, c.request, c.response, got, c.want)
			}
		}
	}
}

func TestResourceOfAnAnswer(t *testing.T) {
	t.Parallel()
	const nobody = `"creator":{"name":null,"identifier":null}`
	for ticket, want := range map[string]string{
		``: `{` + nobody + `,"queue":{"id":null,"name":null},"source":{"id":null,"name":null}}`,
		`{"id":1,"queue_id":"2","queue_name":"q","source":"mail","creator":5}`:                       `{` + nobody + `,"queue":{"id":2,"name":"q"},"source":{"id":"mail","name":null}}`,
		`{"id":1,"creator":"a@x","source_id":3,"source_name":"s"}`:                                   `{"creator":{"name":null,"identifier":"a@x"},"queue":{"id":null,"name":null},"source":{"id":3,"name":"s"}}`,
		`{"data":[{"creator":{"name":"n","address":"a@x"},"queue":{"name":"q"},"source":{"id":1}}]}`: `{"creator":{"name":"n","identifier":"a@x"},"queue":{"id":null,"name":"q"},"source":{"id":1,"name":null}}`,
	} {
		c := call{endpoint: reply, request: `{"type":"answer","creator":{"name":"other"},"queue":9}`, response: `{"id":1,"source":9}`, ticket: ticket}
		if got := c.only(t, "answer").Get("resource_data").Raw; got != want {
			t.Errorf("%s: got %s, want %s", ticket, got, want)
		}
	}
}

func TestIDsOfAnySpellingAreReferences(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/tickets/7/subtickets": "PROJECTNAME-00000007", "/v1/tickets/007/subtickets/": "007", "/tickets/PROJECTNAME-00000007/subtickets": "PROJECTNAME-00000007",
	} {
		body := call{endpoint: "POST " + path, response: `{"data":{"id":"123456789"}}`}.only(t, "create-subticket").Get("body").Raw
		if body != `{"ticket_id":"PROJECTNAME-123456789","parentId":"`+want+`"}` {
			t.Errorf("%s: got %s", path, body)
		}
	}
}

// A reply that was seen in part says so.
func TestUnseenPartsOfReplies(t *testing.T) {
	t.Parallel()
	table := mustRules(t, nil)
	for _, c := range []struct{ request, response, want, unseen string }{
		{`{"type":"answer","text":"aaa`, `{"id":1}`, `null null`, "too_long"},
		{`{"type":"answer","text":"aaa","attachments":[{"id":1},{`, `{"id":1}`, `"aaa" null`, "too_long"},
		{`{"type":"answer","text":"aaa","attachments":[{"id":1}],`, `{"id":1}`, `"aaa" [{"id":"1","url":null,"name":null,"type":null}]`, "too_long"},
		{`{"type":"answer","text":"aaa`, `{"id":1,"text":"aaaa"}`, `"aaaa" null`, "too_long"},
	} {
		x := call{endpoint: reply, request: c.request, response: c.response}.exchange(t, table)
		x.Request.Cut = true
		events, errs := table.Derive(x, InstanceEvents(), "p", endless{})
		if len(events) != 1 || len(errs) > 0 || events[0].Unseen != c.unseen {
			t.Errorf("%s: got %+v, %v", c.request, events, errs)
			continue
		}
		var got struct {
			Data        struct{ Text json.RawMessage } `json:"action_data"`
			Attachments json.RawMessage
		}
		if err := json.Unmarshal(events[0].Payload, &got); err != nil || string(got.Data.Text)+" "+string(got.Attachments) != c.want {
			t.Errorf("%s: got %s, %v", c.request, events[0].Payload, err)
		}
	}
	x := call{endpoint: reply, request: `{"type":"answer"}`, response: `<`}.exchange(t, table)
	if events, _ := table.Derive(x, InstanceEvents(), "p", endless{}); len(events) != 1 || events[0].Unseen != "invalid" {
		t.Errorf("got %+v", events)
	}
}

// A megabyte of tiny elements must not become a payload of many.
func TestPayloadsOfHostileListsAreBounded(t *testing.T) {
	t.Parallel()
	start := time.Now()
	table := mustRules(t, nil)
	for _, request := range []string{
		`{"type":"answer","attachments":[1` + strings.Repeat(",1", 500_000) + `],"to":["a@` + strings.Repeat(`","a@`, 200_000) + `"]}`,
		`{"type":"answer","to":"a@x` + strings.Repeat(",a@x", 16_000) + `"}`,
		`{"type":"answer","to":"a@x` + strings.Repeat("(", 60_000) + `"}`,
		`{"type":"answer","to":["` + strings.Repeat(`(a@x","`, 140_000) + `"]}`,
		`{"type":"answer","to":[` + strings.Repeat(`"x",`, 250_000) + `"a@x"]}`,
		`{"type":"answer","from":` + strings.Repeat(`{"from":`, 500) + `1` + strings.Repeat(`}`, 500) + `}`,
	} {
		x := call{endpoint: reply, request: request}.exchange(t, table)
		x.Limit = 4 << 20
		events, errs := table.Derive(x, InstanceEvents(), "p", endless{})
		if len(events) != 1 || len(errs) > 0 || len(events[0].Payload) > 200_000 {
			t.Errorf("%.60s: got %d bytes, %v", request, len(events[0].Payload), errs)
		}
	}
	t.Log(time.Since(start))
}
