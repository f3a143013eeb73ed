package matcher

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The names of the fields.
const (
	ticketID             = "ticket.id"
	ticketStatus         = "ticket.status"
	ticketClassification = "ticket.classification"
	ticketQueueID        = "ticket.queue.id"
	ticketQueueName      = "ticket.queue.name"
	ticketCreator        = "ticket.creator"
	ticketSourceID       = "ticket.source.id"
	ticketSourceName     = "ticket.source.name"
	replyType            = "reply.type"
	replyIsAgent         = "reply.is_agent"
	replyText            = "reply.text"
	replyAuthor          = "reply.author"
	replyTo              = "reply.to"
	replyCC              = "reply.cc"
	replyBCC             = "reply.bcc"
	replyAttachments     = "reply.attachments"
	personID             = "person.id"
	personName           = "person.name"
	personEmail          = "person.email"
	personExternalID     = "person.external_id"
	attachmentID         = "attachment.id"
	attachmentURL        = "attachment.url"
	attachmentName       = "attachment.name"
	attachmentType       = "attachment.type"
)

// Places where fields are looked for, see [Field].
const (
	inResponse   = "response"
	inCall       = "request, response"
	inAnswer     = "response, request"
	inChange     = "request, response; before"
	inTicket     = "ticket"
	inPerson     = "ticket.creator, reply.author, reply.to, reply.cc, reply.bcc"
	inAttachment = "reply.attachments"
)

// Field is something that instance events are made of, and where it may stand.
type Field struct {
	Name string
	// Candidates are gjson paths; the first that leads to a value wins. All of them are tried at one place
	// before the next place is looked at. Placeholders as [ParseSource] takes them are allowed too, except for
	// the parts of persons and attachments.
	//
	// In a response or ticket without an id at the top, paths begin inside of what wraps the object: data, its
	// first element, or else the member ticket or reply; one that begins with the name of the wrapping and a
	// dot begins at the top. For ticket.id all begin at the top, and unless they are overridden, the last
	// segment of the Location header comes behind them.
	Candidates []string
	// In are the places, in the order in which they are looked at: the request and response of the call,
	// the ticket as read through the API, which for a change is the one "before", or the other fields of which
	// this is a part.
	In string
}

// Fields returns all fields with their default candidates, a new copy each time.
func Fields() []Field {
	return []Field{
		{ticketID, []string{"id", "data.id", "data.0.id", "ticket.id", "ticket_id", "uuid", "data.uuid"}, inResponse},
		{ticketStatus, []string{"status.id", "status"}, inChange},
		{ticketClassification, []string{"classification.path", "classification_ids", "classification_id", "classification.id", "classification"}, inChange},
		{ticketQueueID, []string{"queue.id", "queue_id", "queue"}, inChange + "; ticket"},
		{ticketQueueName, []string{"queue.name", "queue_name"}, inTicket},
		{ticketCreator, []string{"creator"}, inTicket},
		{ticketSourceID, []string{"source.id", "source_id", "source"}, inTicket},
		{ticketSourceName, []string{"source.name", "source_name"}, inTicket},
		{replyType, []string{"type"}, inCall},
		{replyIsAgent, []string{"is_agent", "from.is_agent", "user.is_agent", "creator.is_agent", "message.from.is_agent"}, inCall},
		{replyText, []string{"message.content", "content", "text", "message"}, inCall},
		{replyAuthor, []string{"from", "user", "creator", "message.from"}, inCall},
		{replyTo, []string{"to", "message.to"}, inCall},
		{replyCC, []string{"cc", "message.cc"}, inCall},
		{replyBCC, []string{"bcc", "message.bcc"}, inCall},
		{replyAttachments, []string{"attachments", "message.attachments", "media", "files", "file"}, inAnswer},
		{personID, []string{"id"}, inPerson},
		{personName, []string{"name"}, inPerson},
		{personEmail, []string{"email", "address", "identifier"}, inPerson},
		{personExternalID, []string{"external_id"}, inPerson},
		{attachmentID, []string{"id", "uuid"}, inAttachment},
		{attachmentURL, []string{"url"}, inAttachment},
		{attachmentName, []string{"name", "filename"}, inAttachment},
		{attachmentType, []string{"type", "mime_type", "content_type"}, inAttachment},
	}
}

// compileFields returns the places of every field. Those of overrides take the place of the default ones.
func compileFields(overrides map[string][]string) (map[string][]Source, error) {
	fields := make(map[string][]Source)
	var names []string
	for _, f := range Fields() {
		names = append(names, f.Name)
		sources, err := parseCandidates(f.Name, f.Candidates)
		if err != nil {
			return nil, err
		}
		fields[f.Name] = sources
	}
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("unknown field %.40q: allowed are %s", name, strings.Join(names, ", "))
		}
		sources, err := parseCandidates(name, overrides[name])
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		fields[name] = sources
	}
	return fields, nil
}

func parseCandidates(name string, candidates []string) ([]Source, error) {
	if len(candidates) == 0 {
		return nil, errors.New("at least one path is needed")
	}
	var sources []Source
	for _, text := range candidates {
		s, err := parseCandidate(name, text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(sources, s) {
			return nil, fmt.Errorf("%s is given twice", text)
		}
		sources = append(sources, s)
	}
	return sources, nil
}

func parseCandidate(name, text string) (Source, error) {
	switch {
	case text == "":
		return Source{}, errors.New("empty path")
	case !strings.ContainsAny(text, "{}") && slices.Contains(strings.Split(text, "."), ""):
		return Source{}, fmt.Errorf("path %.40q has an empty segment", text)
	case !strings.ContainsAny(text, "{}") && name == ticketID:
		return Source{fromResponse, text}, nil
	case !strings.ContainsAny(text, "{}"):
		return Source{inObject, text}, nil
	case strings.HasPrefix(name, "person.") || strings.HasPrefix(name, "attachment."):
		return Source{}, fmt.Errorf("%s: placeholders are not allowed here, only paths such as %q", text, "id")
	}
	s, err := ParseSource(text)
	if err != nil {
		return Source{}, err
	}
	if param, ok := s.Param(); ok && (param != "ticketId" || name == ticketID) {
		return Source{}, fmt.Errorf("%s: the path has no {%s}", s, param)
	}
	return s, nil
}
