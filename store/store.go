package store

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound is returned when the webhook or delivery named does not exist.
	ErrNotFound = errors.New("not found")
	// ErrDuplicate is returned when the project already has such a webhook, see [Webhook.Same].
	ErrDuplicate = errors.New("duplicate webhook")
	// ErrLimit is returned when a project has as many webhooks as it may have.
	ErrLimit = errors.New("too many webhooks")
	// ErrClosed is returned by every call on a store that has been closed.
	ErrClosed = errors.New("store is closed")
	// ErrConflict is returned when the delivery is not in a state that allows the call.
	ErrConflict = errors.New("conflicting state")
	// ErrCursor is returned by Find for a cursor that no Find gave out.
	ErrCursor = errors.New("unreadable cursor")
)

// Store keeps webhooks and deliveries. All methods are safe for concurrent use.
//
// A method that changes something is atomic, and durable once it has returned nil: it survives a kill
// of the process and a loss of power. When it returns an error other than those above, its outcome is
// unknown: all of it may have happened, or nothing. The same holds when its context ends first.
type Store interface {
	// Directory is the current set of webhooks, kept up to date by the engine.
	Directory() *Directory

	// CreateWebhook adds w, unless its project has limit webhooks or more (ErrLimit) or one that is the same
	// (ErrDuplicate, see [Webhook.Same]). It is in the Directory when the call returns.
	CreateWebhook(ctx context.Context, w Webhook, limit int) error
	// UpdateWebhook calls change with a copy of the webhook and stores what it leaves there. Updates of one
	// webhook happen one after the other. ErrNotFound, ErrDuplicate, or the error of change, which then
	// changed nothing. ID, Project and CreatedAt cannot change.
	UpdateWebhook(ctx context.Context, id string, change func(*Webhook) error) (Webhook, error)
	// DeleteWebhook removes a webhook and its deliveries. From then on Claim hands out none of them; the
	// pending ones count as dropped, though erasing them may go on after the call.
	DeleteWebhook(ctx context.Context, id string) error

	// Enqueue stores deliveries in state Pending, all or none of them. A delivery that the store already has
	// (same Webhook and ID) is left as it is, so that an Enqueue of unknown outcome can be repeated. One
	// whose webhook does not exist (any more) is counted as enqueued and dropped, and is no error.
	Enqueue(ctx context.Context, deliveries ...Delivery) error
	// Claim hands out up to n pending deliveries of a webhook that are due at now, for the caller alone, until
	// it calls Finish or Release for each, or its process ends. First come those due longest; of a long backlog, one in
	// four may be one of the latest, so that what is fresh does not wait behind all of it.
	Claim(ctx context.Context, webhook string, now time.Time, n int) ([]Delivery, error)
	// NextDue tells when the next unclaimed delivery of a webhook is due; false when there is none.
	NextDue(ctx context.Context, webhook string) (time.Time, bool, error)
	// Finish records the attempt of a claimed delivery and where the delivery stands now, and ends the claim.
	// It is no error if the webhook has been deleted meanwhile. ErrConflict if it was not claimed.
	Finish(ctx context.Context, o Outcome) error
	// Release ends claims without an attempt: the deliveries are pending and due as before.
	Release(ctx context.Context, deliveries ...Delivery) error

	// Kill makes all pending deliveries of a webhook dead that were enqueued before the call, in several
	// steps if they are many. Claimed ones are left to their holder. It returns how many.
	Kill(ctx context.Context, webhook string) (int, error)
	// Replay makes a delivered or dead delivery pending again, due at now, and one that is pending due at
	// now. One that is being delivered is left alone. ErrNotFound.
	Replay(ctx context.Context, webhook, id string, now time.Time) error
	// Prune erases delivered and dead deliveries captured before the given time, in several steps if they
	// are many, and returns how many.
	Prune(ctx context.Context, before time.Time) (int, error)

	// Get returns one delivery, in state Delivering if it is claimed; of any webhook if webhook is empty, which costs
	// hardly more. ErrNotFound.
	Get(ctx context.Context, webhook, id string) (Delivery, error)
	// List returns up to limit deliveries of a webhook, newest first, older than the one with id before
	// (all if empty; it need not exist any more), with Delivering for those that are claimed.
	List(ctx context.Context, webhook, before string, limit int) ([]Delivery, error)
	// Find returns up to limit deliveries of all webhooks that f chooses, those with the greatest ids first, and the cursor
	// to go on with: empty at first, and empty again at the end. A page may be short, even empty, while next is not empty,
	// because each call looks only so far. What is enqueued meanwhile moves nothing: one Find after the other
	// returns every delivery that was there all the time and kept fitting exactly once. ErrCursor.
	Find(ctx context.Context, f Filter, cursor string, limit int) (ds []Delivery, next string, err error)
	// OldestPending tells when the event was captured that has been owed longest: the least CreatedAt of what is
	// pending or being delivered, but for what is held for a disabled webhook; false when there is none. It is cheap enough
	// to be asked every second. It never names an earlier time than the truth. A later one it may name for a while after
	// the store was opened or something old was replayed, until the engine has found its way.
	OldestPending(ctx context.Context) (time.Time, bool, error)
	// Counts is exact with respect to all calls that have returned.
	Counts(ctx context.Context) (Counts, error)

	// OnDue has fn called whenever a delivery of a webhook became pending, with its due time: after an
	// Enqueue, a retry, a Release or a Replay. It replaces the fn of an earlier call; nil for none. fn must
	// not block and must not call the store. What was pending before is found through NextDue.
	OnDue(fn func(webhook string, due time.Time))

	// Close waits for calls in flight and gives back all resources. Claims end with it.
	Close() error
}
