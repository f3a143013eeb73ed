package matcher

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/tidwall/gjson"
	"pgregory.net/rapid"
)

func mustRules(t testing.TB, fields map[string][]string) *RuleTable {
	t.Helper()
	table, err := NewRuleTable("", fields)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// call is a call of the instance's pages and what the API showed.
type call struct {
	endpoint          string // method and path
	request, response string // JSON
	ticket            string // JSON, "" if it was not read
}

const (
	putTicket = "PUT /tickets/110063"
	reply     = "POST /tickets/110063/replies"
)

func (c call) exchange(t testing.TB, table *RuleTable) *Exchange {
	t.Helper()
	method, path, _ := strings.Cut(c.endpoint, " ")
	m, ok := table.Match(method, path, false)
	if !ok {
		t.Fatalf("%s does not match", c.endpoint)
	}
	x := &Exchange{
		Match: m, Time: time.Date(2017, 9, 8, 13, 51, 31, 999, time.FixedZone("CEST", 7200)), Status: 200, Limit: 1 << 20,
		Request: Body{Type: jsonType, Bytes: []byte(c.request)}, Response: Body{Type: jsonType, Bytes: []byte(c.response)},
	}
	if c.ticket != "" {
		x.Ticket, _ = ReadTicket(200, Body{Type: jsonType, Bytes: []byte(c.ticket)}, 1<<20)
		if x.Ticket == nil {
			t.Fatalf("%s is no ticket", c.ticket)
		}
	}
	return x
}

func (c call) derive(t testing.TB, table *RuleTable) ([]InstanceEvent, []error) {
	t.Helper()
	return table.Derive(c.exchange(t, table), InstanceEvents(), "project_name", endless{})
}

// endless is a source of nothing but zero bytes.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// only returns the payload of the only event, which must have the given name.
func (c call) only(t testing.TB, event string) gjson.Result {
	t.Helper()
	events, errs := c.derive(t, mustRules(t, nil))
	if len(events) != 1 || len(errs) != 0 || events[0].Name != event {
		t.Fatalf("%.200s, %.200s: got %v, %v; want %s", c.request, c.response, names(events), errs, event)
	}
	if !json.Valid(events[0].Payload) {
		t.Fatalf("%.200s, %.200s: got %.200s", c.request, c.response, events[0].Payload)
	}
	return gjson.ParseBytes(events[0].Payload)
}

// names are those of the events, as one text.
func names(events []InstanceEvent) string {
	var list []string
	for _, e := range events {
		list = append(list, e.Name)
	}
	return strings.Join(list, " ")
}

// golden is a sample of the vendor's page, made valid JSON.
func golden(t testing.TB, event string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/instance/" + event + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tokens are the tokens of a JSON text as Go values in their order.
func tokens(t testing.TB, text string) []json.Token {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var list []json.Token
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		list = append(list, token)
	}
}

// sampleCalls are calls that make the events of the vendor's samples.
var sampleCalls = map[string]call{
	"answer": {
		endpoint: reply,
		request: `{"type":"answer","message":{"content":"text"},"to":[{"email":"email@email.com","name":"name"}],"cc":[],
			"from":{"name":"name","email":"email@email.com"}}`,
		response: `{"data":[{"id":7,"attachments":[{"id":123,"url":"image_url","name":"Image name.png","type":"image/png"}]}]}`,
		ticket: `{"data":{"id":110063,"creator":{"id":5,"name":"name","email":"email@email.com"},
			"queue":{"id":1,"name":"queue_name"},"source":{"id":"1","name":"source_name"}}}`,
	},
	"create-ticket":    {endpoint: "POST /tickets", request: `{"title":"x"}`, response: `{"id":110063}`},
	"create-subticket": {endpoint: "POST /tickets/110063/subtickets", response: `{"data":[{"id":"110064"}]}`},
	"change-queue":     {endpoint: putTicket, request: `{"queue_id":"2"}`, response: `{}`, ticket: `{"id":110063,"queue":{"id":1}}`},
	"classify-ticket": {
		endpoint: putTicket, request: `{"classification_ids":[3,6,10,32]}`, ticket: `{"id":110063,"classification_ids":[]}`,
	},
	"reply-ticket": {
		endpoint: reply,
		request: `{"type":"reply","content":"\tHTML text\n<\/p>",
			"from":{"id":15789,"name":"Agent\u00a0Name","address":"username@example.com","external_id":null},
			"attachments":[{"id":641,"url":"image_url","name":"Image name.png","type":"image\/png"}]}`,
		response: `{"id":7}`,
	},
	"close-ticket": {endpoint: putTicket, request: `{"status":3}`, ticket: `{"id":110063,"status":{"id":1}}`},
}

func TestSamplesOfTheVendor(t *testing.T) {
	t.Parallel()
	for _, name := range InstanceEvents() {
		sample := golden(t, name)
		// A reply of an agent is an answer, so what the sample says cannot be in our reply-ticket.
		sample = strings.Replace(sample, `"is_agent": true`, `"is_agent": false`, 1)
		table := mustRules(t, nil)
		x := sampleCalls[name].exchange(t, table)
		var err error
		if x.Time, err = time.Parse("20060102150405", gjson.Get(sample, "events.0.created_at").Str); err != nil {
			t.Fatal(err)
		}
		project := gjson.Get(sample, "events.0.project.name|@this").Str
		if project == "" {
			project = "project_name"
		} else { // the sample's ticket is another project's
			sample = strings.Replace(sample, `"PROJECTNAME-`, `"INSTANCENAME-`, 1)
		}
		// Two of the samples' ids are no base64 of 16 bytes.
		sampleID := gjson.Get(sample, "events.0.id").Str
		id, err := base64.StdEncoding.DecodeString(sampleID)
		if err != nil || len(id) != 16 {
			id = make([]byte, 16)
		}
		sample = strings.Replace(sample, sampleID, base64.StdEncoding.EncodeToString(id), 1)

		events, errs := table.Derive(x, []string{name}, project, bytes.NewReader(id))
		if len(events) != 1 || len(errs) != 0 {
			t.Errorf("%s: got %v, %v", name, events, errs)
			continue
		}
		e := events[0]
		body := `{"events":[` + string(e.Payload) + `]}`
		if got, want := tokens(t, body), tokens(t, sample); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s, want\n%s", name, got, want)
		}
		if e.Name != name || e.Unseen != "" || e.ID != gjson.GetBytes(e.Payload, "id").Str || e.Action != gjson.GetBytes(e.Payload, "action").Str ||
			!strings.Contains(body, `"`+e.Ticket+`"`) {
			t.Errorf("%s: got %+v", name, e)
		}
		if strings.Contains(body, " \"") || strings.Contains(body, `": `) {
			t.Errorf("%s: white space in %s", name, body)
		}
	}
}

