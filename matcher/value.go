package matcher

import (
	"strings"
	"unicode/utf8"
)

// maxText is how long an id may be, in bytes. Longer texts are no ids, and they would be
// copied into every delivery.
const maxText = 4 << 10

// Value is an id as it stands in a payload: a JSON number, a JSON string with its quotes, or "" for
// null.
type Value string

// NewValue makes a Value of a text. A decimal integer without leading zeros becomes a number, digit for
// digit and of any length, since ids beyond 2^53 must not be rounded; "-0" and any other text become a
// string. Invalid UTF-8 is replaced by U+FFFD. An empty text and one of more than 4 KiB are null.
func NewValue(text string) Value {
	if text == "" || len(text) > maxText {
		return ""
	}
	if isInteger(text) {
		// A copy, so that an event does not keep the whole body alive.
		return Value(strings.Clone(text))
	}
	return Value(appendString(make([]byte, 0, len(text)+2), text))
}

func isInteger(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" {
		return false
	}
	if digits[0] == '0' {
		return s == "0"
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// appendString appends s as a JSON string. Only what RFC 8259 section 7 demands is escaped, so that
// receivers see "<" and "&" as they were; encoding/json would escape them.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		default: // invalid bytes arrive here as utf8.RuneError, which is U+FFFD
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
