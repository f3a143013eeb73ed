package matcher

import (
	"errors"
	"fmt"
	"strings"
)

// Source is one place where a value may be found. The zero value is invalid.
type Source struct {
	kind sourceKind
	text string // path, parameter or claim; for external ones, the whole text
}

type sourceKind uint8

const (
	fromRequest sourceKind = iota + 1
	fromResponse
	fromPath
	fromJWT
	fromLocation // not to be written in a configuration
	external
	inObject // a path in whatever a field is looked for, see [Field]
)

const allowedSources = "allowed are {benti.request.<path>}, {benti.response.<path>}, {benti.path.<parameter>}, " +
	"{benti.jwt.<claim>}, other placeholders and plain text"

// ParseSource makes a Source of a text of the configuration:
//
//   - {benti.request.<path>} and {benti.response.<path>} are found in the bodies; path is a gjson path.
//   - {benti.path.<name>} is a parameter of the row's path.
//   - {benti.jwt.<claim>} is a claim, found by a gjson path, of the request's bearer token.
//   - Any other text, with or without placeholders in it, is resolved by [Exchange.External].
//
// An empty text, one with unbalanced braces and an unknown {benti.*} placeholder are errors.
func ParseSource(s string) (Source, error) {
	if s == "" {
		return Source{}, errors.New("empty source: " + allowedSources)
	}
	end, ok := firstBrace(s)
	if !ok {
		return Source{}, fmt.Errorf("source %q: unbalanced braces: %s", s, allowedSources)
	}
	if s[0] != '{' || end != len(s)-1 || !strings.HasPrefix(s, "{benti.") || s == "{benti.tenant}" {
		return Source{kind: external, text: s}, nil
	}
	source, ok := parseKey(s[1:end])
	if !ok {
		return Source{}, fmt.Errorf("source %q: %s", s, allowedSources)
	}
	return source, nil
}

// parseKey makes a native source of what stands between its braces.
func parseKey(key string) (Source, bool) {
	kind, text, _ := strings.Cut(strings.TrimPrefix(key, "benti."), ".")
	if text == "" || !strings.HasPrefix(key, "benti.") {
		return Source{}, false
	}
	switch kind {
	case "request":
		return Source{fromRequest, text}, true
	case "response":
		return Source{fromResponse, text}, true
	case "path":
		return Source{fromPath, text}, isName(text)
	case "jwt":
		return Source{fromJWT, text}, true
	}
	return Source{}, false
}

// firstBrace returns where the first opening brace is closed, -1 if there is none; ok is false if the
// braces of s do not pair up. A backslash takes a brace its meaning, as in Caddy's placeholders.
func firstBrace(s string) (end int, ok bool) {
	end = -1
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			depth--
			if depth == 0 && end < 0 {
				end = i
			}
		}
		if depth < 0 {
			return -1, false
		}
	}
	return end, depth == 0
}

// String returns the text that [ParseSource] takes.
func (s Source) String() string {
	switch s.kind {
	case fromRequest:
		return "{benti.request." + s.text + "}"
	case fromResponse:
		return "{benti.response." + s.text + "}"
	case fromPath:
		return "{benti.path." + s.text + "}"
	case fromJWT:
		return "{benti.jwt." + s.text + "}"
	case fromLocation:
		return "the Location header"
	default:
		return s.text
	}
}

// ReadsRequest reports whether the source needs the request's body.
func (s Source) ReadsRequest() bool {
	return s.kind == fromRequest || (s.kind == external && strings.Contains(s.text, "{benti.request."))
}

// Param returns the name of the path parameter that the source stands for, if it does.
func (s Source) Param() (name string, ok bool) {
	if s.kind != fromPath {
		return "", false
	}
	return s.text, true
}

// defaultID are the places where APIs of this kind put the id of what was made.
func defaultID(item string) []Source {
	sources := make([]Source, 0, 8)
	for _, path := range []string{"id", "data.id", "data.0.id", item + ".id", item + "_id", "uuid", "data.uuid"} {
		sources = append(sources, Source{fromResponse, path})
	}
	return append(sources, Source{kind: fromLocation})
}
