package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
)

// webhookView is a webhook as the API shows it: without its secret. It has an item or events.
type webhookView struct {
	UUID      string       `json:"uuid"`
	Item      string       `json:"item,omitempty"`
	Events    []string     `json:"events,omitempty"`
	URL       string       `json:"url"`
	Status    store.Status `json:"status"`
	CreatedAt time.Time    `json:"created_at"`
	UpdatedAt time.Time    `json:"updated_at"`
}

func viewWebhook(w *store.Webhook) webhookView {
	return webhookView{
		UUID: w.ID, Item: w.Item, Events: w.Events, URL: w.URL, Status: w.Status,
		CreatedAt: w.CreatedAt.UTC().Truncate(time.Millisecond), UpdatedAt: w.UpdatedAt.UTC().Truncate(time.Millisecond),
	}
}

func (c *apiCall) list() error {
	views := []webhookView{}
	for _, w := range c.engine.store.Directory().Project(c.project) {
		if w.Instance() == (c.kind == instanceKind) {
			views = append(views, viewWebhook(w))
		}
	}
	return writeJSON(c.w, http.StatusOK, map[string]any{"data": views})
}

func (c *apiCall) get(w *store.Webhook) error { return writeJSON(c.w, http.StatusOK, viewWebhook(w)) }

func (c *apiCall) create() error {
	in, err := c.readInput()
	if err != nil {
		return err
	}
	if err := in.complete(c.kind); err != nil {
		return err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("making an id: %w", err)
	}
	now := time.Now().UTC()
	w := store.Webhook{ID: id.String(), Project: c.project, Status: store.Active, CreatedAt: now, UpdatedAt: now}
	in.apply(&w)
	// The store checks again. Here it spares receivers a handshake in vain.
	directory := c.engine.store.Directory()
	if directory.Duplicate(&w) != nil {
		return store.ErrDuplicate
	}
	if len(directory.Project(c.project)) >= maxWebhooks {
		return store.ErrLimit
	}
	if err := c.verify(&w); err != nil {
		return err
	}
	ctx, cancel := c.storeContext()
	defer cancel()
	// What is captured from now on is for this webhook too.
	w.CreatedAt = time.Now().UTC()
	w.UpdatedAt = w.CreatedAt
	if err := c.engine.store.CreateWebhook(ctx, w, maxWebhooks); err != nil {
		return err
	}
	c.w.Header().Set("Location", c.self+"/"+w.ID)
	return writeJSON(c.w, http.StatusCreated, map[string]string{"uuid": w.ID})
}

func (c *apiCall) update(w *store.Webhook) error {
	in, err := c.readInput()
	if err != nil {
		return err
	}
	if *in == (webhookInput{}) {
		return problem{Code: http.StatusUnprocessableEntity, Message: "nothing to change; allowed are " + strings.Join(c.kind.fields(), ", ")}
	}
	wanted := *w
	in.apply(&wanted)
	if in.url != nil && in.secret == nil && origin(wanted.URL) != origin(w.URL) {
		return problem{
			Code: http.StatusUnprocessableEntity, Field: "secret",
			Message: "a url with another origin needs a secret beside it: the present one is not shown to another host",
		}
	}
	if c.engine.store.Directory().Duplicate(&wanted) != nil {
		return store.ErrDuplicate
	}
	verified := in.url != nil || in.secret != nil
	if verified {
		if err := c.verify(&wanted); err != nil {
			return err
		}
	}
	changed, err := c.storeUpdate(w, &wanted, in, verified)
	if err != nil {
		return err
	}
	c.engine.emitter.Wake(w.ID)
	return writeJSON(c.w, http.StatusOK, viewWebhook(&changed))
}

// storeUpdate stores what in changes. What was verified is the pair of url and secret in wanted, so that
// a change of either by somebody else meanwhile is a conflict.
func (c *apiCall) storeUpdate(seen, wanted *store.Webhook, in *webhookInput, verified bool) (store.Webhook, error) {
	ctx, cancel := c.storeContext()
	defer cancel()
	overlap := time.Duration(c.handler.app.Delivery.SecretOverlap)
	return c.engine.store.UpdateWebhook(ctx, seen.ID, func(w *store.Webhook) error {
		if verified && (w.URL != seen.URL || w.Secret != seen.Secret) {
			return problem{Code: http.StatusConflict, Message: "the webhook was changed by another call at the same time; try again"}
		}
		now := time.Now().UTC()
		if w.Secret != wanted.Secret && verified {
			w.PreviousSecret, w.PreviousUntil = w.Secret, now.Add(overlap)
		}
		if origin(w.URL) != origin(wanted.URL) {
			w.PreviousSecret, w.PreviousUntil = "", time.Time{} // the former host's secret is not for the new one
		}
		in.apply(w)
		w.UpdatedAt = now
		if verified && (w.Status == store.Gone || w.Status == store.Failing) {
			w.Status = store.Active
		}
		return nil
	})
}

func (c *apiCall) remove(w *store.Webhook) error {
	ctx, cancel := c.storeContext()
	defer cancel()
	if err := c.engine.store.DeleteWebhook(ctx, w.ID); err != nil {
		return err
	}
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// verify asks the receiver whether it wants to be one.
func (c *apiCall) verify(w *store.Webhook) error {
	u, err := url.Parse(w.URL)
	if err != nil || checkPort(u, c.ports()) != nil {
		return invalid("url", "url has a port that is no longer allowed")
	}
	end, err := c.core.handshakes.begin(c.project, time.Now())
	if err != nil {
		return err
	}
	verify := c.engine.emitter.Client().Verify
	if w.Instance() {
		verify = c.engine.emitter.Client().VerifyInstance
	}
	err = verify(c.r.Context(), w.URL, w.Secret)
	end(err != nil, time.Now())
	if err == nil {
		return nil
	}
	message := "the receiver could not be verified"
	if failure, ok := errors.AsType[*emitter.VerifyError](err); ok {
		message = "verifying the url: " + failure.Error()
		c.handler.logger.Warn("receiver did not pass the handshake", zap.String("project", c.project), zap.String("host", w.Host()),
			zap.String("result", failure.Class), zap.Int("status", failure.Status), zap.String("error", cmp.Or(failure.Detail, failure.Message)))
	}
	return problem{Code: http.StatusUnprocessableEntity, Message: message, Field: "url"}
}
