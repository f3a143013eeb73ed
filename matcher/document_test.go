package matcher

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"pgregory.net/rapid"
)

func TestTextsAreFoundInJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ doc, path, want string }{
		{`{"id":1}`, "id", "1"},
		{`{"id":12345678901234567890123}`, "id", "12345678901234567890123"},
		{`{"id":"x\u00e9\ud83d\ude00"}`, "id", "xé😀"},
		{`{"id":1.50}`, "id", "1.50"},
		{`{"\u0069d":1}`, "id", "1"},
		{`{"id":1,"id":2}`, "id", "1"},
		{`{"id":null,"id":2}`, "id", ""},
		{`{"data":{"x":1},"data":{"id":2}}`, "data.id", ""},
		{`{"data":[{"id":3},{"id":4}]}`, "data.0.id", "3"},
		{`{"data":[{"id":3},{"id":4}]}`, "data.1.id", "4"},
		{`{"data":[{"id":3}]}`, "data.id", ""},
		{`{"data":"{\"id\":5}"}`, "data.id", ""},
		{`"{\"id\":5}"`, "id", ""},
		{`"[5]"`, "0", ""},
		{`{"a":"[5]"}`, "a.0", ""},
		{`[{"id":5}]`, "id", ""},
		{`[{"id":5}]`, "0.id", "5"},
		{`{"id":true}`, "id", ""},
		{`{"id":{"id":1}}`, "id", ""},
		{`{"id":[1]}`, "id", ""},
		{`{"id":""}`, "id", ""},
		{`{"a.b":1}`, "a.b", ""},
		{`{"a.b":1}`, `a\.b`, "1"},
		{`{"list":[{"k":"x","id":1},{"k":"y","id":2}]}`, `list.#(k=="y").id`, "2"},
		{`{"list":[1,2,3]}`, `list.@reverse.0`, "3"},
		{`{"list":[1,2,3]}`, `list.#`, "3"},
		{`{"inner":"{\"id\":7}"}`, `inner.@fromstr.id`, "7"},
		{"\ufeff {\"id\":1}", "id", "1"},
		{`{}`, "id", ""},
		{``, "id", ""},
		{` `, "id", ""},
		{`7`, "id", ""},
	} {
		d := parseJSON([]byte(c.doc), false)
		if got := d.find(c.path); got != c.want || d.fault != "" {
			t.Errorf("%s at %s: got %q, %q; want %q", c.doc, c.path, got, d.fault, c.want)
		}
	}
}

func TestMalformedJSONIsInvalid(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		`{`, `}`, `{]`, `[}`, `{"id":1`, `{"id":1}x`, `{"id":1}{}`, `{"id":01}`, `{"id":}`, `{"id" 1}`, `{'id':1}`, `{"id":1,}`,
		`{"id":tru}`, `<html>`, "{\"a\":\"\n\"}", `{"a":"\x"}`, `nul`, `{"id":1 "x"}`,
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		strings.Repeat("[", 1_000_000), strings.Repeat(`{"a":`, 1_000_000),
	} {
		d := parseJSON([]byte(doc), false)
		if d.fault != ReasonInvalid || d.json != "" {
			t.Errorf("%.40q: got %q", doc, d.fault)
		}
	}
	for _, cut := range []string{`{"id":1}x`, `{"id":1} {`, `{"id":1},`, `{"id":1}{"id":2}`, `[1 2,`, `12 3`, `{]`} {
		if d := parseJSON([]byte(cut), true); d.fault != ReasonInvalid || d.json != "" {
			t.Errorf("%s, cut: got %q, %s", cut, d.fault, d.json)
		}
	}
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	if d := parseJSON([]byte(deep), false); d.fault != "" {
		t.Errorf("depth %d: got %q", maxDepth, d.fault)
	}
}

func TestDeepTextsInsideStringsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for bracket, want := range map[string]string{
		strings.Repeat("[", 1_000) + strings.Repeat("]", 1_000):         "5",
		strings.Repeat("[", maxHidden) + strings.Repeat("]", maxHidden): "",
		strings.Repeat(`\u005b`, maxHidden) + "]":                       "",
	} {
		inner, err := json.Marshal(`{"id":5,"x":` + bracket + `}`)
		if err != nil {
			t.Fatal(err)
		}
		d := parseJSON([]byte(`{"a":`+string(inner)+`}`), false)
		if text := d.find("a.@fromstr.id"); text != want || d.fault != "" {
			t.Errorf("%d bytes: got %q, %q", len(inner), text, d.fault)
		}
	}
}

func TestCutJSONIsClosedAtTheLastWholeValue(t *testing.T) {
	t.Parallel()
	for cut, want := range map[string]struct {
		json string
		open int
	}{
		`{"id":12`:                        {`{}`, -1},
		`{"id":12,`:                       {`{"id":12}`, -1},
		`{"id":12 `:                       {`{"id":12 }`, -1}, // up to the end of the token
		`{"id":"12`:                       {`{}`, -1},
		`{"id":"12\"`:                     {`{}`, -1},
		`{"id":"12"`:                      {`{"id":"12"}`, -1},
		`{"id"`:                           {`{}`, -1},
		`{"a":1,"id"`:                     {`{"a":1}`, -1},
		`{"a":1,"id":`:                    {`{"a":1}`, -1},
		`{"a":1,"id":tru`:                 {`{"a":1}`, -1},
		`{"errors":[`:                     {`{"errors":[]}`, 10},
		`{"errors":[{"code":1},{"co`:      {`{"errors":[{"code":1},{}]}`, 10},
		`{"errors":[],"data":{"x":[1,2`:   {`{"errors":[],"data":{"x":[1]}}`, 20},
		`{"errors":[],"data":{"x":1},"y"`: {`{"errors":[],"data":{"x":1}}`, -1},
		`[1,[2,{"a":"b",`:                 {`[1,[2,{"a":"b"}]]`, 3},
		`{"id":1}`:                        {`{"id":1}`, -1},
		`{"id":1} `:                       {`{"id":1} `, -1},
		`12`:                              {``, -1},
		``:                                {``, -1},
	} {
		d := parseJSON([]byte(cut), true)
		if strings.Replace(d.json, "12 }", "12}", 1) != strings.Replace(want.json, "12 }", "12}", 1) || d.open != want.open || d.fault != "" {
			t.Errorf("%s: got %s, open %d, fault %q; want %s, open %d", cut, d.json, d.open, d.fault, want.json, want.open)
		}
	}
}

// drawJSON draws a JSON text with white space, escapes and repeated keys in it.
func drawJSON(t *rapid.T, depth int) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
	scalar := rapid.SampledFrom([]string{
		"0", "1", "12", "123456789012345678901", "-7", "1.5", "1e3", "true", "false", "null", `""`, `"7"`, `"a\"b\\"`, `"{\"id\":9}"`, `"\u0069["`, `"ü"`,
	})
	key := rapid.SampledFrom([]string{"id", "data", "ticket", "ticket_id", "uuid", "errors", "error", `\u0069d`, "x", "0"})
	kind := rapid.IntRange(0, 3).Draw(t, "kind")
	if depth == 0 || (kind < 2 && depth < 4) {
		return scalar.Draw(t, "scalar")
	}
	var parts []string
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		part := space.Draw(t, "space") + drawJSON(t, depth-1) + space.Draw(t, "space")
		if kind != 2 {
			part = space.Draw(t, "space") + `"` + key.Draw(t, "key") + `"` + space.Draw(t, "space") + ":" + part
		}
		parts = append(parts, part)
	}
	if kind == 2 {
		return "[" + strings.Join(parts, ",") + "]"
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestAnyCutOfValidJSONIsRepaired(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := drawJSON(t, 4)
		for i := range len(doc) + 1 {
			d := parseJSON([]byte(doc[:i]), true)
			if d.fault != "" || (d.json != "" && !json.Valid([]byte(d.json))) {
				t.Fatalf("cut %s: %q, fault %q", doc[:i], d.json, d.fault)
			}
		}
	})
}

