package matcher

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTheIndexOfAnObjectTellsTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := drawJSON(t, 4)
		n := rapid.IntRange(0, len(doc)).Draw(t, "cut")
		for _, d := range []document{parseJSON([]byte(doc), false), parseJSON([]byte(doc[:n]), true)} {
			plain := d.top()
			indexed := plain
			indexed.index()
			for _, path := range []string{"id", "data", "data.id", "data.0", "data.0.id", "ticket.id", "x.data.id", "0", "0.id", "errors.#", "none"} {
				r, at := plain.lookup(path)
				got, gotAt := indexed.lookup(path)
				if got.Type != r.Type || got.Raw != r.Raw || got.Str != r.Str || (at != gotAt && r.Exists()) {
					t.Fatalf("%s at %s: got %q at %d, want %q at %d", d.json, path, got.Raw, gotAt, r.Raw, at)
				}
				if r.Exists() && isPlain(path) && !strings.HasPrefix(d.json[at:], r.Raw) {
					t.Fatalf("%s at %s: %q is not at %d", d.json, path, r.Raw, at)
				}
			}
		}
	})
}

// Whatever a cut leaves of a document, what is found there stands in all of it, objects and lists included.
func TestACutObjectNeverYieldsAPartOfAValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := drawJSON(t, 4)
		all := parseJSON([]byte(doc), false)
		whole := all.top()
		for n := range len(doc) {
			d := parseJSON([]byte(doc[:n]), true)
			part := d.top()
			for _, path := range []string{"id", "data", "data.id", "data.0", "ticket", "x", "x.data", "uuid", "errors.0"} {
				if got, want := part.get(path), whole.get(path); got.Exists() && got.Raw != want.Raw {
					t.Fatalf("%s cut at %d, %s: got %s, want %s", doc, n, path, got.Raw, want.Raw)
				}
			}
		}
	})
}

func TestLargeObjectsAreReadAsSmallOnes(t *testing.T) {
	t.Parallel()
	padding := `"padding":"` + strings.Repeat("x", largeObject) + `",`
	for name, c := range sampleCalls {
		large := c
		pad := func(s string) string {
			if s == "" {
				return s
			}
			for _, start := range []string{`{"data":[{`, `{"data":{`, `{`} {
				if rest, ok := strings.CutPrefix(s, start); ok && rest != "}" {
					return start + padding + rest
				}
			}
			return s
		}
		large.request, large.response, large.ticket = pad(c.request), pad(c.response), pad(c.ticket)
		if got, want := large.only(t, name).Raw, c.only(t, name).Raw; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