// checkShape fails unless got has the keys of a sample in its order, and its types or null, at every place.
func checkShape(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, sample, got gjson.Result, at string,
) {
	t.Helper()
	switch {
	case sample.Type == gjson.Null: // cc, bcc and external_id
	case got.Type == gjson.Null && !sample.IsObject():
	case sample.IsArray():
		if !got.IsArray() {
			t.Fatalf("%s: got %s", at, got.Raw)
		}
		for i, element := range got.Array() {
			checkShape(t, sample.Array()[0], element, fmt.Sprintf("%s.%d", at, i))
		}
	case sample.IsObject():
		if got, want := keys(got), keys(sample); !slices.Equal(got, want) {
			t.Fatalf("%s: got keys %v, want %v", at, got, want)
		}
		sample.ForEach(func(key, member gjson.Result) bool {
			checkShape(t, member, got.Get(key.Str), at+"."+key.Str)
			return true
		})
	case sample.Type == gjson.Number: // ids may be strings
		if got.Type != gjson.Number && got.Type != gjson.String {
			t.Fatalf("%s: got %s", at, got.Raw)
		}
	case sample.IsBool() != got.IsBool() || (sample.Type == gjson.String) != (got.Type == gjson.String):
		t.Fatalf("%s: got %s, want a %s", at, got.Raw, sample.Type)
	}
}