func TestErrorObjects(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]bool{
		`{"errors":[{"code":1}]}`: true, `{"error":{"code":1}}`: true, `{"error":"text"}`: true, `{"error":true}`: true, `{"error":5}`: true,
		`{"errors":[],"error":"x"}`: true, `{"id":1,"errors":[0]}`: true, `{"\u0065rror":1}`: true, ` {"error":1}`: true,
		`{"errors":[]}`: false, `{"errors":{}}`: false, `{"errors":[ ]}`: false, "{\"errors\":{\n}}": false, `{"error":""}`: false, `{"error":null}`: false,
		`{"error":false}`: false, `{"error":0}`: false, `{"error":0.0}`: false, `{}`: false, ``: false, `[{"error":1}]`: false, `{"data":{"error":1}}`: false,
		`"{\"error\":1}"`: false, `{"error":[],"error":[1]}`: false, `{"error":1`: false, `error=1`: false,
	} {
		for _, contentType := range []string{"application/json", "", "text/html", "Application/Problem+JSON; charset=utf-8"} {
			if got := IsError(Body{Type: contentType, Bytes: []byte(doc)}, 1<<20); got != want {
				t.Errorf("%s as %q: got %v", doc, contentType, got)
			}
		}
	}
	if IsError(Body{Encoding: "gzip", Bytes: []byte(`{"error":1}`)}, 1<<20) {
		t.Error("an undecodable body is taken for an error")
	}
}

func TestErrorObjectsCountOnlyIfSeenWhole(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]bool{
		`{"errors":[{"code":1}]`: true, `{"errors":[{"code":1}],"x":[`: true, `{"error":"text"`: true, `{"errors":[{"code":1}],"errors":[1`: true,
		`{"errors":[{"code":1}`: false, `{"error":"tex`: false, `{"error":12`: false, `{"errors":[],"error":{"a":1,`: false,
	} {
		if got := IsError(Body{Bytes: []byte(doc), Cut: true}, 1<<20); got != want {
			t.Errorf("%s: got %v", doc, got)
		}
		if got := IsError(Body{Bytes: []byte(doc + strings.Repeat(" ", 9))}, len(doc)); got != want {
			t.Errorf("%s at the limit: got %v", doc, got)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, doc := range []string{`{"id":1}`, `{"data":[{"id":"x"}],"errors":[]}`, `[[[[`, `{"a":"\ud800"}`, "\ufeff{}", `{"id":12`, `"`, `{"a":"\u0000"}`} {
		f.Add([]byte(doc), "data.0.id")
		f.Add([]byte(doc), "@this|a")
	}
	f.Fuzz(func(t *testing.T, doc []byte, path string) {
		whole := parseJSON(doc, false)
		trimmed := strings.TrimPrefix(string(doc), "\ufeff")
		if valid := json.Valid([]byte(trimmed)); whole.json != "" && !valid {
			t.Fatalf("%q is taken for valid", doc)
		} else if valid && whole.fault != "" && strings.Count(trimmed, "[")+strings.Count(trimmed, "{") <= maxDepth {
			t.Fatalf("%q is taken for invalid", doc)
		}
		cut := parseJSON(doc, true)
		if cut.json != "" && !gjson.Valid(cut.json) {
			t.Fatalf("%q is closed as %q", doc, cut.json)
		}
		for _, d := range []document{whole, cut} {
			d.isError()
			if len(path) < 64 && isPlain(path) { // other paths come from the configuration only
				d.find(path)
			}
			for _, p := range []string{"id", "data.0.id", `a.#(b=="c").d`, "@reverse.0", "a.@fromstr.id", "*.id", "@flatten", "{a,b}.a", "..0.id"} {
				text := d.find(p)
				if v := NewValue(text); v != "" && !json.Valid([]byte(v)) {
					t.Fatalf("%q at %s: %q", doc, p, v)
				}
			}
		}
	})
}
