package matcher

import "strings"

// Look tells of one place that was looked at while an event was derived. Of the looks for one thing in one
// document, in the order of precedence, the last is the only one that may have found something. Some fields are looked
// for twice: for the condition of an event and for its payload.
type Look struct {
	// For is what was looked for: "id", "parent", "actor", or the name of a field of instance events (see [Fields]).
	For string
	// In is where a path of a field was looked up: in the "request", the "response" or the "ticket", or for the parts of persons
	// and attachments in the field that they are part of. It is empty if the source says where it is found.
	In string
	// Source is the place.
	Source Source
	// Found is the text that was there, or empty. Of persons and attachments it is what is known best of each, with
	// commas between them.
	Found string
}

// What of an api event is looked for.
const (
	lookID     = "id"
	lookParent = "parent"
	lookActor  = "actor"
)

func (x *Exchange) look(what, in string, s Source, found string) {
	if x.Looked != nil {
		x.Looked(Look{For: what, In: in, Source: s, Found: found})
	}
}

// lookAll tells of a place where n things were found.
func (x *Exchange) lookAll(what, in string, s Source, n int, text func(int) string) {
	if x.Looked == nil {
		return
	}
	found := make([]string, n)
	for i := range found {
		found[i] = text(i)
	}
	x.look(what, in, s, strings.Join(found, ", "))
}
