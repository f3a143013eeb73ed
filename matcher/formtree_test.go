package matcher

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const formType = "application/x-www-form-urlencoded"

func TestFormsSpellOutJSON(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return "a" + strings.Repeat("[b]", n-1) + "=1" }
	for form, want := range map[string]string{
		"status=3&queue_id=2":             `{"status":"3","queue_id":"2"}`,
		"a[b]=1&a[c]=2":                   `{"a":{"b":"1","c":"2"}}`,
		"a%5Bb%5D%5Bc%5D=1":               `{"a":{"b":{"c":"1"}}}`,
		"a.b=1&a[c]=2":                    `{"a":{"b":"1","c":"2"}}`,
		"a[]=1&a[]=2&b=3&a[]=4":           `{"a":["1","2","4"],"b":"3"}`,
		"a[0][id]=1&a[0][x]=y&a[1][id]=2": `{"a":[{"id":"1","x":"y"},{"id":"2"}]}`,
		"a[x]=1&a[0]=2":                   `{"a":{"x":"1","0":"2"}}`,
		"a=1&a=2&a[]=3&a[b]=4":            `{"a":"1"}`,
		"a[b]=1&a=2":                      `{"a":{"b":"1"}}`,
		"a=":                              `{"a":""}`,
		"a":                               `{"a":""}`,
		"=1&a=2":                          `{"a":"2"}`,
		"[a]=1&a[b=2&a]=3":                `{"[a]":"1","a[b":"2","a]":"3"}`,
		"a=%22%5C%00%ff+%2B&b=é%0D%0A":    `{"a":"\"\\\u0000� +","b":"é\r\n"}`,
		"":                                ``,
		"&&":                              ``,
		deep(maxNesting):                  `{"a":` + strings.Repeat(`{"b":`, maxNesting-1) + `"1"` + strings.Repeat("}", maxNesting),
		deep(maxNesting + 1):              ``,
		strings.Repeat("n", maxFieldName+1) + "=1": ``,
	} {
		d := parseTree(Body{Type: formType + "; charset=utf-8", Bytes: []byte(form)}, 1<<20)
		if d.json != want || d.fault != "" || d.cut {
			t.Errorf("%s: got %s, %+v; want %s", form, d.json, d.missing(), want)
		}
	}
	d := parseTree(Body{Type: formType, Bytes: []byte("a=1&b=2"), Cut: true}, 1<<20)
	if d.json != `{"a":"1"}` || d.missing() != ReasonTooLong {
		t.Errorf("cut: got %s, %s", d.json, d.missing())
	}
}

func TestMultipartBodiesSpellOutJSON(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("<p>", maxField)
	contentType, body := multipartBody(t, "type", "answer", "message[content]", long, "attachments:C:\\x\\a.png", "1", "attachments:b/é.png", "2", "empty:", "",
		"files[]:c.png", "3", "files[]:d.png", "4", "type:x", "5", "message[to][]", "a@x")
	const file = `{"name":"%","type":""}`
	name := func(s string) string { return strings.Replace(file, "%", s, 1) }
	want := `{"type":"answer","message":{"content":"` + long + `","to":["a@x"]},"attachments":[` + name("a.png") + `,` + name("é.png") + `],` +
		`"files":[` + name("c.png") + `,` + name("d.png") + `]}`
	if d := parseTree(Body{Type: contentType, Bytes: []byte(body)}, 1<<20); d.json != want || d.missing() != "" {
		t.Errorf("got %s, %s", strings.ReplaceAll(d.json, long, "long"), d.missing())
	}
	at := strings.Index(body, "d.png")
	d := parseTree(Body{Type: contentType, Bytes: []byte(body[:at]), Cut: true}, 1<<20)
	if !strings.HasSuffix(d.json, `"files":[`+name("c.png")+`]}`) || d.missing() != ReasonTooLong {
		t.Errorf("cut: got %s, %s", strings.ReplaceAll(d.json, long, "long"), d.missing())
	}
	if d := parseTree(Body{Type: "multipart/form-data", Bytes: []byte(body)}, 1<<20); d.missing() != ReasonInvalid {
		t.Errorf("without boundary: got %s", d.missing())
	}
	if d := parseTree(Body{Type: formType, Encoding: "nope", Bytes: []byte("a=1")}, 1<<20); d.missing() != ReasonUndecodable {
		t.Errorf("encoded: got %s", d.missing())
	}
}

func TestFormsMakeTheSameEventsAsJSON(t *testing.T) {
	t.Parallel()
	table := mustRules(t, nil)
	multipartType, multipartReply := multipartBody(t, "type", "answer", "content", "<p>é</p>", "to", "A <a@x>", "attachments[]:a.png", "\x89PNG")
	for _, c := range []struct{ endpoint, contentType, body, want string }{
		{putTicket, formType, "status=3&queue[id]=2&classification_ids[]=3&classification_ids[]=6", `close-ticket 3; classify-ticket null "3,6"; change-queue null 2`},
		{putTicket, formType, "classification_ids=3%2C+6&queue_id=", `classify-ticket null "3,6"; change-queue null null`},
		{putTicket, formType, "title=x", ``},
		{reply, formType, "type=answer&text=a", "answer"},
		{reply, formType, "is_agent=1", "answer"},
		{reply, formType, "from[is_agent]=true", "answer"},
		{reply, formType, "is_agent=0", "reply-ticket"},
		{reply, multipartType, multipartReply, "answer"},
	} {
		x := call{endpoint: c.endpoint}.exchange(t, table)
		x.Request = Body{Type: c.contentType, Bytes: []byte(c.body)}
		events, errs := table.Derive(x, InstanceEvents(), "p", endless{})
		if got := told(events, errs); got != c.want {
			t.Errorf("%s: got %s, want %s", c.body, got, c.want)
		}
		if c.contentType != multipartType {
			continue
		}
		const wanted = `"action_data":{"text":"<p>é</p>","to":[{"email":"a@x","name":"A"}],"cc":null,"bcc":null}`
		payload := string(events[0].Payload)
		if !strings.Contains(payload, wanted) || !strings.HasSuffix(payload, `"attachments":[{"id":null,"url":null,"name":"a.png","type":null}]}`) {
			t.Errorf("got %s", payload)
		}
	}
}

func TestAnyFormIsValidJSON(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{"a", "b", "[", "]", "[]", "[0]", "[a]", ".", "=", "&", "1", "%", "%5B", "\xff", "\""})
	rapid.Check(t, func(t *rapid.T) {
		form := strings.Join(rapid.SliceOfN(piece, 0, 30).Draw(t, "form"), "")
		b := Body{Type: formType, Bytes: []byte(form)}
		d := parseTree(b, 1<<20)
		if d.fault != "" {
			t.Fatalf("%q: %s", form, d.fault)
		}
		// Flat names mean the same to both readers.
		flat := parseRequest(b, 1<<20)
		for name, text := range flat.fields {
			if strings.Trim(name, "ab1\"") != "" || name == "" {
				continue
			}
			top := d.top()
			if r := parseText(top.get(name)); r.there && r.text != strings.ToValidUTF8(text, "\ufffd") && !strings.Contains(text, "\xff") {
				t.Fatalf("%q: %s is %q, not %q", form, name, r.text, text)
			}
		}
	})
}
