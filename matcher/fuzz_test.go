package matcher

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzDerive takes anything for an exchange. What comes out is an event of six keys in order, or one of the errors
// that are documented.
func FuzzDerive(f *testing.F) {
	actor := make([]Source, 0, 4)
	for _, text := range []string{"{benti.jwt.sub}", "{benti.response.creator.id}", "{benti.request.actor}", "{benti.path.ticketId}"} {
		s, err := ParseSource(text)
		if err != nil {
			f.Fatal(err)
		}
		actor = append(actor, s)
	}
	table, err := NewTable("", Rows())
	if err != nil {
		f.Fatal(err)
	}
	form := "application/x-www-form-urlencoded"
	f.Add("POST", "/media", 201, bearer(`{"sub":"u"}`), jsonType, "", []byte(`{"ticket_id":1}`), jsonType, "", []byte(`{"id":2,"id":3}`), "", false)
	f.Add("PUT", "/tickets/a%2Fb", 204, "Bearer x", form, "gzip", []byte(`a=b`), "", "deflate, br", []byte{0x78, 1}, "/x/%zz", true)
	f.Add("POST", "/tickets/1/replies", 200, "", "", "", []byte(`[`), "text/json", "identity", []byte(`{"errors":{"id":1},"data":[{"id":"\ud800"}]}`), "https://h/9?x#y", true)
	f.Fuzz(func(t *testing.T, method, path string, status int, authorization, requestType, requestEncoding string, request []byte,
		responseType, responseEncoding string, response []byte, location string, cut bool,
	) {
		m, ok := table.Match(method, path, true)
		if !ok {
			return
		}
		x := &Exchange{
			Match: m, Status: status, Limit: 1 << 16, Time: time.Unix(1660834225, 0), Authorization: authorization,
			Header:   http.Header{"Location": {location}},
			Request:  Body{Type: requestType, Encoding: requestEncoding, Bytes: request, Cut: cut},
			Response: Body{Type: responseType, Encoding: responseEncoding, Bytes: response, Cut: cut},
		}
		e, err := x.Derive(actor)
		if u := new(Underivable); errors.As(err, &u) {
			switch u.Reason {
			case ReasonNoID, ReasonUndecodable, ReasonInvalid, ReasonTooLong:
				return
			}
		}
		switch {
		case errors.Is(err, ErrNoChange):
			return
		case err != nil:
			t.Fatal(err)
		}
		payload := e.AppendJSON(nil)
		if !json.Valid(payload) || !strings.HasPrefix(string(payload), `{"id":`) || string(e.ID) == "null" {
			t.Fatalf("payload %q", payload)
		}
		at := 0
		for _, key := range []string{`"id":`, `"item":`, `"action":`, `"timestamp":`, `"actor":`, `"parent":`} {
			i := strings.Index(string(payload[at:]), key)
			if i < 0 {
				t.Fatalf("payload %q lacks %s in its place", payload, key)
			}
			at += i
		}
	})
}

// FuzzParseSource takes any text for a source of the configuration: what is accepted is written as it was given, and
// looking it up in hostile bodies ends.
func FuzzParseSource(f *testing.F) {
	for _, text := range []string{
		"{benti.request.a.b}", "{benti.response.@fromstr|a}", "{benti.path.x}", `{benti.jwt.a\.b}`, "{http.request.uuid}", "x{y}z", "{{}}", `\{`, "{benti.tenant}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSource(text)
		if err != nil {
			return
		}
		if again, err := ParseSource(s.String()); err != nil || again != s {
			t.Fatalf("%q is written as %q: %v", text, s, err)
		}
		if _, ok := s.Param(); ok && s.ReadsRequest() {
			t.Fatalf("%q is in the path and the body", text)
		}
		x := &Exchange{
			Limit: 1 << 10, Authorization: bearer(`{"a":{"b":[1,"2"]}}`),
			Request: Body{Bytes: []byte(`{"a":{"b":[{"c":"[[\"x\"]]"}]}}`)}, Response: Body{Bytes: []byte(`[{"a":1},{"a":"{}"}]`)},
		}
		if len(text) < 64 { // paths are the operator's
			x.find(s)
		}
	})
}
