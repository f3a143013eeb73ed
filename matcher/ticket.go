package matcher

import (
	"strings"

	"github.com/tidwall/gjson"
)

// Why a ticket could not be read, beside [ReasonUndecodable], [ReasonInvalid] and [ReasonTooLong]; fit for a
// metric's label.
const (
	// ReasonStatus: the answer's status is not 2xx.
	ReasonStatus = "status"
	// ReasonErrorObject: the answer is an error object.
	ReasonErrorObject = "error_object"
	// ReasonNoTicket: the answer holds no JSON object.
	ReasonNoTicket = "no_ticket"
)

// Ticket is a ticket as the API showed it. It is immutable and safe for concurrent use.
type Ticket struct{ view }

// ReadTicket reads the answer to GET /tickets/{ticketId}, at most limit decoded bytes of it. Where the reason is not
// empty there is no ticket, but for [ReasonTooLong], where what was seen whole of it may be used.
func ReadTicket(status int, answer Body, limit int) (t *Ticket, reason string) {
	if status < 200 || status > 299 {
		return nil, ReasonStatus
	}
	d := parseResponse(answer, limit)
	if d.fault != "" {
		return nil, d.fault
	}
	if d.isError() {
		return nil, ReasonErrorObject
	}
	v := d.unwrapped("ticket")
	switch isEmptyList := v.outer == nil && gjson.Get(v.json, "data").Exists() && !gjson.Get(v.json, "id").Exists(); {
	case strings.HasPrefix(v.json, "{") && !isBlank(gjson.Parse(v.json)) && !isEmptyList:
		if d.cut {
			reason = ReasonTooLong
		}
		return &Ticket{v}, reason
	case d.cut:
		return nil, ReasonTooLong
	default:
		return nil, ReasonNoTicket
	}
}
