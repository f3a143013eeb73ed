package matcher

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func mustTable(t testing.TB, prefix string, rows ...Row) *Table {
	t.Helper()
	table, err := NewTable(prefix, rows)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// vendorTable is the table of the vendor's page, cell by cell; empty cells produce no event.
var vendorTable = []struct {
	item, action string
	endpoints    []string
}{
	{"alert", "add", []string{"POST /tickets/{ticketId}/alerts"}},
	{"alert", "update", nil},
	{"alert", "remove", nil},
	{"ticket", "add", []string{"POST /tickets", "POST /tickets/{ticketId}/subtickets"}},
	{"ticket", "update", []string{"PUT /tickets/{ticketId}"}},
	{"ticket", "remove", nil},
	{"reply", "add", []string{"POST /tickets/{ticketId}/replies"}},
	{"reply", "update", nil},
	{"reply", "remove", nil},
	{"user", "add", []string{"POST /users"}},
	{"user", "update", []string{"PUT /users/{userId}"}},
	{"user", "remove", nil},
	{"media", "add", []string{"POST /media"}},
	{"media", "update", nil},
	{"media", "remove", nil},
	{"classification", "add", []string{"POST /classifications"}},
	{"classification", "update", nil},
	{"classification", "remove", []string{"DELETE /classifications/{classificationId}"}},
	{"queue", "add", []string{"POST /queues"}},
	{"queue", "update", []string{"PUT /queues/{queueId}"}},
	{"queue", "remove", nil},
}

func TestRowsAreTheVendorsTable(t *testing.T) {
	t.Parallel()
	got := map[string][]string{}
	for _, r := range Rows() {
		got[r.Item+" "+r.Action] = append(got[r.Item+" "+r.Action], r.Method+" "+r.Path)
	}
	cells := 0
	for _, cell := range vendorTable {
		key := cell.item + " " + cell.action
		want := slices.Sorted(slices.Values(cell.endpoints))
		if have := slices.Sorted(slices.Values(got[key])); !slices.Equal(have, want) {
			t.Errorf("%s: got %v, want %v", key, have, want)
		}
		cells += len(cell.endpoints)
	}
	if len(Rows()) != cells || len(vendorTable) != 3*len(Items()) {
		t.Errorf("%d rows for %d endpoints, %d cells for %d items", len(Rows()), cells, len(vendorTable), len(Items()))
	}
}

func TestEveryEndpointMatchesItsRow(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "/prod/ticketing"} {
		table := mustTable(t, prefix, Rows()...)
		for _, cell := range vendorTable {
			for _, endpoint := range cell.endpoints {
				method, path, _ := strings.Cut(endpoint, " ")
				concrete := path
				if i := strings.IndexByte(path, '{'); i >= 0 {
					j := strings.IndexByte(path, '}')
					concrete = path[:i] + "4711" + path[j+1:]
				}
				for _, variant := range []string{concrete, "/v1" + concrete, "/v22" + concrete, concrete + "/", "/v1" + concrete + "/"} {
					m, ok := table.Match(method, prefix+variant, false)
					if !ok || m.Row.Item != cell.item || m.Row.Action != cell.action || m.Row.Path != path {
						t.Errorf("%s %s%s: got %+v, %v; want %s", method, prefix, variant, m.Row, ok, path)
						continue
					}
					for _, name := range m.names {
						if v, ok := m.Param(name); !ok || v != "4711" {
							t.Errorf("%s: {%s} is %q, %v", variant, name, v, ok)
						}
					}
				}
			}
		}
	}
}

func TestMethodsOutsideTheTableDoNotMatch(t *testing.T) {
	t.Parallel()
	table := mustTable(t, "", Rows()...)
	paths := map[string][]string{}
	for _, r := range Rows() {
		path := strings.NewReplacer("{ticketId}", "1", "{userId}", "1", "{classificationId}", "1", "{queueId}", "1").Replace(r.Path)
		paths[path] = append(paths[path], r.Method)
	}
	// Members of collections that the table does not name, for the cells that are empty.
	for _, path := range []string{"/tickets/1/alerts/2", "/tickets/1/replies/2", "/media/2", "/classifications/1", "/queues/1"} {
		paths[path] = append(paths[path], "")
	}
	for path, methods := range paths {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "post", "", "PROPFIND"} {
			if _, ok := table.Match(method, path, false); ok != (method != "" && slices.Contains(methods, method)) {
				t.Errorf("%s %s: %v", method, path, ok)
			}
		}
	}
}

