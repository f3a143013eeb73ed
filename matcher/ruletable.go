package matcher

import (
	"fmt"
	"io"
	"slices"
)

// RuleTable finds out which instance events a call may make, and makes them. It is immutable and safe for
// concurrent use. The embedded table matches the calls of [Rules]; its misses allocate nothing.
type RuleTable struct {
	*Table
	rules  map[string][]Rule   // by the path of the row: no two methods share one
	events map[string][]string // their names
	fields map[string][]Source
}

// NewRuleTable makes a table of [Rules] below prefix, as in [NewTable]. fields gives names of [Fields] other
// candidates than the default ones. The error of an unknown name lists those that are allowed.
func NewRuleTable(prefix string, fields map[string][]string) (*RuleTable, error) {
	t := &RuleTable{rules: make(map[string][]Rule), events: make(map[string][]string)}
	var err error
	if t.fields, err = compileFields(fields); err != nil {
		return nil, err
	}
	ticket := []Source{{kind: fromPath, text: "ticketId"}}
	var rows []Row
	for _, rule := range Rules() {
		t.rules[rule.Path] = append(t.rules[rule.Path], rule)
		t.events[rule.Path] = append(t.events[rule.Path], rule.Event)
		row := Row{Item: "ticket", Action: "add", Method: rule.Method, Path: rule.Path, ID: ticket}
		switch rule.Event {
		case createTicketEvent:
			row.ID = t.newTicket(fields)
		case createSubticketEvent:
			row.ID, row.Parent = t.newTicket(fields), ticket
		case closeTicketEvent, classifyTicketEvent, changeQueueEvent:
			row.Action = "update"
		case answerEvent, replyTicketEvent:
			row.Item = "reply"
		}
		rows = append(rows, row)
	}
	t.Table, err = NewTable(prefix, rows)
	return t, err
}

// newTicket returns where the id of a new ticket stands: nil for the default places, which end with the Location
// header.
func (t *RuleTable) newTicket(overrides map[string][]string) []Source {
	if _, ok := overrides[ticketID]; !ok {
		return nil
	}
	return t.fields[ticketID]
}

// Events returns the names of the events that a call may make. They must not be changed.
func (t *RuleTable) Events(m *Match) []string { return t.events[m.Row.Path] }

// NeedsBefore reports whether the ticket must be read before the call is forwarded, for one of the events
// wanted. m must have matched.
func (t *RuleTable) NeedsBefore(m *Match, wanted []string) bool {
	return slices.ContainsFunc(t.rules[m.Row.Path], func(r Rule) bool {
		return slices.Contains(wanted, r.Event) && (r.When == OnClose || r.When == OnClassify || r.When == OnMove)
	})
}

// NeedsResource reports whether the ticket must be read before [RuleTable.Derive]: if the call was answered
// with success, and an event wanted will be made of it that tells of the ticket.
func (t *RuleTable) NeedsResource(x *Exchange, wanted []string) bool {
	if !slices.Contains(t.Events(&x.Match), answerEvent) || !slices.Contains(wanted, answerEvent) || !x.succeeded() {
		return false
	}
	d := newDerivation(t, x, "")
	fires, reason := d.fires(OnAnswer)
	return fires && reason == ""
}

// Derive returns the events of an exchange that are wanted, in the order of [Rules]. random gives their ids,
// 16 bytes each. The errors are [ErrNoChange], or for each event that could not be made an
// [*Underivable] with the event's name as Item, or the error of random.
//
// What the exchange and x.Ticket do not show is null in a payload. Where a body was seen only in part, the
// first value seen counts, as in [Exchange.Derive].
func (t *RuleTable) Derive(x *Exchange, wanted []string, project string, random io.Reader) ([]InstanceEvent, []error) {
	if !x.succeeded() {
		return nil, []error{ErrNoChange}
	}
	d := newDerivation(t, x, project)
	var events []InstanceEvent
	var errs []error
	for _, rule := range t.rules[x.Match.Row.Path] {
		if !slices.Contains(wanted, rule.Event) {
			continue
		}
		fires, reason := d.fires(rule.When)
		if reason == "" && fires && d.id == "" {
			reason = x.reason(x.Match.Row.ID)
		}
		if reason != "" {
			errs = append(errs, &Underivable{Item: rule.Event, Reason: reason})
			continue
		}
		if !fires {
			continue
		}
		id, err := newEventID(random)
		if err != nil {
			errs = append(errs, fmt.Errorf("making id of %s: %w", rule.Event, err))
			continue
		}
		events = append(events, d.event(rule, id))
	}
	return events, errs
}
