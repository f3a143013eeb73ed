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
	d := document{open: -1, fields: make(map[string]string), cut: cut}
	rest := string(b)
	for range maxPairs {
		pair, after, more := strings.Cut(rest, "&")
		if !more && cut {
			return d
		}
		if pair != "" {
			key, value, _ := strings.Cut(pair, "=")
			d.add(unescapeField(key), unescapeField(value))
		}
		if !more {
			return d
		}
		rest = after
	}
	d.cut = d.cut || rest != ""
	return d
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
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return document{fault: ReasonInvalid}
	}
	if cut {
		// A boundary that ends with the body may be the start of a longer line, which is none.
		b = b[:bytes.LastIndexByte(b, '\n')+1]
	}
	d := document{open: -1, fields: make(map[string]string), cut: cut}
	r := multipart.NewReader(bytes.NewReader(b), params["boundary"])
	for range maxParts {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil || !d.addPart(part) {
			break
		}
	}
	d.cut = true
	return d
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
