package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
)

const (
	defaultPage = 50
	maxPage     = 500
	// pageStep is how many deliveries are read at a time, and pageSize how many bytes of them end a page early: those of an
	// instance webhook may be as large as body_limit, and any caller may ask for 500 of them, many times at once.
	pageStep = 20
	pageSize = 4 << 20
	// maxAttempts is how many attempts a delivery may have had to be redelivered once more. All of them are kept in its one
	// record, which is written anew with each: without a bound a caller could make the store slow for all.
	maxAttempts = 200
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
	ds, more, err := c.page(ctx, w.ID, cursor, limit)
	if err != nil {
		return err
	}
	page := struct {
		Data []deliveryView `json:"data"`
		Next *string        `json:"next"`
	}{Data: []deliveryView{}}
	for i := range ds {
		page.Data = append(page.Data, viewDelivery(&ds[i]))
	}
	if more {
		page.Next = &ds[len(ds)-1].ID
	}
	return writeJSON(c.w, http.StatusOK, page)
}

// page reads up to limit deliveries older than the one with id before, fewer if they are large, and reports whether there
// are more.
func (c *apiCall) page(ctx context.Context, webhook, before string, limit int) (ds []store.Delivery, more bool, err error) {
	for size := 0; ; before = ds[len(ds)-1].ID {
		n := min(pageStep, limit-len(ds))
		step, err := c.engine.store.List(ctx, webhook, before, n+1)
		if err != nil {
			return nil, false, err
		}
		more = len(step) > n
		for i := range step[:min(n, len(step))] {
			size += len(step[i].Payload)
			for _, a := range step[i].Attempts {
				size += len(a.Response)
			}
			ds = append(ds, step[i])
		}
		if !more || len(ds) == limit || size >= pageSize {
			return ds, more, nil
		}
	}
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
	d, err := c.engine.store.Get(ctx, w.ID, id)
	if err != nil {
		return err
	}
	if len(d.Attempts) >= maxAttempts {
		return problem{Code: http.StatusConflict, Message: fmt.Sprintf("the delivery has had %d attempts, and gets no more", len(d.Attempts))}
	}
	if err := c.engine.store.Replay(ctx, w.ID, id, time.Now()); err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusAccepted, map[string]string{"id": id})
}

func (c *apiCall) ping(w *store.Webhook) error {
	ctx, cancel := c.storeContext()
	defer cancel()
	id, err := c.engine.ping(ctx, w)
	if err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusAccepted, map[string]string{"id": id})
}
