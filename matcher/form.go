package matcher

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
)

const (
	maxPairs = 10_000
	maxParts = 1_000
	// maxField is how long a field of a multipart body may be, in bytes. Longer ones hold no id.
	maxField = 64 << 10
)

// parseForm reads an application/x-www-form-urlencoded body. The first of several fields of one name counts.
// Fields beyond 10,000 are not seen, nor is the last one of a cut body.
func parseForm(b []byte, cut bool) document {
	d := document{open: -1, fields: make(map[string]string)}
	d.cut = eachPair(b, cut, d.add)
	return d
}

// eachPair hands the pairs of an urlencoded body on. It returns whether there are more than were seen.
func eachPair(b []byte, cut bool, add func(key, value string)) (more bool) {
	rest := string(b)
	for range maxPairs {
		pair, after, another := strings.Cut(rest, "&")
		if !another && cut {
			return true
		}
		if pair != "" {
			key, value, _ := strings.Cut(pair, "=")
			add(unescapeField(key), unescapeField(value))
		}
		if !another {
			return cut
		}
		rest = after
	}
	return cut || rest != ""
}

func (d *document) add(key, value string) {
	if _, ok := d.fields[key]; !ok {
		d.fields[key] = value
	}
}

// unescapeField decodes a name or value of a form and leaves broken escapes as they are, like PHP and the
// URL standard.
func unescapeField(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		c, width := decodeByte(s[i:], true)
		switch {
		case width == 0:
			c, width = '%', 1
		case width == 1 && c == '+':
			c = ' '
		}
		decoded = append(decoded, c)
		i += width
	}
	return string(decoded)
}

// parseMultipart reads the fields of a multipart/form-data body (RFC 7578): the parts without a file name.
// The first of several fields of one name counts. Parts beyond 1,000 are not seen, nor is one that
// does not end.
func parseMultipart(contentType string, b []byte, cut bool) document {
	d := document{open: -1, fields: make(map[string]string)}
	var ok bool
	if d.cut, ok = eachPart(contentType, b, cut, d.addPart); !ok {
		return document{fault: ReasonInvalid}
	}
	return d
}

// eachPart hands the parts of a multipart body on, to a function that returns false if the part does not
// end. It returns whether there are more than were seen; ok is false if the type names no boundary.
func eachPart(contentType string, b []byte, cut bool, add func(*multipart.Part) bool) (more, ok bool) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return false, false
	}
	if cut {
		// A boundary that ends with the body may be the start of a longer line, which is none.
		b = b[:bytes.LastIndexByte(b, '\n')+1]
	}
	r := multipart.NewReader(bytes.NewReader(b), params["boundary"])
	for range maxParts {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return cut, true
		}
		if err != nil || !add(part) {
			break
		}
	}
	return true, true
}

// addPart returns false if the part does not end.
func (d *document) addPart(part *multipart.Part) bool {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	name := params["name"]
	_, isFile := params["filename"]
	if err != nil || name == "" || isFile {
		return true // the next part begins where this one ends
	}
	value, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if err != nil {
		return false
	}
	if len(value) <= maxField {
		d.add(name, string(value))
	}
	return true
}
