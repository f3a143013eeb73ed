package matcher

import (
	"strings"

	"github.com/tidwall/gjson"
)

// closed is the status of a closed ticket.
const closed = "3"

// derivation is the making of the events of one exchange.
type derivation struct {
	x         *Exchange
	fields    map[string][]Source
	project   string
	id        string // the ticket's, or "" if it is not known
	parent    string
	request   view
	response  view
	ticket    view   // the ticket as read through the API
	isRead    bool   // there is one
	noRequest bool   // nothing of the request was seen
	unseen    string // why the request was not seen whole, or ""
	unheard   string // likewise the response
}

func newDerivation(t *RuleTable, x *Exchange, project string) *derivation {
	request, response := x.requestTree(), x.responseBody()
	row := x.Match.Row
	d := &derivation{
		x: x, fields: t.fields, project: project,
		id: x.firstText(lookID, row.ID), parent: x.firstText(lookParent, row.Parent),
		request: request.top(), response: response.unwrapped(row.Item), isRead: x.Ticket != nil,
		unseen: request.missing(), unheard: response.missing(),
	}
	if d.isRead {
		d.ticket = x.Ticket.view
	}
	d.request.name, d.response.name, d.ticket.name = "request", "response", "ticket"
	d.noRequest = d.unseen != "" || isBlank(gjson.Parse(request.json))
	return d
}

// firstText returns the text of the first id found.
func (x *Exchange) firstText(what string, sources []Source) string {
	for _, s := range sources {
		text := x.find(s)
		x.look(what, "", s, text)
		if NewValue(text) != "" {
			return text
		}
	}
	return ""
}

// requestTree is the request with the nested fields of a form as JSON.
func (x *Exchange) requestTree() *document {
	if x.tree == nil {
		d := parseTree(x.Request, x.Limit)
		x.tree = &d
	}
	return x.tree
}

// missing tells why a document was not seen whole, or "".
func (d *document) missing() string {
	if d.fault == "" && d.cut {
		return ReasonTooLong
	}
	return d.fault
}

// fires reports whether a condition holds; reason tells why that cannot be known.
func (d *derivation) fires(when Condition) (fires bool, reason string) {
	switch when {
	case OnClose:
		c := d.change(ticketStatus, parseID)
		return c.after.text == closed && c.before.text != closed, c.reason
	case OnClassify:
		c := d.change(ticketClassification, parseIDs)
		return c.differs(), c.reason
	case OnMove:
		c := d.change(ticketQueueID, parseID)
		return c.differs(), c.reason
	case OnAnswer:
		return d.byAgent()
	case OnReply:
		agent, reason := d.byAgent()
		return !agent, reason
	default:
		return true, ""
	}
}

// change is what a call made of a field of the ticket.
type change struct {
	before, after reading
	isRead        bool   // all of the ticket was read before
	reason        string // why after is not known
}

// change finds out what the call made of a field. What the request does not say, the response may show. But
// it shows the whole ticket, so it tells of a change only if it is known what was before, or the request
// was not seen at all. Of an empty value in the request it shows what became of it.
func (d *derivation) change(field string, parse func(gjson.Result) reading) change {
	c := change{isRead: d.isRead && !d.ticket.cut}
	c.before = d.x.read(d.ticket, field, inObjectOnly(d.fields[field]), parse)
	c.after = d.read(d.request, field, parse)
	if c.after.text == "" && (c.after.there || c.before.there || d.noRequest) {
		shown := d.read(d.response, field, parse)
		c.after = reading{shown.text, shown.there || c.after.there}
	}
	if !c.after.there {
		c.reason = d.unseen
	}
	return c
}

// differs reports whether the field is another than before. It is if it was not seen before, unless there
// is nothing now either.
func (c *change) differs() bool {
	switch {
	case !c.after.there:
		return false
	case c.before.there:
		return c.before.text != c.after.text
	default:
		return c.after.text != "" || !c.isRead
	}
}

func inObjectOnly(candidates []Source) []Source {
	var paths []Source
	for _, c := range candidates {
		if c.kind == inObject {
			paths = append(paths, c)
		}
	}
	return paths
}

// byAgent reports whether the author of a reply is an agent. Who does not seem to be one is an end user, if
// all was seen that could tell.
func (d *derivation) byAgent() (agent bool, reason string) {
	kind, flag := d.called(replyType, parseText), d.called(replyIsAgent, parseFlag)
	switch {
	case strings.EqualFold(kind.text, "answer") || flag.text == "true":
		return true, ""
	case kind.text != "" || flag.text != "":
		return false, ""
	case d.unseen != "":
		return false, d.unseen
	default:
		return false, d.unheard
	}
}

// read returns what a field holds in a document, or in a part of one.
func (d *derivation) read(v view, field string, parse func(gjson.Result) reading) reading {
	return d.x.read(v, field, d.fields[field], parse)
}

// called reads a field of the call: from the request, else from the response.
func (d *derivation) called(field string, parse func(gjson.Result) reading) reading {
	r := d.read(d.request, field, parse)
	if r.text != "" {
		return r
	}
	shown := d.read(d.response, field, parse)
	return reading{shown.text, shown.there || r.there}
}