func keys(object gjson.Result) []string {
	var list []string
	object.ForEach(func(key, _ gjson.Result) bool {
		list = append(list, key.Str)
		return true
	})
	return list
}

// checkEvents fails unless every event is valid and has the shape of its sample.
func checkEvents(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, samples map[string]string, events []InstanceEvent,
) {
	t.Helper()
	for _, e := range events {
		if !json.Valid(e.Payload) || !bytes.Equal(e.Payload, bytes.ToValidUTF8(e.Payload, nil)) {
			t.Fatalf("%s is not valid: %q", e.Name, e.Payload)
		}
		got := gjson.ParseBytes(e.Payload)
		checkShape(t, gjson.Get(samples[e.Name], "events.0"), got, e.Name)
		for _, path := range []string{"id", "action", "created_at", "project"} {
			if r := got.Get(path); r.Type == gjson.Null {
				t.Fatalf("%s: %s is null in %s", e.Name, path, e.Payload)
			}
		}
		if e.Name != "create-subticket" && e.Name != e.Action {
			t.Fatalf("%s has action %s", e.Name, e.Action)
		}
	}
}

func goldens(t testing.TB) map[string]string {
	samples := make(map[string]string)
	for _, name := range InstanceEvents() {
		samples[name] = golden(t, name)
	}
	return samples
}

// drawObject draws JSON with the members that events are made of.
func drawObject(t *rapid.T, depth int) string {
	keys := []string{
		"id", "data", "ticket", "reply", "status", "queue", "queue_id", "classification", "classification_ids", "path", "name", "type",
		"is_agent", "message", "content", "text", "from", "user", "creator", "email", "address", "external_id", "to", "cc", "bcc",
		"attachments", "url", "source", "media",
	}
	scalar := rapid.OneOf(
		rapid.SampledFrom([]string{
			"3", `"answer"`, "0", "-3", "12345678901234567890123", "1.5", "true", "false", "null", `""`, `"3"`, `"007"`, `"reply"`, `"1"`, `"3, 6"`,
			`"a@b.c"`, `"\"A, B\" <a@b.c>, c@d.e"`, `"<p>\u00e9\ud83d\ude00</p>"`, `"\ud800"`, "\"\xff\"", `"\u0000\u001f\\\""`, `"a@"`,
		}),
		rapid.Map(rapid.String(), func(s string) string { b, _ := json.Marshal(s); return string(b) }),
	)
	if depth == 0 {
		return scalar.Draw(t, "scalar")
	}
	telling := rapid.SampledFrom([]string{
		`"id":5`, `"status":3`, `"status":{"id":"3"}`, `"queue_id":2`, `"queue":{"id":1}`, `"classification_ids":[3,"6"]`, `"classification":""`,
		`"type":"answer"`, `"is_agent":true`, `"from":{"id":1,"name":"n"}`, `"user":1`, `"creator":{"id":1,"email":"a@b.c"}`,
		`"attachments":[{"id":1,"url":"u"}]`, `"to":["a@b.c"]`,
	})
	var parts []string
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 4 {
		kind = 1
		parts = rapid.SliceOfN(telling, 0, 5).Draw(t, "telling")
	}
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		part := drawObject(t, rapid.IntRange(0, depth-1).Draw(t, "depth"))
		if kind > 0 {
			part = `"` + rapid.SampledFrom(keys).Draw(t, "key") + `":` + part
		}
		parts = append(parts, part)
	}
	if kind == 0 {
		return "[" + strings.Join(parts, ",") + "]"
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestAnyExchangeYieldsPayloadsOfTheSamplesShape(t *testing.T) {
	t.Parallel()
	samples, table := goldens(t), mustRules(t, nil)
	made := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		endpoint := rapid.SampledFrom([]string{"POST /tickets", "POST /tickets/9/subtickets", "PUT /tickets/a@b", "PUT /tickets/9", "POST /tickets/9/replies"})
		method, path, _ := strings.Cut(endpoint.Draw(t, "endpoint"), " ")
		m, _ := table.Match(method, path, false)
		draw := func(name string) Body {
			text := drawObject(t, 4)
			n := rapid.SampledFrom([]int{len(text), len(text), len(text), len(text) / 2}).Draw(t, name)
			return Body{Bytes: []byte(text[:n]), Cut: n < len(text), Type: rapid.SampledFrom([]string{jsonType, ""}).Draw(t, "type")}
		}
		x := &Exchange{Match: m, Time: time.Unix(1_500_000_000, 0), Status: 200, Limit: 1 << 20, Request: draw("request"), Response: draw("response")}
		x.Ticket, _ = ReadTicket(200, draw("ticket"), 1<<20)
		events, _ := table.Derive(x, InstanceEvents(), rapid.String().Draw(t, "project"), endless{})
		checkEvents(t, samples, events)
		for _, e := range events {
			made[e.Name]++
		}
		if got := slices.ContainsFunc(events, func(e InstanceEvent) bool { return e.Name == "answer" }); got != table.NeedsResource(x, InstanceEvents()) {
			t.Fatalf("answer: %v, but the resource is needed: %v", got, !got)
		}
	})
	t.Log(made)
}

