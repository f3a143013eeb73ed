package matcher

import "strings"

// Body is what was seen of the body of a request or response.
type Body struct {
	// Type and Encoding are the values of the Content-Type and Content-Encoding headers, several
	// Content-Encoding headers joined with commas.
	Type, Encoding string
	// Bytes are the body as it was on the wire. They are only read.
	Bytes []byte
	// Cut says that Bytes is only the first part.
	Cut bool
}

// IsError reports whether a body is the API's error object: JSON with a member errors or error at the top
// that holds something. At most limit decoded bytes are looked at; a member not seen whole does not
// count, nor does anything in a body that cannot be decoded or is no JSON.
func IsError(b Body, limit int) bool {
	d := parseResponse(b, limit)
	return d.isError()
}

// parseResponse reads a body of JSON. Servers that send JSON under another type, or none, are understood.
func parseResponse(b Body, limit int) document {
	out, cut, err := decode(b, limit)
	if err != nil {
		return document{fault: ReasonUndecodable}
	}
	if strings.Contains(b.mediaType(), "json") {
		return parseJSON(out, cut)
	}
	return sniff(out, cut)
}

// parseRequest reads a body of JSON or a form.
func parseRequest(b Body, limit int) document {
	out, cut, err := decode(b, limit)
	if err != nil {
		return document{fault: ReasonUndecodable}
	}
	switch t := b.mediaType(); {
	case strings.Contains(t, "json"):
		return parseJSON(out, cut)
	case t == "application/x-www-form-urlencoded":
		return parseForm(out, cut)
	case t == "multipart/form-data":
		return parseMultipart(b.Type, out, cut)
	default:
		return sniff(out, cut)
	}
}

// sniff reads what looks like JSON. Nothing is found in anything else, however much of it there is.
func sniff(b []byte, cut bool) document {
	if cut && strings.HasPrefix("\ufeff", string(b)) {
		return document{open: -1, cut: true}
	}
	for _, c := range strings.TrimPrefix(string(b[:min(len(b), sniffed)]), "\ufeff") {
		if c == '{' || c == '[' {
			return parseJSON(b, cut)
		}
		if !strings.ContainsRune(" \t\r\n", c) {
			return document{open: -1}
		}
	}
	return document{open: -1, cut: cut}
}

// sniffed is how many bytes may hold nothing but the white space in front of a body of unknown type.
const sniffed = 1 << 10

func (b *Body) mediaType() string {
	t, _, _ := strings.Cut(b.Type, ";")
	return strings.ToLower(strings.TrimSpace(t))
}
