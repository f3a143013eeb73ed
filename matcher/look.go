package matcher

// Look tells of one place that was looked at while an event was derived. Of the looks for one thing in one
// document, in the order of precedence, the last is the only one that may have found something. Some fields are looked
// for twice: for the condition of an event and for its payload.
type Look struct {
	// For is what was looked for: "id", "parent", "actor", or the name of a field of instance events (see [Fields]).
	For string
	// In is the document in which a path of a field was looked up: "request", "response" or "ticket". It is empty if
	// the source says where it is found, and for the parts of persons and attachments.
	In string
	// Source is the place.
	Source Source
	// Found is the text that was there, or empty.
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
