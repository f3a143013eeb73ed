package matcher

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const jsonType = "application/json"

// exchange is a call of the vendor's table that was answered with 200 and a body of JSON.
func exchange(t testing.TB, method, path, response string, rows ...Row) *Exchange {
	t.Helper()
	m, ok := mustTable(t, "", append(Rows(), rows...)...).Match(method, path, false)
	if !ok {
		t.Fatalf("%s %s does not match", method, path)
	}
	return &Exchange{
		Match: m, Time: time.Unix(1660834225, 999_999_999), Status: 200, Limit: 1 << 20,
		Response: Body{Type: jsonType, Bytes: []byte(response)},
	}
}

func sources(t testing.TB, texts ...string) []Source {
	t.Helper()
	var list []Source
	for _, text := range texts {
		s, err := ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// derived is the payload, or the error's text.
func derived(x *Exchange, actor ...Source) string {
	e, err := x.Derive(actor)
	var u *Underivable
	switch {
	case errors.As(err, &u):
		return u.Item + " " + u.Reason
	case err != nil:
		return err.Error()
	}
	return string(e.AppendJSON(nil))
}

func TestEveryEndpointYieldsItsPayload(t *testing.T) {
	t.Parallel()
	const tail = `"timestamp":1660834225,"actor":4014,`
	for call, want := range map[string]string{
		"POST /tickets/100/alerts":     `{"id":200,"item":"alert","action":"add",` + tail + `"parent":100}`,
		"POST /tickets":                `{"id":200,"item":"ticket","action":"add",` + tail + `"parent":null}`,
		"POST /tickets/100/subtickets": `{"id":200,"item":"ticket","action":"add",` + tail + `"parent":100}`,
		"PUT /tickets/100":             `{"id":100,"item":"ticket","action":"update",` + tail + `"parent":null}`,
		"POST /tickets/100/replies":    `{"id":200,"item":"reply","action":"add",` + tail + `"parent":100}`,
		"POST /users":                  `{"id":200,"item":"user","action":"add",` + tail + `"parent":null}`,
		"PUT /users/u-7":               `{"id":"u-7","item":"user","action":"update",` + tail + `"parent":null}`,
		"POST /media":                  `{"id":200,"item":"media","action":"add",` + tail + `"parent":300}`,
		"POST /classifications":        `{"id":200,"item":"classification","action":"add",` + tail + `"parent":null}`,
		"DELETE /classifications/007":  `{"id":"007","item":"classification","action":"remove",` + tail + `"parent":null}`,
		"POST /queues":                 `{"id":200,"item":"queue","action":"add",` + tail + `"parent":null}`,
		"PUT /queues/9":                `{"id":9,"item":"queue","action":"update",` + tail + `"parent":null}`,
	} {
		method, path, _ := strings.Cut(call, " ")
		x := exchange(t, method, path, `{"id":200,"ticket_id":300}`)
		x.Authorization = bearer(`{"user_id":4014}`)
		if got := derived(x, sources(t, "{benti.jwt.user_id}")...); got != want {
			t.Errorf("%s: got %s, want %s", call, got, want)
		}
	}
}

func TestIDCandidatesInOrder(t *testing.T) {
	t.Parallel()
	candidates := []struct{ body, want string }{
		{`{"id":1}`, "1"},
		{`{"data":{"id":2}}`, "2"},
		{`{"data":[{"id":3},{"id":4}]}`, "3"},
		{`{"ticket":{"id":5}}`, "5"},
		{`{"ticket_id":6}`, "6"},
		{`{"uuid":"a-b"}`, `"a-b"`},
		{`{"data":{"uuid":"c-d"}}`, `"c-d"`},
		{`{}`, "77"}, // the Location header
		{`{"id":null,"data":{"id":true},"uuid":"u"}`, `"u"`},
		{`{"id":{"id":1},"data":[],"ticket":{"id":""},"ticket_id":"8"}`, "8"},
		{`{"id":"` + strings.Repeat("x", maxText+1) + `","uuid":"u"}`, `"u"`},
		{`{"uuid":"u","data":{"uuid":"v","id":2},"ticket":{"id":5},"ticket_id":6}`, "2"},
		{`{"uuid":"u","ticket_id":6,"id":1,"data":{"id":2}}`, "1"},
		{`{"reply":{"id":5},"reply_id":6}`, "77"},
	}
	for _, c := range candidates {
		x := exchange(t, "POST", "/tickets", c.body)
		x.Header = http.Header{"Location": {"/v1/tickets/77"}}
		if e, err := x.Derive(nil); err != nil || string(e.ID) != c.want {
			t.Errorf("%.60s: got %s, %v; want %s", c.body, e.ID, err, c.want)
		}
	}
}

func TestIDsFromLocation(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"/v1/tickets/77": "77", "https://host/v1/tickets/77/?a=/1#/2": "77", "77": "77", "../77": "77", "/tickets/77//": "77",
		"/tickets/a%2Fb%20c": `"a/b c"`, "/tickets/007": `"007"`, "//host/77": "77",
		"": "", "/": "", "https://host": "", "https://host/": "", "?id=77": "", "#77": "", "/tickets/..": "", "/tickets/%2e": "",
		"/tickets/%zz": "", "/tickets/%00": "", "urn:uuid:77": "", "\x00": "", "/" + strings.Repeat("7", maxPath): "",
	} {
		x := exchange(t, "POST", "/tickets", "")
		x.Status, x.Header = 201, http.Header{"Location": {location}}
		e, err := x.Derive(nil)
		if string(e.ID) != want || (err == nil) != (want != "") {
			t.Errorf("%.40q: got %s, %v; want %s", location, e.ID, err, want)
		}
	}
}

func TestMediaParentCandidatesInOrder(t *testing.T) {
	t.Parallel()
	multipartType, multipartBytes := multipartBody(t, "file:a.png", "\x89PNG", "ticketId", "2")
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct{ contentType, request, response, want string }{
		{jsonType, `{"ticket":3,"ticketId":2,"ticket_id":1}`, `{"id":9,"ticket_id":4}`, "1"},
		{jsonType, `{"ticket":3,"ticketId":2}`, `{"id":9,"ticket_id":4}`, "2"},
		{jsonType, `{"ticket":"3"}`, `{"id":9,"ticket_id":4}`, "3"},
		{jsonType, `{"ticket":{"id":3}}`, `{"id":9,"ticket":6,"ticketId":5,"ticket_id":4}`, "4"},
		{jsonType, `{}`, `{"id":9,"ticket":6,"ticketId":5}`, "5"},
		{jsonType, `{`, `{"id":9,"ticket":6}`, "6"},
		{"", ``, `{"id":9}`, ""},
		{form + "; charset=utf-8", `a=1&ticket_id=1`, `{"id":9}`, "1"},
		{multipartType, multipartBytes, `{"id":9}`, "2"},
		{"text/plain", ` {"ticket_id":1}`, `{"id":9}`, "1"},
		{"text/plain", `ticket_id=1`, `{"id":9}`, ""},
		{"multipart/form-data; boundary=application/json", `{"ticket_id":1}`, `{"id":9}`, ""},
	} {
		x := exchange(t, "POST", "/media", c.response)
		x.Request = Body{Type: c.contentType, Bytes: []byte(c.request)}
		if e, err := x.Derive(nil); err != nil || string(e.Parent) != c.want {
			t.Errorf("%s %s: got %s, %v; want %s", c.contentType, c.request, e.Parent, err, c.want)
		}
	}
}

func TestAFieldBeforeACutFileIsStillTheParent(t *testing.T) {
	t.Parallel()
	contentType, body := multipartBody(t, "ticketId", "2", "file:a.png", strings.Repeat("\x89PNG\r\n", 10_000))
	x := exchange(t, "POST", "/media", `{"id":9}`)
	x.Request = Body{Type: contentType, Bytes: []byte(body[:len(body)/2]), Cut: true}
	if e, err := x.Derive(nil); err != nil || e.Parent != "2" {
		t.Errorf("got %s, %v", e.Parent, err)
	}
}

func TestFailedCallsAreNoChange(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, 100, 101, 199, 300, 301, 304, 400, 404, 500} {
		x := exchange(t, "PUT", "/tickets/5", `{"id":1}`)
		x.Status = status
		if _, err := x.Derive(nil); !errors.Is(err, ErrNoChange) {
			t.Errorf("%d: got %v", status, err)
		}
	}
	for _, status := range []int{200, 201, 202, 204, 299} {
		x := exchange(t, "PUT", "/tickets/5", "")
		x.Status = status
		if got, err := x.Derive(nil); err != nil || got.ID != "5" {
			t.Errorf("%d: got %v", status, err)
		}
	}
	for _, encoding := range allEncodings {
		x := exchange(t, "PUT", "/tickets/5", "")
		x.Response.Encoding = header(encoding)
		x.Response.Bytes = encode(t, encoding, []byte(`{"id":1,"error":{"code":7}}`))
		if _, err := x.Derive(nil); !errors.Is(err, ErrNoChange) {
			t.Errorf("%q: got %v", encoding, err)
		}
	}
}

