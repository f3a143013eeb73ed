package matcher

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestLooksTellWhatWasLookedAtInOrder(t *testing.T) {
	t.Parallel()
	table, err := NewTable("", Rows())
	if err != nil {
		t.Fatal(err)
	}
	match, ok := table.Match("POST", "/tickets/9/replies", true)
	if !ok {
		t.Fatal("no match")
	}
	var looks []string
	x := Exchange{
		Match: match, Status: 201, Limit: 1 << 10, Header: http.Header{},
		Response: Body{Type: "application/json", Bytes: []byte(`{"id":{},"data":{"id":"` + strings.Repeat("x", maxText+1) + `"},"reply":{"id":7}}`)},
		Looked:   func(l Look) { looks = append(looks, fmt.Sprintf("%s %s %q", l.For, l.Source, l.Found)) },
	}
	x.Limit = 1 << 20
	plain := x
	plain.Looked = nil
	actor := []Source{{fromRequest, "creator"}, {kind: external, text: "4"}}
	x.External = func(text string) (string, bool) { return text, true }
	plain.External = x.External
	got, err := x.Derive(actor)
	want, plainErr := plain.Derive(actor)
	if err != nil || plainErr != nil || got != want {
		t.Fatalf("derived %+v, %v; unobserved %+v, %v", got, err, want, plainErr)
	}
	const all = `id {benti.response.id} ""
id {benti.response.data.id} ""
id {benti.response.data.0.id} ""
id {benti.response.reply.id} "7"
actor {benti.request.creator} ""
actor 4 "4"
parent {benti.path.ticketId} "9"`
	if told := strings.Join(looks, "\n"); told != all {
		t.Errorf("looks:\n%s\nwant:\n%s", told, all)
	}
}

func TestLooksOfInstanceEventsNameTheDocument(t *testing.T) {
	t.Parallel()
	table, err := NewRuleTable("", nil)
	if err != nil {
		t.Fatal(err)
	}
	match, _ := table.Match("PUT", "/tickets/9", true)
	ticket, _ := ReadTicket(200, Body{Type: "application/json", Bytes: []byte(`{"id":9,"queue":{"id":3}}`)}, 1<<10)
	var looks []string
	x := Exchange{
		Match: match, Status: 200, Limit: 1 << 10, Header: http.Header{}, Ticket: ticket,
		Request: Body{Type: "application/json", Bytes: []byte(`{"queue":4}`)},
		Looked:  func(l Look) { looks = append(looks, fmt.Sprintf("%s %s %s %q", l.For, l.In, l.Source, l.Found)) },
	}
	events, errs := table.Derive(&x, []string{changeQueueEvent}, "p", strings.NewReader(strings.Repeat("r", 16)))
	if len(events) != 1 || len(errs) != 0 {
		t.Fatalf("%v, %v", events, errs)
	}
	const all = `id  {benti.path.ticketId} "9"
ticket.queue.id ticket queue.id "3"
ticket.queue.id request queue.id ""
ticket.queue.id request queue_id ""
ticket.queue.id request queue "4"`
	if told := strings.Join(looks[:min(len(looks), 5)], "\n"); told != all { // some are read again for the payload
		t.Errorf("looks:\n%s\nwant:\n%s", told, all)
	}
}
