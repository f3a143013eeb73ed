package matcher

// maxDepth is how deep a JSON text may be nested. Parsers that recurse would let a megabyte of "[" overflow
// the stack, which no recover catches.
const maxDepth = 512

// scanner runs over a JSON text once, without recursion, and finds out how deep it is nested and how much
// of it was seen whole. It checks no more grammar than it needs for that.
type scanner struct {
	brackets [maxDepth]byte // the open ones, outermost first
	depth    int
	// end is behind the last complete value or opening bracket. The brackets open there are those open at the
	// end of the text: opening or closing another one would have moved it.
	end int
	// member is where the value of the latest top-level member that is an object or array begins.
	member int
}

// scan returns false if the text is nested too deep or its brackets do not pair up.
func (s *scanner) scan(b []byte) bool {
	key := false // the next string is a key
	for i := 0; i < len(b); {
		c := b[i]
		switch c {
		case ' ', '\t', '\r', '\n':
			i++
		case '{', '[':
			if !s.open(c, i) {
				return false
			}
			key = c == '{'
			i++
			s.end = i
		case '}', ']':
			if s.depth == 0 || s.brackets[s.depth-1] != c-2 { // in ASCII '{'+2 is '}' and '['+2 is ']'
				return false
			}
			s.depth--
			i++
			s.end = i
		case ',':
			key = s.depth > 0 && s.brackets[s.depth-1] == '{'
			i++
		case ':':
			key = false
			i++
		default:
			n := tokenLength(b[i:])
			if n == 0 {
				return true // cut in the middle of a token
			}
			i += n
			if !key {
				s.end = i
			}
		}
	}
	return true
}

func (s *scanner) open(bracket byte, at int) bool {
	if s.depth == maxDepth {
		return false
	}
	if s.depth == 1 {
		s.member = at
	}
	s.brackets[s.depth] = bracket
	s.depth++
	return true
}

// repaired returns what was seen whole of a text that was cut, with its open brackets closed: "" if that
// is nothing.
func (s *scanner) repaired(b []byte) string {
	closed := make([]byte, 0, s.end+s.depth)
	closed = append(closed, b[:s.end]...)
	for i := s.depth - 1; i >= 0; i-- {
		closed = append(closed, s.brackets[i]+2)
	}
	return string(closed)
}

// openMember returns where the value of the top-level member begins that the cut left open; -1 if none.
func (s *scanner) openMember() int {
	if s.depth < 2 {
		return -1
	}
	return s.member
}

// tokenLength is the length of the string, number or word that b begins with; 0 if b ends before the
// token does: "12" may be the start of "123".
func tokenLength(b []byte) int {
	if b[0] == '"' {
		return stringLength(b)
	}
	for i, c := range b {
		switch c {
		case ',', ':', '"', '{', '}', '[', ']', ' ', '\t', '\r', '\n':
			return i
		}
	}
	return 0
}

func stringLength(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}
