package matcher

import (
	"strings"

	"github.com/tidwall/gjson"
)

// view is an object inside of a document, in which the fields of instance events are looked up.
type view struct {
	name    string // of the document, for [Look]
	json    string // the object, or "" if there is none
	whole   int    // how much of json was seen; what follows only closes its brackets
	cut     bool   // something may be missing
	outer   *view  // of the document that wraps the object, or nil
	wrapper string // the member of outer that wraps it, with a dot
	// members are those of a large object, or nil: there are dozens of places to look at, and each would be
	// searched for in all of it.
	members map[string]gjson.Result
}

// largeObject is from how many bytes on an object is worth an index of its members.
const largeObject = 8 << 10

// top is the view of the whole document.
func (d *document) top() view {
	v := view{json: d.json, whole: d.whole, cut: d.cut}
	if len(v.json) >= largeObject {
		v.index()
	}
	return v
}

// unwrapped is the view of the object that a document is about, which may stand in data, in the first
// element of data, or in a member named after it. What has an id at the top is not wrapped.
func (d *document) unwrapped(item string) view {
	top := d.top()
	if r, _ := top.lookup("id"); r.Exists() {
		return top
	}
	for _, path := range []string{"data.0", "data", item} {
		r, at := top.lookup(path)
		if !r.IsObject() {
			continue
		}
		name, _, _ := strings.Cut(path, ".")
		v := view{json: r.Raw, whole: min(len(r.Raw), d.whole-at), cut: d.cut, outer: &top, wrapper: name + "."}
		if len(v.json) >= largeObject {
			v.index()
		}
		return v
	}
	return top
}

// inside is the view of an object that was seen whole.
func inside(r gjson.Result) view {
	if !r.IsObject() {
		return view{}
	}
	return view{json: r.Raw, whole: len(r.Raw)}
}

// get returns what stands at path. An object or array that was not seen whole does not exist, nor do queries
// and counts over a part.
func (v *view) get(path string) gjson.Result {
	if v.outer != nil && strings.HasPrefix(path, v.wrapper) {
		if r := v.outer.get(path); r.Exists() {
			return r
		}
	}
	if v.json == "" || (v.cut && !isPlain(path)) {
		return gjson.Result{}
	}
	r, at := v.lookup(path)
	if v.cut && r.Type == gjson.JSON && at+len(r.Raw) > v.whole {
		return gjson.Result{}
	}
	return r
}

// index collects the members. The first of several with one key counts, as everywhere.
func (v *view) index() {
	v.members = make(map[string]gjson.Result)
	gjson.Result{Type: gjson.JSON, Raw: v.json}.ForEach(func(key, member gjson.Result) bool {
		if _, ok := v.members[key.Str]; !ok && key.Exists() {
			v.members[key.Str] = member
		}
		return true
	})
}

// lookup is the function of that name, faster.
func (v *view) lookup(path string) (r gjson.Result, at int) {
	if v.members == nil || !strings.HasPrefix(v.json, "{") || !isPlain(path) {
		return lookup(v.json, path)
	}
	first, rest, nested := strings.Cut(path, ".")
	r = v.members[first]
	switch {
	case !nested:
		return r, r.Index
	case r.Type != gjson.JSON:
		return gjson.Result{}, 0
	}
	inner, at := lookup(r.Raw, rest)
	return inner, r.Index + at
}

// reading is what a field holds: a text, or nothing although it is there.
type reading struct {
	text  string
	there bool
}

// read returns what the first of the candidates holds that leads to something.
func (x *Exchange) read(v view, field string, candidates []Source, parse func(gjson.Result) reading) reading {
	var found reading
	for _, c := range candidates {
		var r reading
		if c.kind == inObject {
			r = parse(v.get(c.text))
		} else {
			r.text = x.find(c)
		}
		x.look(field, v.name, c, r.text)
		if r.text != "" {
			return reading{r.text, true}
		}
		found.there = found.there || r.there
	}
	return found
}

// parseText reads texts, and numbers as they stand there.
func parseText(r gjson.Result) reading {
	switch r.Type {
	case gjson.String:
		return reading{r.Str, true}
	case gjson.Number:
		return reading{r.Raw, true}
	default:
		return reading{}
	}
}

// parseID reads ids. null says that there is none.
func parseID(r gjson.Result) reading {
	if r.Type == gjson.Null && r.Exists() {
		return reading{there: true}
	}
	return parseText(r)
}

// parseFlag reads truth values, in the spellings of forms too, as "true" and "false".
func parseFlag(r gjson.Result) reading {
	switch r.String() {
	case "true", "1":
		return reading{"true", true}
	case "false", "0":
		return reading{"false", true}
	default:
		return reading{}
	}
}

// parseIDs reads the ids of a list, or of a text in which commas separate them, and joins them with
// commas without spaces. An element may be an object with an id.
func parseIDs(r gjson.Result) reading {
	switch {
	case r.IsArray():
		var ids []string
		elements := 0
		r.ForEach(func(_, element gjson.Result) bool {
			if element.IsObject() {
				element = gjson.Get(element.Raw, "id")
			}
			if text := parseText(element).text; text != "" {
				ids = append(ids, strings.TrimSpace(text))
			}
			elements++
			return true
		})
		return reading{strings.Join(ids, ","), elements == 0 || len(ids) > 0}
	case r.Type == gjson.String && strings.Contains(r.Str, ","):
		ids := strings.Split(r.Str, ",")
		for i := range ids {
			ids[i] = strings.TrimSpace(ids[i])
		}
		return reading{strings.Join(ids, ","), true}
	default:
		id := parseID(r)
		return reading{strings.TrimSpace(id.text), id.there}
	}
}
