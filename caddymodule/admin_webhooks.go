package caddymodule

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
)

// webhookStatuses are those that a listing can be for.
var webhookStatuses = []store.Status{store.Active, store.Failing, store.Disabled, store.Gone}

// adminWebhookView is a webhook as the admin endpoint shows it.
type adminWebhookView struct {
	webhookView
	Project string `json:"project"`
	Store   string `json:"store"`
}

func (c *core) viewWebhook(w *store.Webhook) adminWebhookView {
	return adminWebhookView{webhookView: viewWebhook(w), Project: w.Project, Store: c.identity}
}

// owned is a webhook of a core.
type owned struct {
	core *core
	*store.Webhook
}

// webhooks lists webhooks in the order of their ids. The cursor is the id of the last one.
func (c *adminCall) webhooks() error {
	p, err := queryParameters(c.r.URL.Query(), "project", "item", "status", "store", "limit", "cursor")
	if err != nil {
		return err
	}
	status := store.Status(p["status"])
	if status != "" && !slices.Contains(webhookStatuses, status) {
		return badFilter("status", "must be one of %s", joinStates(webhookStatuses))
	}
	limit, err := p.limit()
	if err != nil {
		return err
	}
	if p["cursor"] != "" && uuid.Validate(p["cursor"]) != nil {
		return store.ErrCursor
	}
	if p["store"] != "" {
		if _, err := c.one(p["store"]); err != nil {
			return err
		}
	}
	page := struct {
		Data []adminWebhookView `json:"data"`
		Next *string            `json:"next"`
	}{Data: []adminWebhookView{}}
	known := false
	var found []owned
	for _, core := range c.cores {
		directory := core.directory.Load()
		if directory == nil || p["store"] != "" && p["store"] != core.identity {
			continue
		}
		known = true
		for _, w := range directory.All() {
			if w.ID > p["cursor"] && (status == "" || w.Status == status) && (p["project"] == "" || w.Project == p["project"]) &&
				(p["item"] == "" || w.Item == p["item"] || slices.Contains(w.Events, p["item"])) {
				found = append(found, owned{core, w})
			}
		}
	}
	if !known { // no store has ever been open
		return store.ErrClosed
	}
	slices.SortFunc(found, func(a, b owned) int { return cmp.Compare(a.ID, b.ID) })
	if len(found) > limit {
		found = found[:limit]
		page.Next = &found[limit-1].ID
	}
	for _, o := range found {
		page.Data = append(page.Data, o.core.viewWebhook(o.Webhook))
	}
	return writeJSON(c.w, http.StatusOK, page)
}

func (c *adminCall) webhook(id string) error {
	return c.each(func(core *core) error {
		directory := core.directory.Load()
		if directory == nil {
			return store.ErrClosed
		}
		w := directory.Get(id)
		if w == nil {
			return store.ErrNotFound
		}
		return writeJSON(c.w, http.StatusOK, core.viewWebhook(w))
	})
}

func (c *adminCall) enable(id string, on bool) error {
	return c.each(func(core *core) error {
		w, err := core.setEnabled(c.r.Context(), id, on)
		if err != nil {
			return err
		}
		return writeJSON(c.w, http.StatusOK, core.viewWebhook(&w))
	})
}

func (c *adminCall) ping(id string) error {
	return c.each(func(core *core) error {
		delivery, err := core.pingWebhook(c.r.Context(), id)
		if err != nil {
			return err
		}
		return writeJSON(c.w, http.StatusAccepted, map[string]string{"id": delivery})
	})
}