func FuzzInstance(f *testing.F) {
	samples, table := goldens(f), mustRules(f, nil)
	for _, c := range sampleCalls {
		f.Add(jsonType, []byte(c.request), jsonType, []byte(c.response), []byte(c.ticket), false)
	}
	form := "application/x-www-form-urlencoded"
	f.Add(form, []byte("type=answer&to[]=a@b.c&to[][email]=d&attachments[0][id]=5&message[content]=%ff%00"), "", []byte(`[`), []byte(`{"data":[`), true)
	f.Add(form, []byte("a[b]=1&a=2&a[]=3&[=4&]=5&a[b][c]=6&.=7&classification_ids[]=3&status.id=3"), "", []byte{}, []byte(`{"id":1}`), false)
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a/b\"\r\n\r\n1\r\n--x--"), "", []byte{}, []byte{}, false)
	f.Fuzz(func(t *testing.T, requestType string, request []byte, responseType string, response, ticket []byte, cut bool) {
		for _, endpoint := range []string{"POST /tickets", "POST /tickets/9/subtickets", putTicket, reply} {
			method, path, _ := strings.Cut(endpoint, " ")
			m, _ := table.Match(method, path, false)
			x := &Exchange{
				Match: m, Status: 200, Limit: 1 << 16,
				Request:  Body{Type: requestType, Bytes: request, Cut: cut},
				Response: Body{Type: responseType, Bytes: response, Cut: cut},
			}
			x.Ticket, _ = ReadTicket(200, Body{Bytes: ticket, Cut: cut}, 1<<16)
			events, _ := table.Derive(x, InstanceEvents(), string(ticket), endless{})
			checkEvents(t, samples, events)
		}
	})
}

func TestOnlyWhatIsWantedIsMade(t *testing.T) {
	t.Parallel()
	table := mustRules(t, nil)
	c := call{endpoint: putTicket, request: `{"status":3,"queue":2,"classification":9}`}
	for _, wanted := range [][]string{
		nil,
		{"answer"},
		{"close-ticket"},
		{"classify-ticket"},
		{"change-queue"},
		{"close-ticket", "change-queue"},
		{"close-ticket", "classify-ticket", "change-queue"},
	} {
		events, errs := table.Derive(c.exchange(t, table), wanted, "p", endless{})
		want := strings.Join(slices.DeleteFunc(slices.Clone(wanted), func(s string) bool { return s == "answer" }), " ")
		if names(events) != want || len(errs) != 0 {
			t.Errorf("%v: got %s, %v", wanted, names(events), errs)
		}
	}
}