func TestUnderivableSaysWhy(t *testing.T) {
	t.Parallel()
	fromForm := Row{Item: "media", Action: "add", Method: "POST", Path: "/files", ID: sources(t, "{benti.request.id}")}
	for _, c := range []struct {
		path              string
		request, response Body
		want              string
	}{
		{"/tickets", Body{}, Body{}, "ticket no_id"},
		{"/tickets", Body{}, Body{Bytes: []byte(`{"id":true}`)}, "ticket no_id"},
		{"/tickets", Body{}, Body{Type: "text/html", Bytes: []byte("<html>"), Cut: true}, "ticket no_id"},
		{"/tickets", Body{}, Body{Type: jsonType, Bytes: []byte("<html>")}, "ticket invalid"},
		{"/tickets", Body{}, Body{Bytes: []byte(strings.Repeat("[", 1_000_000))}, "ticket invalid"},
		{"/tickets", Body{}, Body{Encoding: "gzip", Bytes: []byte(`{"id":1}`)}, "ticket undecodable"},
		{"/tickets", Body{}, Body{Encoding: "nope", Bytes: []byte(`{"id":1}`)}, "ticket undecodable"},
		{"/tickets", Body{}, Body{Bytes: []byte(`{"id":12`), Cut: true}, "ticket too_long"},
		{"/tickets", Body{}, Body{Bytes: []byte(` `), Cut: true}, "ticket too_long"},
		{"/files", Body{Encoding: "nope", Bytes: []byte("x")}, Body{Bytes: []byte(`{"id":1}`)}, "media undecodable"},
		{"/files", Body{Type: "multipart/form-data", Bytes: []byte("x")}, Body{}, "media invalid"},
		{"/files", Body{Bytes: []byte(`{"a":1,`), Cut: true}, Body{}, "media too_long"},
	} {
		x := exchange(t, "POST", c.path, "", fromForm)
		x.Request, x.Response = c.request, c.response
		if got := derived(x); got != c.want {
			t.Errorf("%s %+v %.40q: got %s, want %s", c.path, c.request, c.response.Bytes, got, c.want)
		}
	}
}

