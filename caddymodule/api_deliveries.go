package caddymodule

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/matcher"
	"github.com/bentihooks/bentihooks/store"
)

const (
	defaultPage = 50
	maxPage     = 500
	// pingName is item and action of a ping.
	pingName = "ping"
)

// deliveryView is a delivery as the API shows it.
type deliveryView struct {
	ID            string          `json:"id"`
	State         store.State     `json:"state"`
	Event         json.RawMessage `json:"event"`
	CreatedAt     time.Time       `json:"created_at"`
	NextAttemptAt *time.Time      `json:"next_attempt_at"`
	Attempts      []attemptView   `json:"attempts"`
}

type attemptView struct {
	N          int       `json:"n"`
	At         time.Time `json:"at"`
	Status     *int      `json:"status"`
	DurationMS int64     `json:"duration_ms"`
	Error      *string   `json:"error"`
	Response   string    `json:"response"`
}

func viewDelivery(d *store.Delivery) deliveryView {
	view := deliveryView{
		ID: d.ID, State: d.State, Event: json.RawMessage(d.Payload),
		CreatedAt: d.CreatedAt.UTC().Truncate(time.Millisecond), Attempts: []attemptView{},
	}
	if d.State == store.Pending {
		due := d.Due.UTC().Truncate(time.Millisecond)
		view.NextAttemptAt = &due
	}
	for _, a := range d.Attempts {
		attempt := attemptView{
			N: a.N, At: a.At.UTC().Truncate(time.Millisecond), DurationMS: a.Duration.Milliseconds(),
			Response: strings.ToValidUTF8(string(a.Response), "\uFFFD"),
		}
		if a.Status != 0 {
			attempt.Status = &a.Status
		}
		if a.Error != "" {
			attempt.Error = &a.Error
		}
		view.Attempts = append(view.Attempts, attempt)
	}
	return view
}

func (c *apiCall) deliveries(w *store.Webhook) error {
	query := c.r.URL.Query()
	limit := defaultPage
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return problem{Code: http.StatusBadRequest, Field: "limit", Message: fmt.Sprintf("limit must be a whole number from 1 to %d", maxPage)}
		}
	}
	cursor := query.Get("cursor")
	if cursor != "" && uuid.Validate(cursor) != nil {
		return problem{Code: http.StatusBadRequest, Field: "cursor", Message: "cursor must be the next of an earlier answer"}
	}
	ctx, cancel := c.storeContext()
	defer cancel()
	ds, err := c.engine.store.List(ctx, w.ID, cursor, limit+1)
	if err != nil {
		return err
	}
	page := struct {
		Data []deliveryView `json:"data"`
		Next *string        `json:"next"`
	}{Data: []deliveryView{}}
	for i := range ds[:min(limit, len(ds))] {
		page.Data = append(page.Data, viewDelivery(&ds[i]))
	}
	if len(ds) > limit {
		page.Next = &ds[limit-1].ID
	}
	return writeJSON(c.w, http.StatusOK, page)
}

func (c *apiCall) redeliver(w *store.Webhook, id string) error {
	if uuid.Validate(id) != nil {
		return store.ErrNotFound
	}
	if err := attemptable(w); err != nil {
		return err
	}
	ctx, cancel := c.storeContext()
	defer cancel()
	if err := c.engine.store.Replay(ctx, w.ID, id, time.Now()); err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusAccepted, map[string]string{"id": id})
}

func (c *apiCall) ping(w *store.Webhook) error {
	if err := attemptable(w); err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("making an id: %w", err)
	}
	now := time.Now()
	payload, err := pingPayload(w, now)
	if err != nil {
		return err
	}
	ctx, cancel := c.storeContext()
	defer cancel()
	err = c.engine.store.Enqueue(ctx, store.Delivery{
		ID: id.String(), Webhook: w.ID, Project: w.Project, Item: pingName, Action: pingName,
		Payload: payload, Ping: true, State: store.Pending, CreatedAt: now, Due: now,
	})
	if err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusAccepted, map[string]string{"id": id.String()})
}

// pingPayload looks like the events that the webhook gets.
func pingPayload(w *store.Webhook, now time.Time) ([]byte, error) {
	if w.Instance() {
		return matcher.InstancePing(w.Project, now, rand.Reader)
	}
	ping := matcher.Event{Item: pingName, Action: pingName, Timestamp: now.Unix()}
	return ping.AppendJSON(nil), nil
}

// attemptable refuses to plan attempts that would not be made.
func attemptable(w *store.Webhook) error {
	switch w.Status {
	case store.Gone:
		return problem{Code: http.StatusConflict, Message: "the receiver said that it is gone; a PUT with its url revives the webhook"}
	case store.Disabled:
		return problem{Code: http.StatusConflict, Message: "the webhook is disabled"}
	case store.Active, store.Failing:
		return nil
	}
	return errors.New("unknown status " + string(w.Status))
}
