package matcher

// MaxBatch is how many instance events one request may carry.
const MaxBatch = 100

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
	// space. It is sent in the list that [AppendBatch] makes, on its own too.
	Payload []byte
	// Unseen tells why values of the call may be missing from the payload: one of the Reason constants, or empty if
	// all of the call was seen.
	Unseen string
}

// AppendBatch appends the body of a request: {"events":[...]} around the payloads of events, of which there
// should be 1 to [MaxBatch].
func AppendBatch(dst []byte, payloads ...[]byte) []byte {
	dst = append(dst, `{"events":[`...)
	for i, payload := range payloads {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, payload...)
	}
	return append(dst, `]}`...)
}