func TestLookAlikesDoNotMatch(t *testing.T) {
	t.Parallel()
	table := mustTable(t, "", Rows()...)
	for _, path := range []string{
		"", "/", "*", "tickets", "//tickets", "/ticketsx", "/ticket", "/Tickets", "/tickets//", "/tickets//alerts",
		"/tickets/./alerts", "/tickets/../alerts", "/tickets/%2e/alerts", "/tickets/%2E%2e/alerts", "/tickets/.%2e/alerts",
		"/tickets/1/alerts/2", "/tickets/1/alertsx", "/tickets/1//alerts", "/tickets/1/alerts//", "/tickets/1",
		"/x/tickets", "/v1", "/v1/", "/v/tickets", "/vx/tickets", "/v1x/tickets", "/V1/tickets", "/v-1/tickets", "/v1/v1/tickets", "/v1.0/tickets",
		"/tickets%2F1%2Falerts", "/tickets/%zz/alerts", "/tickets/%/alerts", "/tickets/1%2/alerts", "/ticket%7", "/ticket%zs",
		"/tickets/%00/alerts", "/tickets/a%0ab/alerts", "/tickets/%7f/alerts", "/tickets/a\x01b/alerts",
		"/tickets/" + strings.Repeat("1", maxPath) + "/alerts", "/webhooks",
	} {
		if m, ok := table.Match("POST", path, true); ok {
			t.Errorf("%.80q matches %+v", path, m.Row)
		}
	}
}

func TestMatchDecodesWirePaths(t *testing.T) {
	t.Parallel()
	table := mustTable(t, "/a!b/ü", Rows()...)
	for _, c := range []struct {
		path    string
		encoded bool
		want    string
	}{
		{"/a%21b/%C3%bc/tickets/a%2Fb/alerts", true, "a/b"},
		{"/a%21b/%C3%BC/v%31/%74ickets/7/alerts/", true, "7"},
		{"/a!b/ü/tickets/a%2Fb/alerts", false, "a%2Fb"},
		{"/a!b/ü/tickets/100%/alerts", false, "100%"},
		{"/a%21b/%C3%BC/tickets/.../alerts", true, "..."},
		{"/a%21b/%C3%BC/tickets/a+b/alerts", true, "a+b"},
		{"/a%21b/%C3%BC/tickets/%2e1/alerts", true, ".1"},
	} {
		m, ok := table.Match("POST", c.path, c.encoded)
		if got, _ := m.Param("ticketId"); !ok || got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.path, got, ok, c.want)
		}
	}
	for _, path := range []string{"/a%21b/%C3%BC/tickets/1/alerts", "/a%2Fb", "/a!b", "/a!b/", "/a!b/ütickets"} {
		if _, ok := table.Match("POST", path, false); ok {
			t.Errorf("%s matches", path)
		}
	}
}

