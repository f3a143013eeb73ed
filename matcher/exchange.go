package matcher

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrNoChange is returned when the exchange changed nothing: its status is not 2xx, or its response is an
// error object.
var ErrNoChange = errors.New("no change")

// Why no event could be derived from an exchange that changed something. These are all reasons there
// are, fit for a metric's label.
const (
	// ReasonNoID: what was seen has no id.
	ReasonNoID = "no_id"
	// ReasonUndecodable: the content encoding is unknown or broken.
	ReasonUndecodable = "undecodable"
	// ReasonInvalid: the body is not what its type says, or is nested deeper than 512.
	ReasonInvalid = "invalid"
	// ReasonTooLong: the id is not in the part of the body that was seen, or cannot be told from it (a query over
	// an array).
	ReasonTooLong = "too_long"
)

// Underivable is returned when the exchange changed something and no id can be found.
type Underivable struct {
	Item string
	// Reason is one of the Reason constants.
	Reason string
}

func (e *Underivable) Error() string {
	return fmt.Sprintf("finding id of %s: %s", e.Item, e.Reason)
}

// Exchange is what was seen of a request that matched and of its response. The bodies are parsed once, when
// they are first needed; the fields must not be changed after that. It is not safe for concurrent use.
type Exchange struct {
	// Match must come from [Table.Match].
	Match Match
	// Time is when the response arrived.
	Time time.Time
	// Authorization is the request's header of that name.
	Authorization string
	Request       Body
	Status        int
	// Header is the response's.
	Header   http.Header
	Response Body
	// Limit is how many bytes of either body, after decoding, are looked at. Nothing is if it is 0.
	Limit int
	// External resolves the sources that are none of ours: text is as it was configured. It may be nil.
	External func(text string) (string, bool)
	// Ticket is the ticket of an instance event as the API showed it, or nil: before the change of a PUT, and
	// with the answer of a reply (see [RuleTable.NeedsBefore] and [RuleTable.NeedsResource]).
	Ticket *Ticket
	// Looked, if not nil, is told of each place that is looked at for a value.
	Looked func(Look)

	request, response, claims *document
	tree                      *document // the request with the nested fields of a form as JSON
}

// Derive returns the event of an exchange. actor are the places where the id of who did it may be found;
// the first found wins. The error is [ErrNoChange] or an [*Underivable].
//
// Where a body was seen only in part, the first value seen counts, though one that takes precedence over it
// may stand in the rest.
func (x *Exchange) Derive(actor []Source) (Event, error) {
	if !x.succeeded() {
		return Event{}, ErrNoChange
	}
	row := x.Match.Row
	id := x.first(lookID, row.ID)
	if id == "" {
		return Event{}, &Underivable{Item: row.Item, Reason: x.reason(row.ID)}
	}
	return Event{
		ID:        id,
		Item:      row.Item,
		Action:    row.Action,
		Timestamp: x.Time.Unix(),
		Actor:     x.first(lookActor, actor),
		Parent:    x.first(lookParent, row.Parent),
	}, nil
}

// succeeded reports whether the call did what it was to do.
func (x *Exchange) succeeded() bool {
	return x.Status >= 200 && x.Status <= 299 && !x.responseBody().isError()
}

// Lookup returns the text behind the placeholder {key}, such as "benti.request.ticket.id": a string, or the
// digits of a number. It is false for anything else, and if there is nothing or an empty string.
func (x *Exchange) Lookup(key string) (string, bool) {
	s, ok := parseKey(key)
	if !ok {
		return "", false
	}
	text := x.find(s)
	return text, text != ""
}

// first returns the first value found.
func (x *Exchange) first(what string, sources []Source) Value {
	for _, s := range sources {
		text := x.find(s)
		v := NewValue(text)
		if v == "" {
			text = "" // of which no id can be made
		}
		x.look(what, "", s, text)
		if v != "" {
			return v
		}
	}
	return ""
}

// reason tells why none of the sources held an id.
func (x *Exchange) reason(sources []Source) string {
	for _, s := range sources {
		var d *document
		switch s.kind {
		case fromRequest:
			d = x.requestBody()
		case fromResponse:
			d = x.responseBody()
		default:
			continue
		}
		if d.fault != "" {
			return d.fault
		}
		if d.cut {
			return ReasonTooLong
		}
	}
	return ReasonNoID
}

// find returns the text at a source, or "".
func (x *Exchange) find(s Source) string {
	switch s.kind {
	case fromRequest:
		return x.requestBody().find(s.text)
	case fromResponse:
		return x.responseBody().find(s.text)
	case fromPath:
		text, _ := x.Match.Param(s.text)
		return text
	case fromJWT:
		if x.claims == nil {
			d := parseClaims(x.Authorization)
			x.claims = &d
		}
		return x.claims.find(s.text)
	case fromLocation:
		return lastSegment(x.Header.Get("Location"))
	case external:
		if x.External != nil {
			return x.resolve(s.text)
		}
	}
	return ""
}

func (x *Exchange) resolve(text string) string {
	if resolved, ok := x.External(text); ok {
		return resolved
	}
	return ""
}

func (x *Exchange) requestBody() *document {
	if x.request == nil {
		d := parseRequest(x.Request, x.Limit)
		x.request = &d
	}
	return x.request
}

func (x *Exchange) responseBody() *document {
	if x.response == nil {
		d := parseResponse(x.Response, x.Limit)
		x.response = &d
	}
	return x.response
}

// lastSegment returns the last segment of a location's path that is not empty, decoded; "" if it could be
// no parameter of a path.
func lastSegment(location string) string {
	if len(location) > maxPath {
		return ""
	}
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	segment := path[strings.LastIndexByte(path, '/')+1:]
	if !isParam(segment, true) {
		return ""
	}
	decoded, _ := url.PathUnescape(segment) // isParam has found no broken escape
	return decoded
}
