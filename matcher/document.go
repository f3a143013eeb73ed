package matcher

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"
)

// maxHidden bounds the nesting that may hide inside of JSON strings, see [getJSON].
const maxHidden = 100_000

// document is what can be looked up in a body.
type document struct {
	json   string            // a valid object or array, or ""
	whole  int               // how much of json was seen; what follows only closes its brackets
	open   int               // where the top-level member of json begins that was not seen whole, or -1
	fields map[string]string // of a form
	cut    bool              // there is more than was seen
	fault  string            // why nothing was seen: ReasonUndecodable, ReasonInvalid or ""
}

// parseJSON reads a JSON text, of a cut one what was seen whole.
func parseJSON(b []byte, cut bool) document {
	b = bytes.TrimPrefix(b, []byte("\ufeff")) // older PHP and .NET send it, RFC 8259 section 8.1 lets us ignore it
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 {
		return document{open: -1, cut: cut}
	}
	var s scanner
	if !s.scan(b) {
		return document{fault: ReasonInvalid}
	}
	d := document{open: -1}
	if !cut || (s.end > 0 && s.depth == 0) { // the rest can only be white space
		d.json, d.whole = string(b), len(b)
	} else {
		d.json, d.whole, d.open, d.cut = s.repaired(b), s.end, s.openMember(), true
	}
	switch {
	case d.json == "": // cut before anything was seen whole
		return d
	case !gjson.Valid(d.json):
		return document{fault: ReasonInvalid}
	case d.json[0] != '{' && d.json[0] != '[': // gjson would look for members inside of a string
		d.json = ""
	}
	return d
}

// find returns the text at path, or "". Queries and counts are not made over a part.
func (d *document) find(path string) string {
	if d.fields != nil {
		return d.findField(path)
	}
	if d.json == "" || (d.cut && !isPlain(path)) {
		return ""
	}
	return getJSON(d.json, path)
}

// findField looks for a field of the exact name, then for the nested name that PHP and others give it.
func (d *document) findField(path string) string {
	if text := d.fields[path]; text != "" {
		return text
	}
	first, rest, nested := strings.Cut(path, ".")
	if !nested {
		return ""
	}
	return d.fields[first+"["+strings.ReplaceAll(rest, ".", "][")+"]"]
}

// isError reports whether the document is an error object. Members that were not seen whole do not count.
func (d *document) isError() bool {
	if !strings.HasPrefix(d.json, "{") {
		return false
	}
	for _, key := range []string{"errors", "error"} {
		r := gjson.Get(d.json, key)
		if r.Exists() && r.Index != d.open && !isBlank(r) {
			return true
		}
	}
	return false
}

func isBlank(r gjson.Result) bool {
	switch r.Type {
	case gjson.True:
		return false
	case gjson.Number:
		return r.Num == 0
	case gjson.String:
		return r.Str == ""
	case gjson.JSON:
		return strings.TrimSpace(r.Raw[1:len(r.Raw)-1]) == ""
	default:
		return true
	}
}

// getJSON returns the digits of the number or the text of the string at path; "" for anything else.
func getJSON(doc, path string) string {
	r, _ := lookup(doc, path)
	switch r.Type {
	case gjson.Number:
		return r.Raw
	case gjson.String:
		return r.Str
	default:
		return ""
	}
}

// lookup returns what stands at path. at is where it begins, if the path is plain.
func lookup(doc, path string) (r gjson.Result, at int) {
	switch {
	case isPlain(path):
		// Step by step, because gjson tries the second of two equal keys when the first leads nowhere.
		r = gjson.Result{Type: gjson.JSON, Raw: doc}
		for key := range strings.SplitSeq(path, ".") {
			if r.Type != gjson.JSON {
				return gjson.Result{}, 0
			}
			r = gjson.Get(r.Raw, key)
			at += r.Index
		}
		return r, at
	case strings.Contains(path, "@fromstr") && hidden(doc) > maxHidden:
		return gjson.Result{}, 0
	default:
		return gjson.Get(doc, path), 0
	}
}

// hidden is how deep, at most, the JSON texts inside of a document's strings can be nested. The depth
// check does not see them, yet @fromstr makes gjson recurse into them.
func hidden(doc string) int {
	return strings.Count(doc, "[") + strings.Count(doc, "{") + strings.Count(doc, "u00")
}

// isPlain reports whether path is nothing but keys and indexes with dots between them.
func isPlain(path string) bool {
	if strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".") || strings.Contains(path, "..") {
		return false
	}
	for i := range len(path) {
		c := path[i]
		if c < 0x80 && !isName(path[i:i+1]) && strings.IndexByte(".-:/$ ", c) < 0 {
			return false
		}
	}
	return path != ""
}
