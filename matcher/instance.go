package matcher

import (
	"encoding/base64"
	"fmt"
	"io"
	"time"
)

// InstanceEvent is one thing that happened at the ticketing API, as the receivers of instance webhooks are
// told.
type InstanceEvent struct {
	// Name is what webhooks subscribe to, one of [InstanceEvents].
	Name string
	// Action is what the payload says, see [Rule].
	Action string
	// ID is the event's own: base64 of 16 random bytes.
	ID string
	// Ticket is the reference of the ticket, see [TicketReference].
	Ticket string
	// Payload is the event as a JSON object with the keys of the vendor's sample in its order, without white
	// space. It is sent in a list, {"events":[...]}, on its own too.
	Payload []byte
	// Unseen tells why values of the call may be missing from the payload: one of the Reason constants, or empty if
	// all of the call was seen.
	Unseen string
}

// InstancePing returns the payload of a ping to an instance webhook: the four keys that all events have. random gives
// its id, 16 bytes, as in [RuleTable.Derive].
func InstancePing(project string, at time.Time, random io.Reader) ([]byte, error) {
	id, err := newEventID(random)
	if err != nil {
		return nil, fmt.Errorf("making id of ping: %w", err)
	}
	dst := appendString(append(appendHead(nil, id, "ping", at), `,"project":`...), project)
	return append(dst, '}'), nil
}

func newEventID(random io.Reader) (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(id[:]), nil
}
