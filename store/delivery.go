package store

import "time"

// State is where a delivery stands.
type State string

const (
	// Pending waits for its next attempt.
	Pending State = "pending"
	// Delivering is in the hands of an emitter.
	Delivering State = "delivering"
	// Delivered was accepted by the receiver.
	Delivered State = "delivered"
	// Dead will not be attempted again unless it is replayed.
	Dead State = "dead"
	// Dropped was pending when its webhook was deleted.
	Dropped State = "dropped"
)

// Delivery is one event owed to one webhook.
type Delivery struct {
	// ID is a UUIDv7: time-ordered, the same on every attempt, unique over all webhooks.
	ID string
	// Webhook is the id of the webhook it is owed to. (Webhook, ID) is its address in a store.
	Webhook string
	Project string
	// Item and Action repeat what the payload says, for filters and metrics.
	Item   string
	Action string
	// Payload is the body of every attempt, byte for byte.
	Payload []byte
	// Ping marks a test delivery: attempted once, never retried.
	Ping bool
	// TraceContext is the W3C trace context of the request that made the event: its traceparent and, after a space, its tracestate
	// if it had one. Empty without a traceparent.
	TraceContext string
	State        State
	// CreatedAt is when the event was captured.
	CreatedAt time.Time
	// Due is the earliest time of the next attempt. Meaningless unless pending.
	Due time.Time
	// Attempts are all attempts so far, oldest first.
	Attempts []Attempt
	// Spent counts the attempts made before the latest replay: the retry schedule starts over behind them,
	// the attempt numbers go on.
	Spent int
}

// Attempt is one request of a delivery and what became of it.
type Attempt struct {
	// N counts from 1 over the life of the delivery.
	N  int
	At time.Time
	// Status is the HTTP status of the answer, 0 where there was none.
	Status   int
	Duration time.Duration
	// Error says in words why the attempt failed; empty on success. It never holds a secret.
	Error string
	// Response is the first KiB of the answer's body.
	Response []byte
}

// MaxResponse is how many bytes of an answer an [Attempt] keeps.
const MaxResponse = 1 << 10

// Outcome is what became of a claimed delivery.
type Outcome struct {
	Delivery Delivery
	// Attempt is appended to the delivery's attempts.
	Attempt Attempt
	// State is Delivered, Dead, or Pending for another attempt at Due.
	State State
	Due   time.Time
}

// Counts says how many deliveries stand where. At every moment
//
//	Enqueued = Pending + Delivering + Delivered + Dead + Dropped + Pruned
//
// or something was lost.
type Counts struct {
	// Enqueued counts all deliveries ever enqueued.
	Enqueued uint64
	// Pending, Delivering, Delivered and Dead count those a listing shows now.
	Pending, Delivering, Delivered, Dead uint64
	// Dropped counts those ever dropped with their webhook.
	Dropped uint64
	// Pruned counts the delivered and dead ones that have been erased, by age or with their webhook.
	Pruned uint64
}
