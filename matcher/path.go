package matcher

import (
	"net/url"
	"strings"
)

// maxPath is the longest path that is looked at, in bytes. No id is that long.
const maxPath = 8 << 10

// WirePath returns the path of u as it stands on the wire, with encoded true, if u tells; else the
// decoded path. The two differ only where a client encoded what need not be, such as a slash inside an
// id. Like [url.URL.EscapedPath] it distrusts a RawPath that is not an encoding of Path, which is what a
// rewrite of Path alone leaves behind; unlike it, it does not allocate.
func WirePath(u *url.URL) (path string, encoded bool) {
	if u.RawPath != "" && isEncoding(u.RawPath, u.Path) {
		return u.RawPath, true
	}
	return u.Path, false
}

// isEncoding reports whether raw is percent-encoded as a path may be and decodes to path.
func isEncoding(raw, path string) bool {
	n := 0
	for i := 0; i < len(raw); n++ {
		c, width := decodeByte(raw[i:], true)
		if width == 0 || n == len(path) || c != path[n] || (width == 1 && !allowedInPath(c)) {
			return false
		}
		i += width
	}
	return n == len(path)
}

// allowedInPath is what net/url accepts unencoded in a RawPath.
func allowedInPath(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	default:
		return strings.IndexByte("-_.~!$&'()*+,;=:@[]/", c) >= 0
	}
}

// decodeByte returns the first byte of s, which must not be empty, and how many bytes of s encode it: 0
// for a broken escape.
func decodeByte(s string, encoded bool) (c byte, width int) {
	if !encoded || s[0] != '%' {
		return s[0], 1
	}
	if len(s) < 3 {
		return 0, 0
	}
	high, low := unhex(s[1]), unhex(s[2])
	if high > 0xf || low > 0xf {
		return 0, 0
	}
	return high<<4 | low, 3
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	default:
		return 0xff
	}
}

// cutSegment splits a path that begins with a slash into its first segment and what follows, which is
// empty or begins with a slash.
func cutSegment(path string) (segment, rest string) {
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[1 : i+1], path[i+1:]
	}
	return path[1:], ""
}

// equalSegment compares a segment, after decoding, with a name.
func equalSegment(segment, name string, encoded bool) bool {
	if !encoded || strings.IndexByte(segment, '%') < 0 {
		return segment == name
	}
	n := 0
	for i := 0; i < len(segment); n++ {
		c, width := decodeByte(segment[i:], true)
		if width == 0 || n == len(name) || c != name[n] {
			return false
		}
		i += width
	}
	return n == len(name)
}

// isParam reports whether a segment can be a parameter's value: not empty, not a dot segment, no
// broken escape and no control byte, none of which a router behind us can be expected to take for an id.
func isParam(segment string, encoded bool) bool {
	length, dots := 0, 0
	for i := 0; i < len(segment); length++ {
		c, width := decodeByte(segment[i:], encoded)
		if width == 0 || isControl(c) {
			return false
		}
		if c == '.' {
			dots++
		}
		i += width
	}
	return length > 2 || dots < length
}

func isControl(c byte) bool { return c < 0x20 || c == 0x7f }

// cutVersion removes a leading version segment, "/v" and digits.
func cutVersion(path string, encoded bool) (rest string, ok bool) {
	if path == "" {
		return "", false
	}
	segment, rest := cutSegment(path)
	n := 0
	for i := 0; i < len(segment); n++ {
		c, width := decodeByte(segment[i:], encoded)
		if width == 0 || (n == 0 && c != 'v') || (n > 0 && (c < '0' || c > '9')) {
			return "", false
		}
		i += width
	}
	return rest, n > 1
}