func TestStaticSegmentsWinWithBacktracking(t *testing.T) {
	t.Parallel()
	row := func(path string) Row { return Row{Item: "ticket", Action: "add", Method: "POST", Path: path} }
	table := mustTable(t, "", row("/tickets/{ticketId}/alerts"), row("/tickets/special/{x}"), row("/{a}/{b}/{c}/{d}"),
		row("/tickets/special/deep/{y}/end"))
	for path, want := range map[string]string{
		"/tickets/1/alerts":               "/tickets/{ticketId}/alerts ticketId=1",
		"/tickets/special/alerts":         "/tickets/special/{x} x=alerts",
		"/tickets/special/7":              "/tickets/special/{x} x=7",
		"/tickets/special/deep/7/end":     "/tickets/special/deep/{y}/end y=7",
		"/tickets/special/deep/7":         "/{a}/{b}/{c}/{d} a=tickets b=special c=deep d=7",
		"/tickets/1/x":                    "",
		"/v1/tickets/1/x":                 "/{a}/{b}/{c}/{d} a=v1 b=tickets c=1 d=x",
		"/v1/tickets/special/deep/7":      "/{a}/{b}/{c}/{d} a=tickets b=special c=deep d=7",
		"/tickets/special/deep/7/end/end": "",
	} {
		got := ""
		if m, ok := table.Match("POST", path, true); ok {
			got = m.Row.Path
			for i, name := range m.names {
				got += " " + name + "=" + m.values[i]
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestALaterRowReplacesTheSamePath(t *testing.T) {
	t.Parallel()
	mine := Row{Item: "reply", Action: "update", Method: "PUT", Path: "/tickets/{other}", ID: []Source{{fromPath, "other"}}}
	table := mustTable(t, "", append(Rows(), mine)...)
	m, ok := table.Match("PUT", "/tickets/5", false)
	if v, _ := m.Param("other"); !ok || m.Row.Item != "reply" || v != "5" {
		t.Errorf("got %+v, %q", m.Row, v)
	}
	if _, ok := m.Param("ticketId"); ok {
		t.Error("the name of the replaced row is still known")
	}
}

func TestTablesDoNotShareRowsWithTheCaller(t *testing.T) {
	t.Parallel()
	rows := Rows()
	table := mustTable(t, "", rows...)
	for i := range rows {
		rows[i].Item = "changed"
		for j := range rows[i].ID {
			rows[i].ID[j] = Source{}
		}
		for j := range rows[i].Parent {
			rows[i].Parent[j] = Source{}
		}
	}
	m, _ := table.Match("PUT", "/tickets/5", false)
	if m.Row.Item != "ticket" || m.Row.ID[0] != (Source{fromPath, "ticketId"}) {
		t.Errorf("got %+v", m.Row)
	}
	if m, _ := table.Match("POST", "/media", false); slices.Contains(m.Row.Parent, Source{}) || len(m.Row.ID) == 0 {
		t.Errorf("got %+v", m.Row)
	}
}

func TestInvalidRowsAreRefused(t *testing.T) {
	t.Parallel()
	good := Row{Item: "media", Action: "add", Method: "POST", Path: "/media"}
	for _, c := range []struct {
		change func(*Row)
		want   string
	}{
		{func(r *Row) { r.Item = "" }, "item"},
		{func(r *Row) { r.Item = "Media" }, "allowed are alert, ticket"},
		{func(r *Row) { r.Action = "delete" }, "allowed are add, update, remove"},
		{func(r *Row) { r.Method = "GET" }, "method"},
		{func(r *Row) { r.Method = "post" }, "method"},
		{func(r *Row) { r.Method = "" }, "method"},
		{func(r *Row) { r.Method = "PO ST" }, "method"},
		{func(r *Row) { r.Path = "" }, "must begin"},
		{func(r *Row) { r.Path = "media" }, "must begin"},
		{func(r *Row) { r.Path = "/" }, "no slash at the end"},
		{func(r *Row) { r.Path = "/media/" }, "no slash at the end"},
		{func(r *Row) { r.Path = "/a//b" }, "two in a row"},
		{func(r *Row) { r.Path = "/a/../b" }, ". and .."},
		{func(r *Row) { r.Path = "/a/{b" }, "whole segment"},
		{func(r *Row) { r.Path = "/a/x{b}" }, "whole segment"},
		{func(r *Row) { r.Path = "/a/{}" }, "letters, digits"},
		{func(r *Row) { r.Path = "/a/{b-c}" }, "letters, digits"},
		{func(r *Row) { r.Path = "/a/{b}/{b}" }, "twice"},
		{func(r *Row) { r.Path = "/a/*" }, "wildcards"},
		{func(r *Row) { r.Path = "/a%20b" }, "decoded"},
		{func(r *Row) { r.Path = "/a?b" }, "decoded"},
		{func(r *Row) { r.Path = "/a b" }, "spaces"},
		{func(r *Row) { r.Path = "/a\x00" }, "control"},
		{func(r *Row) { r.Path = "/a\xff" }, "UTF-8"},
		{func(r *Row) { r.Path = "/v1/media" }, "version"},
		{func(r *Row) { r.Path = "/webhooks" }, "subscription"},
		{func(r *Row) { r.Path = "/webhooks/app/x" }, "subscription"},
		{func(r *Row) { r.Path = "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}" }, "at most 8"},
		{func(r *Row) { r.Path = "/" + strings.Repeat("a", maxPath) }, "at most"},
		{func(r *Row) { r.ID = []Source{{fromPath, "ticketId"}} }, "id: {benti.path.ticketId}: the path has no {ticketId}"},
		{func(r *Row) { r.Parent = []Source{{fromPath, "x"}} }, "parent: "},
		{func(r *Row) { r.Parent = []Source{{}} }, "empty source"},
	} {
		row := good
		c.change(&row)
		_, err := NewTable("", []Row{good, row})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "row ") {
			t.Errorf("%+v: got %v, want %q", row, err, c.want)
		}
	}
	eight := good
	eight.Path, eight.Method = "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}", "PATCH"
	m, ok := mustTable(t, "", eight).Match("PATCH", "/1/2/3/4/5/6/7/8", false)
	if v, _ := m.Param("h"); !ok || v != "8" {
		t.Errorf("the eighth of eight parameters is %q", v)
	}
}

func TestInvalidPrefixesAreRefused(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"a", "/", "/a/", "//a", "/a//b", "/a/{b}", "/a/../b", "/.", "/a%20b", "/{", "/a?", "/*"} {
		if _, err := NewTable(prefix, nil); err == nil || !strings.HasPrefix(err.Error(), "prefix ") {
			t.Errorf("%q: got %v", prefix, err)
		}
	}
}

func TestBaseSplitsBehindPrefixAndVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prefix, path string
		encoded      bool
		base, rest   string
		ok           bool
	}{
		{"", "/webhooks", false, "", "/webhooks", true},
		{"", "/v1/webhooks/a%2Fb", true, "/v1", "/webhooks/a%2Fb", true},
		{"", "/", false, "", "/", true},
		{"", "/v1", false, "/v1", "", true},
		{"", "/v1x/webhooks", false, "", "/v1x/webhooks", true},
		{"", "*", false, "", "", false},
		{"", "", false, "", "", false},
		{"/prod/ticketing", "/prod/ticketing", false, "/prod/ticketing", "", true},
		{"/prod/ticketing", "/prod/ticketing/", false, "/prod/ticketing", "/", true},
		{"/prod/ticketing", "/prod/ticketing/v12/webhooks", false, "/prod/ticketing/v12", "/webhooks", true},
		{"/prod/ticketing", "/pr%6Fd/ticketing/v1/webhooks", true, "/pr%6Fd/ticketing/v1", "/webhooks", true},
		{"/prod/ticketing", "/prod/ticketingx/webhooks", false, "", "", false},
		{"/prod/ticketing", "/prod%2Fticketing/webhooks", true, "", "", false},
		{"/prod/ticketing", "/prod", false, "", "", false},
		{"/prod/ticketing", "/v1/prod/ticketing", false, "", "", false},
		{"", "/" + strings.Repeat("a", maxPath), false, "", "", false},
	} {
		base, rest, ok := mustTable(t, c.prefix).Base(c.path, c.encoded)
		if base != c.base || rest != c.rest || ok != c.ok {
			t.Errorf("%s, %.40s: got %q %q %v", c.prefix, c.path, base, rest, ok)
		}
	}
}

