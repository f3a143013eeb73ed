package matcher

import (
	"time"

	"github.com/tidwall/gjson"
)

// appendHead appends what all instance events begin with.
func appendHead(dst []byte, id, action string, at time.Time) []byte {
	dst = appendString(append(dst, `{"id":`...), id)
	dst = appendString(append(dst, `,"action":`...), action)
	dst = append(dst, `,"created_at":"`...)
	return append(at.UTC().AppendFormat(dst, "20060102150405"), '"')
}

// event makes the event of a rule that fires.
func (d *derivation) event(rule Rule, id string) InstanceEvent {
	e := InstanceEvent{Name: rule.Event, Action: rule.Action, ID: id, Ticket: TicketReference(d.project, d.id)}
	dst := appendHead(nil, id, rule.Action, d.x.Time)
	if rule.When == OnAnswer {
		dst = d.appendAnswer(dst, e.Ticket)
	} else {
		dst = appendString(append(dst, `,"project":`...), d.project)
		dst = appendString(append(dst, `,"body":{"ticket_id":`...), e.Ticket)
		dst = append(d.appendBody(dst, rule), '}')
	}
	if rule.When == OnAnswer || rule.When == OnReply {
		if e.Unseen = d.unseen; e.Unseen == "" {
			e.Unseen = d.unheard
		}
	}
	e.Payload = append(dst, '}')
	return e
}

// appendBody appends what follows the ticket in the body of all events but answer.
func (d *derivation) appendBody(dst []byte, rule Rule) []byte {
	switch rule.Event {
	case createSubticketEvent:
		dst = appendText(append(dst, `,"parentId":`...), TicketReference(d.project, d.parent))
	case closeTicketEvent:
		dst = append(dst, `,"status":`+closed...)
	case classifyTicketEvent:
		c := d.change(ticketClassification, parseIDs)
		dst = appendReading(append(dst, `,"previous_classification":`...), c.before)
		dst = appendReading(append(dst, `,"new_classification":`...), c.after)
	case changeQueueEvent:
		c := d.change(ticketQueueID, parseID)
		dst = appendValue(append(dst, `,"previous_queue":`...), NewValue(c.before.text))
		dst = appendValue(append(dst, `,"new_queue":`...), NewValue(c.after.text))
	case replyTicketEvent:
		dst = d.appendReply(dst)
	}
	return dst
}

func (d *derivation) appendReply(dst []byte) []byte {
	from := d.author()
	dst = appendReading(append(dst, `,"message":{"content":`...), d.called(replyText, parseText))
	dst = appendValue(append(dst, `,"from":{"id":`...), NewValue(from.id))
	dst = appendText(append(dst, `,"name":`...), from.name)
	dst = appendText(append(dst, `,"address":`...), from.email)
	dst = appendAsIs(append(dst, `,"external_id":`...), from.externalID)
	dst = append(dst, `,"is_agent":false}`...) // or it were an answer
	dst = append(d.appendAttachments(append(dst, `,"attachments":`...)), '}')
	return dst
}

func (d *derivation) appendAnswer(dst []byte, ticket string) []byte {
	user := d.author()
	dst = appendString(append(dst, `,"resource":`...), ticket)
	dst = appendText(append(dst, `,"type":"ticket","user":{"name":`...), user.name)
	dst = appendText(append(dst, `,"identifier":`...), user.email)
	dst = appendReading(append(dst, `},"action_data":{"text":`...), d.called(replyText, parseText))
	dst = appendPeople(append(dst, `,"to":`...), d.recipients(replyTo))
	dst = appendPeople(append(dst, `,"cc":`...), d.recipients(replyCC))
	dst = appendPeople(append(dst, `,"bcc":`...), d.recipients(replyBCC))
	dst = d.appendResource(append(dst, `},"resource_data":`...))
	dst = appendString(append(dst, `,"project":{"name":`...), d.project)
	return d.appendAttachments(append(dst, `},"attachments":`...))
}

// appendResource appends what is told of the ticket that was answered.
func (d *derivation) appendResource(dst []byte) []byte {
	part := func(field string) string { return d.read(d.ticket, field, parseText).text }
	var creator person
	for _, c := range d.fields[ticketCreator] {
		creator = d.person(ticketCreator, d.result(d.ticket, c))
		d.x.look(ticketCreator, d.ticket.name, c, creator.text())
		if creator.known() {
			break
		}
	}
	dst = appendText(append(dst, `{"creator":{"name":`...), creator.name)
	dst = appendText(append(dst, `,"identifier":`...), creator.email)
	dst = appendValue(append(dst, `},"queue":{"id":`...), NewValue(part(ticketQueueID)))
	dst = appendText(append(dst, `,"name":`...), part(ticketQueueName))
	dst = appendValue(append(dst, `},"source":{"id":`...), NewValue(part(ticketSourceID)))
	dst = appendText(append(dst, `,"name":`...), part(ticketSourceName))
	return append(dst, `}}`...)
}

func (d *derivation) appendAttachments(dst []byte) []byte {
	list, known := d.attachments()
	if !known {
		return append(dst, "null"...)
	}
	dst = append(dst, '[')
	for i, a := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(append(dst, `{"id":`...), a.id)
		dst = appendText(append(dst, `,"url":`...), a.url)
		dst = appendText(append(dst, `,"name":`...), a.name)
		dst = append(appendText(append(dst, `,"type":`...), a.contentType), '}')
	}
	return append(dst, ']')
}

// appendPeople appends null for nobody, as the vendor's sample does.
func appendPeople(dst []byte, people []person) []byte {
	if len(people) == 0 {
		return append(dst, "null"...)
	}
	for i, p := range people {
		dst = appendText(append(append(dst, "[,"[min(i, 1)]), `{"email":`...), p.email)
		dst = append(appendText(append(dst, `,"name":`...), p.name), '}')
	}
	return append(dst, ']')
}

// appendText appends a string; null if it is empty.
func appendText(dst []byte, text string) []byte {
	return appendReading(dst, reading{text, text != ""})
}

// appendReading appends a string; null if nothing was there.
func appendReading(dst []byte, r reading) []byte {
	if !r.there {
		return append(dst, "null"...)
	}
	return appendString(dst, r.text)
}

// appendAsIs appends a string as a string and an integer as a number; null for anything else.
func appendAsIs(dst []byte, r gjson.Result) []byte {
	if r.Type == gjson.Number && isInteger(r.Raw) {
		return append(dst, r.Raw...)
	}
	return appendText(dst, parseText(r).text)
}
