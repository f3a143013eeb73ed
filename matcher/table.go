package matcher

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxParams is how many parameters the path of a row may have: a [Match] has room for them, so that
// matching need not allocate.
const maxParams = 8

// Table finds the row of the endpoint table that a request belongs to. It is immutable and safe for
// concurrent use.
type Table struct {
	prefix  []string // segments
	methods map[string]*node
}

// node is a place in the tree of all paths of one method.
type node struct {
	static []edge
	param  *node
	row    *Row     // the row that ends here, or nil
	names  []string // its parameters, first to last
}

type edge struct {
	name string
	to   *node
}

// Match is a row and the values that a request's path gave to its parameters. The zero value matches
// nothing.
type Match struct {
	// Row belongs to the table and must not be changed. Its ID is never empty: the default places have
	// been filled in.
	Row    *Row
	names  []string
	values [maxParams]string // behind as many as there are names: what rows left that were tried in vain
}

// Param returns the decoded value of a parameter of the row's path.
func (m *Match) Param(name string) (string, bool) {
	i := slices.Index(m.names, name)
	if i < 0 {
		return "", false
	}
	return m.values[i], true
}

// NewTable makes a table of rows below prefix, which is empty or like "/prod/ticketing". A row replaces
// an earlier one with the same method and the same path, parameter names aside. The error of an
// invalid prefix or row says which, why, and what is allowed.
func NewTable(prefix string, rows []Row) (*Table, error) {
	t := &Table{methods: make(map[string]*node)}
	if prefix != "" {
		segments, err := splitPath(prefix)
		if err == nil && slices.ContainsFunc(segments, isPlaceholder) {
			err = errors.New("a prefix has no {parameters}")
		}
		if err != nil {
			return nil, fmt.Errorf("prefix %q: %w", prefix, err)
		}
		t.prefix = segments
	}
	for _, row := range rows {
		if err := t.add(row); err != nil {
			return nil, fmt.Errorf("row %s %s (%s %s): %w", row.Method, row.Path, row.Action, row.Item, err)
		}
	}
	return t, nil
}

func (t *Table) add(row Row) error {
	segments, err := row.check()
	if err != nil {
		return err
	}
	n := t.methods[row.Method]
	if n == nil {
		n = new(node)
		t.methods[row.Method] = n
	}
	var names []string
	for _, s := range segments {
		if isPlaceholder(s) {
			names = append(names, s[1:len(s)-1])
			if n.param == nil {
				n.param = new(node)
			}
			n = n.param
			continue
		}
		n = n.child(s)
	}
	row.ID, row.Parent = slices.Clone(row.ID), slices.Clone(row.Parent)
	if len(row.ID) == 0 {
		row.ID = defaultID(row.Item)
	}
	n.row, n.names = &row, names
	return nil
}

// child returns the node behind a static segment, and makes it if need be.
func (n *node) child(name string) *node {
	for _, e := range n.static {
		if e.name == name {
			return e.to
		}
	}
	to := new(node)
	n.static = append(n.static, edge{name, to})
	return to
}

// Match finds the row of a request. encoded says that path is percent-encoded, as on the wire; else it is
// compared as it stands (see [WirePath]). In front of the row's path the table's prefix is required and
// a version segment such as "/v1" allowed; behind it, one slash. Where several rows match, a static
// segment wins over a parameter, from left to right. A miss allocates nothing, nor does a hit without
// escapes in its parameters.
func (t *Table) Match(method, path string, encoded bool) (Match, bool) {
	root := t.methods[method]
	if root == nil {
		return Match{}, false
	}
	rest, ok := t.cutPrefix(path, encoded)
	if !ok {
		return Match{}, false
	}
	var m Match
	unversioned, ok := cutVersion(rest, encoded)
	if (ok && root.match(unversioned, encoded, 0, &m)) || root.match(rest, encoded, 0, &m) {
		m.decode(encoded)
		return m, true
	}
	return Match{}, false
}

// match walks down the tree. The tree bounds the work: no node is visited twice.
func (n *node) match(path string, encoded bool, params int, m *Match) bool {
	if path == "" || path == "/" {
		m.Row, m.names = n.row, n.names
		return n.row != nil
	}
	segment, rest := cutSegment(path)
	for _, e := range n.static {
		if !equalSegment(segment, e.name, encoded) {
			continue
		}
		if e.to.match(rest, encoded, params, m) {
			return true
		}
		break
	}
	if n.param == nil || !isParam(segment, encoded) {
		return false
	}
	m.values[params] = segment
	return n.param.match(rest, encoded, params+1, m)
}

// decode finishes the values of the parameters, whose escapes are known to be sound.
func (m *Match) decode(encoded bool) {
	for i := 0; encoded && i < len(m.names); i++ {
		m.values[i], _ = url.PathUnescape(m.values[i])
	}
}

// Base splits a path behind the table's prefix and the version segment, if there is one: base is both,
// as they stand in path, and rest is empty or begins with a slash. ok is false if the path is not
// below the prefix.
func (t *Table) Base(path string, encoded bool) (base, rest string, ok bool) {
	rest, ok = t.cutPrefix(path, encoded)
	if !ok {
		return "", "", false
	}
	if unversioned, ok := cutVersion(rest, encoded); ok {
		rest = unversioned
	}
	return path[:len(path)-len(rest)], rest, true
}

// cutPrefix returns what follows the table's prefix, which is empty or begins with a slash.
func (t *Table) cutPrefix(path string, encoded bool) (rest string, ok bool) {
	if len(path) > maxPath || !strings.HasPrefix(path, "/") {
		return "", false
	}
	rest = path
	for _, name := range t.prefix {
		if rest == "" {
			return "", false
		}
		var segment string
		if segment, rest = cutSegment(rest); !equalSegment(segment, name, encoded) {
			return "", false
		}
	}
	return rest, true
}