func TestWirePathAgreesWithEscapedPath(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{"a", "/", "%2F", "%2f", "%", "%4", "%zz", "%41", "A", " ", "%20", "[", "<", "?", "é", "%C3%A9", "~", "\""})
	rapid.Check(t, func(t *rapid.T) {
		raw := strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "raw"), "")
		u := &url.URL{RawPath: raw}
		if path, err := url.PathUnescape(raw); err == nil && rapid.Bool().Draw(t, "faithful") {
			u.Path = path
		} else {
			u.Path = strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "path"), "")
		}
		path, encoded := WirePath(u)
		if want := raw != "" && u.EscapedPath() == raw; encoded != want {
			t.Fatalf("%+v: encoded is %v, want %v", u, encoded, want)
		}
		if (encoded && path != u.RawPath) || (!encoded && path != u.Path) {
			t.Fatalf("%+v: got %q", u, path)
		}
	})
}

func TestMissesAndPlainHitsDoNotAllocate(t *testing.T) {
	table := mustTable(t, "/prod/ticketing", Rows()...)
	u, err := url.Parse("https://host/prod/ticketing/v1/tickets/a%2Fb/assignees?x=1")
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"other method":  func() { table.Match("GET", "/prod/ticketing/v1/tickets", false) },
		"other path":    func() { table.Match("POST", "/prod/ticketing/v1/tickets/1/assignees", false) },
		"encoded miss":  func() { p, e := WirePath(u); table.Match("POST", p, e) },
		"broken escape": func() { table.Match("POST", "/prod/ticketing/v1/tickets/%zz/alerts", true) },
		"no prefix":     func() { table.Match("POST", "/tickets", false) },
		"hit":           func() { table.Match("POST", "/prod/ticketing/v1/tickets/1/alerts", false) },
		"encoded hit":   func() { table.Match("POST", "/prod/ticketing/v1/%74ickets/1/alerts", true) },
		"param":         func() { m, _ := table.Match("POST", "/prod/ticketing/tickets/1/alerts", false); m.Param("ticketId") },
		"base":          func() { table.Base("/prod/ticketing/v1/webhooks", false) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// reference matches the slow and obvious way: all rows, all segments decoded first.
func reference(rows []Row, method, path string, encoded bool) map[string]bool {
	hits := map[string]bool{}
	if len(path) > maxPath || !strings.HasPrefix(path, "/") {
		return hits
	}
	segments := strings.Split(path[1:], "/")
	if n := len(segments); n > 1 && segments[n-1] == "" {
		segments = segments[:n-1]
	}
	for i, s := range segments {
		if encoded {
			decoded, err := url.PathUnescape(s)
			if err != nil {
				return hits
			}
			s = decoded
		}
		if s == "" || s == "." || s == ".." {
			return hits
		}
		segments[i] = s
	}
	starts := [][]string{segments}
	if s := segments[0]; len(s) > 1 && s[0] == 'v' && strings.Trim(s[1:], "0123456789") == "" {
		starts = append(starts, segments[1:])
	}
	for _, start := range starts {
		for _, r := range rows {
			want := strings.Split(r.Path[1:], "/")
			ok := r.Method == method && len(want) == len(start)
			for i := 0; ok && i < len(want); i++ {
				ok = want[i] == start[i] || (isPlaceholder(want[i]) && !strings.ContainsFunc(start[i], func(c rune) bool { return c < 0x20 || c == 0x7f }))
			}
			if ok {
				hits[r.Path] = true
			}
		}
	}
	return hits
}

func FuzzMatch(f *testing.F) {
	for _, path := range []string{"/tickets/1/alerts", "/v1/tickets/a%2Fb/replies/", "/%74ickets", "/tickets/%00/alerts", "//", "/v1/", "/tickets/special/x"} {
		f.Add("POST", path, true)
		f.Add("PUT", path, false)
	}
	rows := append(Rows(), Row{Item: "ticket", Action: "add", Method: "POST", Path: "/tickets/special/{x}"},
		Row{Item: "ticket", Action: "add", Method: "POST", Path: "/{any}/x/y"})
	table, err := NewTable("", rows)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path string, encoded bool) {
		m, ok := table.Match(method, path, encoded)
		want := reference(rows, method, path, encoded)
		if ok != (len(want) > 0) || (ok && !want[m.Row.Path]) {
			t.Fatalf("%s %q %v: got %v %+v, want %v", method, path, encoded, ok, m.Row, want)
		}
		if base, rest, ok := table.Base(path, encoded); ok && base+rest != path {
			t.Fatalf("%q splits into %q and %q", path, base, rest)
		}
		WirePath(&url.URL{Path: path, RawPath: method})
	})
}

func BenchmarkMatch(b *testing.B) {
	table := mustTable(b, "", Rows()...)
	for _, c := range []struct{ name, method, path string }{
		{"miss/method", "GET", "/v1/tickets/110063"},
		{"miss/path", "POST", "/v1/tickets/110063/assignees"},
		{"hit", "POST", "/v1/tickets/110063/replies"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Match(c.method, c.path, false)
			}
		})
	}
}