func TestABodyThatCannotBeReadDoesNotStopAnIDFromThePath(t *testing.T) {
	t.Parallel()
	for _, b := range []Body{
		{Encoding: "nope", Bytes: []byte(`{"error":1}`)},
		{Type: jsonType, Bytes: []byte(`{"error":1`)},
		{Type: jsonType, Bytes: []byte(strings.Repeat(`{"error":`, 1_000_000))},
		{Bytes: []byte(`{"error":{"code":1`), Cut: true},
		{Type: "text/html", Bytes: []byte("<html>")},
	} {
		x := exchange(t, "PUT", "/tickets/5", "")
		x.Response = b
		if e, err := x.Derive(nil); err != nil || e.ID != "5" {
			t.Errorf("%.40q: got %s, %v", b.Bytes, e.ID, err)
		}
	}
}

func TestActorIsTheFirstFound(t *testing.T) {
	t.Parallel()
	known := map[string]string{"{http.auth.user.id}": "bob", "{empty}": "", "robot": "robot"}
	for want, list := range map[string][]string{
		`"bob"`:   {"{empty}", "{unknown}", "{http.auth.user.id}", "{benti.jwt.sub}"},
		"7":       {"{benti.jwt.none}", "{benti.jwt.sub}", "{http.auth.user.id}"},
		"8":       {"{benti.response.actor}", "{benti.response.creator.id}"},
		"9":       {"{benti.request.creator}"},
		"5":       {"{benti.path.none}", "{benti.path.ticketId}"},
		`"robot"`: {"robot"},
		"":        {"{unknown}", "{benti.request.ok}"},
	} {
		x := exchange(t, "PUT", "/tickets/5", `{"creator":{"id":8}}`)
		x.Request = Body{Type: jsonType, Bytes: []byte(`{"creator":"9","ok":true}`)}
		x.Authorization = bearer(`{"sub":"7"}`)
		x.External = func(text string) (string, bool) { v, ok := known[text]; return v, ok }
		if e, err := x.Derive(sources(t, list...)); err != nil || string(e.Actor) != want {
			t.Errorf("%v: got %s, %v; want %s", list, e.Actor, err, want)
		}
		x.External = nil
		if _, err := x.Derive(sources(t, list...)); err != nil {
			t.Errorf("without External: %v", err)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	x := exchange(t, "PUT", "/tickets/5", `{"a":[{"b":1.50}],"long":"`+strings.Repeat("x", 2*maxText)+`","empty":"","obj":{}}`)
	x.Request = Body{Type: "application/x-www-form-urlencoded", Bytes: []byte("ticket[id]=007")}
	x.Authorization = bearer(`{"sub":"u"}`)
	for key, want := range map[string]string{
		"benti.request.ticket.id": "007", "benti.response.a.0.b": "1.50", "benti.response.a.#.b|0": "1.50", "benti.path.ticketId": "5",
		"benti.jwt.sub": "u", "benti.response.long": strings.Repeat("x", 2*maxText),
		"benti.response.empty": "", "benti.response.obj": "", "benti.response.none": "", "benti.path.none": "", "benti.tenant": "", "benti.": "",
		"": "", "http.request.method": "", "benti.request": "", "request.ticket.id": "",
	} {
		if got, ok := x.Lookup(key); got != want || ok != (want != "") {
			t.Errorf("%s: got %.20q, %v", key, got, ok)
		}
	}
}

func TestSourcesThatCountAreNotTrustedInACutBody(t *testing.T) {
	t.Parallel()
	row := Row{Item: "media", Action: "add", Method: "POST", Path: "/media", ID: sources(t, "{benti.response.list.#}")}
	x := exchange(t, "POST", "/media", `{"list":[1,2,3]}`, row)
	if got := derived(x); !strings.HasPrefix(got, `{"id":3,`) {
		t.Errorf("whole: %s", got)
	}
	x = exchange(t, "POST", "/media", `{"list":[1,2,3]}`, row)
	x.Response.Bytes, x.Response.Cut = x.Response.Bytes[:13], true
	if got := derived(x); got != "media too_long" {
		t.Errorf("cut: %s", got)
	}
}

// checkCuts fails if any cut of a response, on the wire or by the limit, yields a value at one of the
// places of an id that is not there in all of it: half a number, or half a string.
func checkCuts(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, x Exchange, decodedLength int,
) {
	t.Helper()
	places := x.Match.Row.ID
	whole := make([]string, len(places))
	for i, place := range places {
		whole[i] = x.find(place)
	}
	wire := x.Response
	check := func(x Exchange, how string, at int) {
		x.response, x.request = nil, nil
		for i, place := range places {
			if got := x.find(place); got != "" && got != whole[i] {
				t.Fatalf("%q, %s at %d: %s instead of %q at %s", wire.Bytes, how, at, got, whole[i], place)
			}
		}
	}
	for i := range wire.Bytes {
		x.Response.Bytes, x.Response.Cut = wire.Bytes[:i], true
		check(x, "cut", i)
	}
	x.Response = wire
	for i := range decodedLength {
		x.Limit = i
		check(x, "limited", i)
	}
}

func TestACutBodyNeverYieldsAnotherValue(t *testing.T) {
	t.Parallel()
	bodies := []string{
		`{"id":123456}`, `{"id":"12\"34"}`, `{"uuid":"u","id":5}`, `{"data":{"id":2},"id":5}`, `{"data":[{"id":3}],"ticket_id":1}`,
		`{"id":1,"id":2}`, `{"data":{"x":1},"data":{"id":2}}`, "\ufeff{\"id\":5}", `[{"id":1}]`, `{"x":1}`, "   {\"id\" : 5 } ", `"{\"id\":9}"`,
		`{"id":{"id":1},"uuid":7}`, `{"error":[],"id":4}`, `{"text":"{\"id\":1","id":2}`, `{"id":1e5}`, `{"id":-12}`, "<html>",
	}
	for _, body := range bodies {
		for _, contentType := range []string{jsonType, "", "text/html"} {
			for _, encoding := range allEncodings {
				x := exchange(t, "POST", "/tickets", "")
				x.Header = http.Header{"Location": {"/tickets/99"}}
				x.Response = Body{Type: contentType, Encoding: header(encoding), Bytes: encode(t, encoding, []byte(body))}
				checkCuts(t, *x, len(body))
			}
		}
	}
}

func TestACutBodyYieldsTheIDSeenFirst(t *testing.T) {
	t.Parallel()
	for cut, want := range map[string]string{
		`{"id":12,"text":"aaa`: "12", `{"id":"x"`: `"x"`, `{"a":{"b":[1]},"id":12}`: "12", `{"id":12,"data":[{"id":1`: "12",
		`{"id":12`: "", `{"data":{"id":12},`: "12", `{"data":{"id":12,"x":"aaa`: "12", `{"uuid":"u",`: `"u"`, `{"data":[{"id":7},{"id":8`: "7",
	} {
		x := exchange(t, "POST", "/tickets", cut)
		x.Response.Cut = true
		if e, err := x.Derive(nil); string(e.ID) != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %s, %v", cut, e.ID, err)
		}
	}
}

func TestACutOfAnyBodyNeverYieldsAnotherValue(t *testing.T) {
	t.Parallel()
	x := exchange(t, "POST", "/tickets", "")
	x.Header = http.Header{"Location": {"/tickets/99"}}
	rapid.Check(t, func(t *rapid.T) {
		body := drawJSON(t, 4)
		y := *x
		y.Response.Bytes = []byte(body)
		checkCuts(t, y, len(body))
	})
}

func TestACutFormNeverYieldsAnotherValue(t *testing.T) {
	t.Parallel()
	row := Row{Item: "media", Action: "add", Method: "POST", Path: "/media", ID: sources(t, "{benti.request.a.id}", "{benti.request.id}", "{benti.response.id}")}
	x := exchange(t, "POST", "/media", `{"id":99}`, row)
	pair := rapid.SampledFrom([]string{"id=1", "id=23", "a[id]=56", "a%5Bid%5D=7", "id", "a=%", "x=id=8", ""})
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Join(rapid.SliceOfN(pair, 0, 6).Draw(t, "pairs"), "&")
		y := *x
		y.Request = Body{Type: "application/x-www-form-urlencoded", Bytes: []byte(body)}
		for i := range body {
			z := *x
			z.Request = Body{Type: y.Request.Type, Bytes: []byte(body[:i]), Cut: true}
			for _, place := range row.ID[:2] {
				if got := z.find(place); got != "" && got != y.find(place) {
					t.Fatalf("%s cut at %d: %s instead of %s at %s", body, i, got, y.find(place), place)
				}
			}
		}
	})
}

func BenchmarkDerive(b *testing.B) {
	match, ok := mustTable(b, "", Rows()...).Match("POST", "/v1/tickets", false)
	if !ok {
		b.Fatal("no row matches")
	}
	x := Exchange{
		Match: match, Time: time.Unix(1_660_834_225, 0), Status: 201, Limit: 1 << 20,
		Request:  Body{Type: "application/json", Bytes: []byte(`{"title":"Printer on fire","creator":4014}`)},
		Response: Body{Type: "application/json", Bytes: []byte(`{"id":200}`)},
	}
	b.ReportAllocs()
	for b.Loop() {
		exchange := x
		event, err := exchange.Derive(nil)
		if err != nil {
			b.Fatal(err)
		}
		event.AppendJSON(nil)
	}
}
