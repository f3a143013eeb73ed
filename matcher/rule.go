package matcher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The names of the instance events, as webhooks subscribe to them.
const (
	answerEvent          = "answer"
	createTicketEvent    = "create-ticket"
	createSubticketEvent = "create-subticket"
	closeTicketEvent     = "close-ticket"
	classifyTicketEvent  = "classify-ticket"
	changeQueueEvent     = "change-queue"
	replyTicketEvent     = "reply-ticket"
)

// InstanceEvents returns the names that an instance webhook can subscribe to: the seven of the vendor's
// page, in its order.
func InstanceEvents() []string {
	return []string{
		answerEvent, createTicketEvent, createSubticketEvent, closeTicketEvent,
		classifyTicketEvent, changeQueueEvent, replyTicketEvent,
	}
}

// CheckInstanceEvents judges the list of names in a subscription. The error of an empty list, an unknown name or
// one that stands there twice says which it is, and what is allowed.
func CheckInstanceEvents(names []string) error {
	allowed := "allowed are " + strings.Join(InstanceEvents(), ", ")
	if len(names) == 0 {
		return errors.New("no events given: " + allowed)
	}
	for i, name := range names {
		if !slices.Contains(InstanceEvents(), name) {
			return fmt.Errorf("unknown event %.40q: %s", name, allowed)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("event %q is given twice: %s, each once", name, allowed)
		}
	}
	return nil
}

// Condition is what it takes for an instance event besides a call that succeeds, in words.
type Condition string

// The conditions of the vendor's page.
const (
	// OnSuccess: nothing else.
	OnSuccess Condition = "the call succeeds"
	// OnClose: the ticket's status is 3 and was not. If it is not known what it was, it is enough that it is 3.
	OnClose Condition = "ticket.status becomes 3"
	// OnClassify: the ticket's classification is another than before, or it is not known what it was.
	OnClassify Condition = "ticket.classification differs from before"
	// OnMove: the ticket's queue is another than before, or it is not known what it was.
	OnMove Condition = "ticket.queue.id differs from before"
	// OnAnswer: the author of the reply is an agent.
	OnAnswer Condition = `reply.type is "answer" or reply.is_agent is true`
	// OnReply: the author of the reply is not known to be an agent.
	OnReply Condition = `neither is reply.type "answer" nor reply.is_agent true`
)

// Rule is one line of the table of instance events: a call that makes an event when its condition holds.
type Rule struct {
	// Event is the name that webhooks subscribe to, one of [InstanceEvents].
	Event string
	// Action is what the payload says: the name, but "create-ticket" for a subticket, as in the vendor's sample.
	Action string
	// Method and Path are those of the call, the path as in [Row].
	Method, Path string
	// When is what it takes besides success.
	When Condition
	// Fields are the names of what is read for the condition and the payload (see [Fields]), beside the ticket's
	// id in the path.
	Fields []string
}

// Rules returns the table of instance events of the vendor's page, a new copy each time. One PUT may make
// several events, in the order of the table.
func Rules() []Rule {
	const (
		tickets    = "/tickets"
		subtickets = "/tickets/{ticketId}/subtickets"
		ticket     = "/tickets/{ticketId}"
		replies    = "/tickets/{ticketId}/replies"
	)
	answer := []string{
		replyType, replyIsAgent, replyAuthor, replyText, replyTo, replyCC, replyBCC, replyAttachments,
		ticketCreator, ticketQueueID, ticketQueueName, ticketSourceID, ticketSourceName,
		personName, personEmail, attachmentID, attachmentURL, attachmentName, attachmentType,
	}
	reply := []string{
		replyType, replyIsAgent, replyAuthor, replyText, replyAttachments,
		personID, personName, personEmail, personExternalID, attachmentID, attachmentURL, attachmentName, attachmentType,
	}
	return []Rule{
		{createTicketEvent, createTicketEvent, "POST", tickets, OnSuccess, []string{ticketID}},
		{createSubticketEvent, createTicketEvent, "POST", subtickets, OnSuccess, []string{ticketID}},
		{closeTicketEvent, closeTicketEvent, "PUT", ticket, OnClose, []string{ticketStatus}},
		{classifyTicketEvent, classifyTicketEvent, "PUT", ticket, OnClassify, []string{ticketClassification}},
		{changeQueueEvent, changeQueueEvent, "PUT", ticket, OnMove, []string{ticketQueueID}},
		{answerEvent, answerEvent, "POST", replies, OnAnswer, answer},
		{replyTicketEvent, replyTicketEvent, "POST", replies, OnReply, reply},
	}
}
