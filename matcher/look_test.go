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

// Of every field of an answer's payload it is told which candidate it came from, or that it was missing.
func TestLooksOfRecipientsAndAttachmentsTellEachCandidate(t *testing.T) {
	t.Parallel()
	table := mustRules(t, nil)
	x := call{
		endpoint: reply,
		request: `{"type":"answer","content":"text","message":{"to":[{"email":"a@b.c","name":"A"},"d@e.f"]},"cc":"D <d@e.f>",
			"from":{"id":5,"external_id":"x5"}}`,
		response: `{"data":{"id":7,"files":[{"id":641,"filename":"a.png"},642]}}`,
		ticket:   `{"id":110063,"creator":{"name":"C"}}`,
	}.exchange(t, table)
	var looks []string
	x.Looked = func(l Look) { looks = append(looks, fmt.Sprintf("%s %s %s %q", l.For, l.In, l.Source, l.Found)) }
	events, errs := table.Derive(x, []string{answerEvent}, "p", endless{})
	if len(events) != 1 || len(errs) != 0 {
		t.Fatalf("%v, %v", events, errs)
	}
	told := strings.Join(looks, "\n")
	for _, want := range []string{
		"reply.to request to \"\"\nperson.id reply.to id \"\"\nperson.name reply.to name \"A\"\nperson.email reply.to email \"a@b.c\"\n" +
			"person.external_id reply.to external_id \"\"\nreply.to request message.to \"a@b.c, d@e.f\"",
		`reply.cc request cc "d@e.f"`,
		"reply.bcc request bcc \"\"\nreply.bcc request message.bcc \"\"\nreply.bcc response bcc \"\"\nreply.bcc response message.bcc \"\"",
		`person.external_id reply.author external_id "x5"`,
		`reply.attachments response media ""`,
		`attachment.name reply.attachments filename "a.png"`,
		`reply.attachments response files "a.png, 642"`,
		`ticket.creator ticket creator "C"`,
		`ticket.queue.name ticket queue_name ""`,
	} {
		if !strings.Contains(told, want) {
			t.Errorf("%s\nis not among\n%s", want, told)
		}
	}
	x.Looked = nil
	if plain, _ := table.Derive(x, []string{answerEvent}, "p", endless{}); string(plain[0].Payload) != string(events[0].Payload) {
		t.Errorf("unobserved it is %s, observed %s", plain[0].Payload, events[0].Payload)
	}
}
