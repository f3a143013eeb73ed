package matcher

import (
	"io"
	"mime"
	"mime/multipart"
	"strings"
)

const (
	// maxNesting is how deep the fields of a form may be nested.
	maxNesting = 16
	// maxFieldName is how long the name of a form's field may be, in bytes.
	maxFieldName = 1 << 10
)

// parseTree reads the body of a request like parseRequest, but of a form it makes the JSON that its names
// spell out in the way of PHP: a[b]=1 and a.b=1 are {"a":{"b":"1"}}, a[]=1&a[]=2 is {"a":["1","2"]}. Files
// become {"name":...,"type":...}, several of one name a list.
func parseTree(b Body, limit int) document {
	t := b.mediaType()
	isForm, isMultipart := t == "application/x-www-form-urlencoded", t == "multipart/form-data"
	if !isForm && !isMultipart {
		return parseRequest(b, limit)
	}
	out, cut, err := decode(b, limit)
	if err != nil {
		return document{fault: ReasonUndecodable}
	}
	var root branch
	ok := true
	if isForm {
		cut = eachPair(out, cut, root.addField)
	} else {
		cut, ok = eachPart(b.Type, out, cut, root.addPart)
	}
	if !ok {
		return document{fault: ReasonInvalid}
	}
	d := parseJSON(root.appendJSON(nil), false)
	d.cut = cut
	return d
}

// branch is an object or list of a form, or a leaf.
type branch struct {
	value    []byte // of a leaf: JSON
	keys     []string
	elements []*branch // as many as keys
	named    map[string]*branch
}

// addField keeps the first of several fields of one name.
func (b *branch) addField(name, value string) {
	if leaf := b.grow(name, false); leaf != nil {
		leaf.value = appendString(nil, value)
	}
}

// addPart returns false if the part does not end.
func (b *branch) addPart(part *multipart.Part) bool {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	name := params["name"]
	if err != nil || name == "" {
		return true
	}
	if file, ok := params["filename"]; ok {
		b.addFile(name, file, part.Header.Get("Content-Type"))
		return true
	}
	value, err := io.ReadAll(part)
	if err != nil {
		return false
	}
	b.addField(name, string(value))
	return true
}

func (b *branch) addFile(name, file, contentType string) {
	if file == "" { // a file input that was left empty
		return
	}
	leaf := b.grow(name, true)
	if leaf == nil {
		return
	}
	file = file[strings.LastIndexAny(file, `/\`)+1:] // old browsers send the path
	leaf.value = appendString(append(leaf.value, `{"name":`...), file)
	leaf.value = appendString(append(leaf.value, `,"type":`...), contentType)
	leaf.value = append(leaf.value, '}')
}

// grow returns the new leaf with the given name; nil if there is one already, or the name is absurd.
func (b *branch) grow(name string, file bool) *branch {
	if name == "" || len(name) > maxFieldName {
		return nil
	}
	keys := splitName(name)
	if file && keys[len(keys)-1] != "" {
		keys = append(keys, "")
	}
	if len(keys) > maxNesting {
		return nil
	}
	fresh := false
	for _, key := range keys {
		if b.value != nil {
			return nil
		}
		b, fresh = b.child(key)
	}
	if !fresh {
		return nil
	}
	return b
}

// child returns the element with a key, and makes it if need be. The empty key is that of a new one.
func (b *branch) child(key string) (element *branch, fresh bool) {
	if element = b.named[key]; element != nil && key != "" {
		return element, false
	}
	if b.named == nil {
		b.named = make(map[string]*branch)
	}
	element = new(branch)
	b.named[key] = element
	b.keys = append(b.keys, key)
	b.elements = append(b.elements, element)
	return element, true
}

// splitName splits a[b][] and a.b into their keys. What is not of these forms is one key.
func splitName(name string) []string {
	head, rest, nested := strings.Cut(name, "[")
	if !nested {
		return strings.Split(name, ".")
	}
	rest, ok := strings.CutSuffix(rest, "]")
	if !ok || head == "" {
		return []string{name}
	}
	return append(strings.Split(head, "."), strings.Split(rest, "][")...)
}

// appendJSON appends nothing for a form without fields.
func (b *branch) appendJSON(dst []byte) []byte {
	switch {
	case b.value != nil || len(b.keys) == 0:
		return append(dst, b.value...)
	case b.isList():
		for i, element := range b.elements {
			dst = element.appendJSON(append(dst, "[,"[min(i, 1)]))
		}
		return append(dst, ']')
	default:
		for i, element := range b.elements {
			dst = appendString(append(dst, "{,"[min(i, 1)]), b.keys[i])
			dst = element.appendJSON(append(dst, ':'))
		}
		return append(dst, '}')
	}
}

// isList reports whether all keys are indexes. Their order is that of the form.
func (b *branch) isList() bool {
	for _, key := range b.keys {
		if strings.Trim(key, "0123456789") != "" {
			return false
		}
	}
	return true
}