func TestEventsHaveIDsOfTheirOwn(t *testing.T) {
	t.Parallel()
	table := mustRules(t, nil)
	x := call{endpoint: putTicket, request: `{"status":3,"queue":2,"classification":9}`}.exchange(t, table)
	random := strings.NewReader(strings.Repeat("a", 16) + strings.Repeat("b", 16))
	events, errs := table.Derive(x, InstanceEvents(), "p", random)
	if len(events) != 2 || events[0].ID != "YWFhYWFhYWFhYWFhYWFhYQ==" || events[1].ID != "YmJiYmJiYmJiYmJiYmJiYg==" {
		t.Errorf("got %+v", events)
	}
	if len(errs) != 1 || !errors.Is(errs[0], io.EOF) || errs[0].Error() != "making id of change-queue: EOF" {
		t.Errorf("got %v", errs)
	}
	if _, errs = table.Derive(x, []string{"close-ticket"}, "p", iotest.ErrReader(io.ErrNoProgress)); len(errs) != 1 || !errors.Is(errs[0], io.ErrNoProgress) {
		t.Errorf("got %v", errs)
	}
}

func TestTimesAreUTC(t *testing.T) {
	t.Parallel()
	if got := sampleCalls["create-ticket"].only(t, "create-ticket").Get("created_at").Str; got != "20170908115131" {
		t.Errorf("got %s", got)
	}
}

func TestPingsHaveWhatAllEventsHave(t *testing.T) {
	t.Parallel()
	got, err := InstancePing("a \"b\"", time.Date(2017, 9, 8, 13, 51, 31, 0, time.FixedZone("CEST", 7200)), strings.NewReader(strings.Repeat("a", 16)))
	if want := `{"id":"YWFhYWFhYWFhYWFhYWFhYQ==","action":"ping","created_at":"20170908115131","project":"a \"b\""}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if _, err := InstancePing("p", time.Time{}, strings.NewReader("")); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func TestInstanceEventNames(t *testing.T) {
	t.Parallel()
	if got := strings.Join(InstanceEvents(), " "); got != "answer create-ticket create-subticket close-ticket classify-ticket change-queue reply-ticket" {
		t.Errorf("got %s", got)
	}
	for _, ok := range [][]string{InstanceEvents(), {"answer"}, {"reply-ticket", "answer"}} {
		if err := CheckInstanceEvents(ok); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	const allowed = ": allowed are answer, create-ticket, create-subticket, close-ticket, classify-ticket, change-queue, reply-ticket"
	for want, bad := range map[string][]string{
		"no events given" + allowed:                                 {},
		`unknown event "Answer"` + allowed:                          {"Answer"},
		`unknown event ""` + allowed:                                {"answer", ""},
		`unknown event "ticket"` + allowed:                          {"answer", "ticket", "answer"},
		`event "answer" is given twice` + allowed + ", each once":   {"answer", "reply-ticket", "answer"},
		`unknown event "` + strings.Repeat("x", 40) + `"` + allowed: {strings.Repeat("x", 100)},
	} {
		if err := CheckInstanceEvents(bad); err == nil || err.Error() != want {
			t.Errorf("%v: got %v", bad, err)
		}
	}
}

func TestTicketReferences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ project, id, want string }{
		{"project_name", "110063", "PROJECTNAME-00110063"},
		{"a-b c.d/e:1", "1", "ABCDE1-00000001"},
		{"p", "12345678", "P-12345678"},
		{"p", "123456789012345678901", "P-123456789012345678901"},
		{"p", "0", "P-00000000"},
		{"größe", "1", "GRÖßE-00000001"},
		{"e\u0301", "1", "E\u0301-00000001"},
		{"", "1", "00000001"},
		{"-_-", "1", "00000001"},
		{"a\xffb", "1", "AB-00000001"},
		{"p", "007", "007"},
		{"p", "-5", "-5"},
		{"p", "1.5", "1.5"},
		{"p", "PROJECTNAME-00110063", "PROJECTNAME-00110063"},
		{"p", "a/b", "a/b"},
		{"p", "", ""},
	} {
		if got := TicketReference(c.project, c.id); got != c.want {
			t.Errorf("%s, %s: got %s, want %s", c.project, c.id, got, c.want)
		}
	}
}
