package matcher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Row is one line of the endpoint table: a call that produces an event when it succeeds.
type Row struct {
	// Item is what the event is about, one of [Items].
	Item string
	// Action is "add", "update" or "remove".
	Action string
	// Method is an HTTP method that changes something, in upper case.
	Method string
	// Path is the path behind the prefix and without the version segment, decoded, such as
	// "/tickets/{ticketId}/alerts". {name} stands for one segment that is not empty.
	Path string
	// ID are the places where the item's id may be found; the first found wins. Empty means the
	// response's id, data.id, data.0.id, <item>.id, <item>_id, uuid and data.uuid, then the last segment of
	// its Location header.
	ID []Source
	// Parent are the places where the id of the ticket may be found; the first found wins. Empty means
	// that the event has no parent.
	Parent []Source
}

// Items returns the kinds of things that events are about: the seven of the vendor's page.
func Items() []string {
	return []string{"alert", "ticket", "reply", "user", "media", "classification", "queue"}
}

// Rows returns the endpoint table of the vendor's page, a new copy each time. The page does not say where
// a media file's ticket stands; the names tried are those of the API's other fields.
func Rows() []Row {
	param := func(name string) []Source { return []Source{{kind: fromPath, text: name}} }
	ticket := param("ticketId")
	media := []Source{
		{kind: fromRequest, text: "ticket_id"},
		{kind: fromRequest, text: "ticketId"},
		{kind: fromRequest, text: "ticket"},
		{kind: fromResponse, text: "ticket_id"},
		{kind: fromResponse, text: "ticketId"},
		{kind: fromResponse, text: "ticket"},
	}
	return []Row{
		{Item: "alert", Action: "add", Method: "POST", Path: "/tickets/{ticketId}/alerts", Parent: ticket},
		{Item: "ticket", Action: "add", Method: "POST", Path: "/tickets"},
		{Item: "ticket", Action: "add", Method: "POST", Path: "/tickets/{ticketId}/subtickets", Parent: slices.Clone(ticket)},
		{Item: "ticket", Action: "update", Method: "PUT", Path: "/tickets/{ticketId}", ID: slices.Clone(ticket)},
		{Item: "reply", Action: "add", Method: "POST", Path: "/tickets/{ticketId}/replies", Parent: slices.Clone(ticket)},
		{Item: "user", Action: "add", Method: "POST", Path: "/users"},
		{Item: "user", Action: "update", Method: "PUT", Path: "/users/{userId}", ID: param("userId")},
		{Item: "media", Action: "add", Method: "POST", Path: "/media", Parent: media},
		{Item: "classification", Action: "add", Method: "POST", Path: "/classifications"},
		{Item: "classification", Action: "remove", Method: "DELETE", Path: "/classifications/{classificationId}", ID: param("classificationId")},
		{Item: "queue", Action: "add", Method: "POST", Path: "/queues"},
		{Item: "queue", Action: "update", Method: "PUT", Path: "/queues/{queueId}", ID: param("queueId")},
	}
}

// check returns the segments of the row's path.
func (r *Row) check() ([]string, error) {
	if !slices.Contains(Items(), r.Item) {
		return nil, fmt.Errorf("item %q: allowed are %s", r.Item, strings.Join(Items(), ", "))
	}
	if r.Action != "add" && r.Action != "update" && r.Action != "remove" {
		return nil, fmt.Errorf("action %q: allowed are add, update, remove", r.Action)
	}
	if !isMethod(r.Method) {
		return nil, fmt.Errorf("method %q: allowed are methods in upper case that change something, such as POST, PUT, PATCH, DELETE", r.Method)
	}
	segments, err := r.checkPath()
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", r.Path, err)
	}
	if err := checkSources(r.ID, segments); err != nil {
		return nil, fmt.Errorf("id: %w", err)
	}
	if err := checkSources(r.Parent, segments); err != nil {
		return nil, fmt.Errorf("parent: %w", err)
	}
	return segments, nil
}

func (r *Row) checkPath() ([]string, error) {
	segments, err := splitPath(r.Path)
	if err != nil {
		return nil, err
	}
	if segments[0] == "webhooks" {
		return nil, errors.New("/webhooks and below is the subscription API")
	}
	if _, ok := cutVersion("/"+segments[0], false); ok {
		return nil, errors.New("leave out the version segment, any version matches")
	}
	var params []string
	for _, s := range segments {
		if !isPlaceholder(s) {
			continue
		}
		if slices.Contains(params, s) {
			return nil, fmt.Errorf("%s stands there twice", s)
		}
		params = append(params, s)
	}
	if len(params) > maxParams {
		return nil, fmt.Errorf("at most %d parameters are allowed", maxParams)
	}
	return segments, nil
}

func checkSources(sources []Source, segments []string) error {
	for _, s := range sources {
		if s == (Source{}) {
			return errors.New("empty source")
		}
		name, ok := s.Param()
		if ok && !slices.Contains(segments, "{"+name+"}") {
			return fmt.Errorf("%s: the path has no {%s}", s, name)
		}
	}
	return nil
}

// isMethod accepts the tokens of RFC 9110 section 9.1 that are upper case, except the methods that change
// nothing or carry no message.
func isMethod(m string) bool {
	switch m {
	case "", "GET", "HEAD", "OPTIONS", "CONNECT", "TRACE":
		return false
	}
	for i := range len(m) {
		c := m[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// splitPath splits a path of the configuration into its segments, of which there is at least one.
func splitPath(path string) ([]string, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, errors.New("must begin with a slash")
	}
	if len(path) > maxPath {
		return nil, fmt.Errorf("at most %d bytes are allowed", maxPath)
	}
	segments := strings.Split(path[1:], "/")
	for _, s := range segments {
		if err := checkSegment(s); err != nil {
			return nil, err
		}
	}
	return segments, nil
}

func checkSegment(s string) error {
	switch {
	case s == "":
		return errors.New("no slash at the end and no two in a row are allowed")
	case s == "." || s == "..":
		return errors.New("segments . and .. are not allowed")
	case isPlaceholder(s):
		if !isName(s[1 : len(s)-1]) {
			return fmt.Errorf("%s: a parameter's name has letters, digits and _ only", s)
		}
		return nil
	case strings.ContainsAny(s, "{}"):
		return fmt.Errorf("%s: a parameter is a whole segment, such as {ticketId}", s)
	case strings.Contains(s, "*"):
		return fmt.Errorf("%s: there are no wildcards, use a parameter such as {ticketId}", s)
	case strings.ContainsAny(s, "%?#\\"):
		return fmt.Errorf(`%s: %%, ?, # and \ are not allowed; write the path decoded`, s)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("%q: spaces, control characters and invalid UTF-8 are not allowed", s)
	}
	return nil
}

func isPlaceholder(s string) bool {
	return len(s) >= 2 && s[0] == '{' && s[len(s)-1] == '}'
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}
