package matcher

import "strconv"

// Event is one thing that happened at the ticketing API, as the receivers of api webhooks are told.
type Event struct {
	// ID is the id of the item. It is never null in an event that was derived.
	ID Value
	// Item and Action say what happened to what, such as "reply" and "add".
	Item, Action string
	// Timestamp is when the event was captured, in Unix seconds.
	Timestamp int64
	// Actor is who did it, or null.
	Actor Value
	// Parent is the ticket that the item belongs to, or null.
	Parent Value
}

// AppendJSON appends the payload: the vendor's six keys in the vendor's order, without white space. The
// bytes depend on nothing but e.
func (e Event) AppendJSON(dst []byte) []byte {
	dst = appendValue(append(dst, `{"id":`...), e.ID)
	dst = appendString(append(dst, `,"item":`...), e.Item)
	dst = appendString(append(dst, `,"action":`...), e.Action)
	dst = strconv.AppendInt(append(dst, `,"timestamp":`...), e.Timestamp, 10)
	dst = appendValue(append(dst, `,"actor":`...), e.Actor)
	dst = appendValue(append(dst, `,"parent":`...), e.Parent)
	return append(dst, '}')
}

func appendValue(dst []byte, v Value) []byte {
	if v == "" {
		return append(dst, "null"...)
	}
	return append(dst, v...)
}
