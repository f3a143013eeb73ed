package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/bentihooks/bentihooks/journal"
	"github.com/bentihooks/bentihooks/store"
)

// maxActionBody bounds the form of an action.
const maxActionBody = 16 << 10

// act does what a button of a page is for, and leads back to the page.
func (c *dashboardCall) act(ctx context.Context) error {
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxActionBody)
	if err := c.r.ParseForm(); err != nil {
		return problem{Code: http.StatusBadRequest, Message: "The form could not be read."}
	}
	done := url.Values{"done": {c.place.action}}
	switch p := c.place; p.name + " " + p.action {
	case "webhooks ping":
		if _, err := c.core.pingWebhook(ctx, p.id); err != nil {
			return err
		}
	case "webhooks enable", "webhooks disable":
		if _, err := c.core.setEnabled(ctx, p.id, p.action == "enable"); err != nil {
			return err
		}
	case "deliveries replay":
		if p.id == "" {
			return c.replayAll(ctx)
		}
		if err := c.core.replayDelivery(ctx, p.id); err != nil {
			return err
		}
	case "in-doubt acknowledge":
		found, err := c.core.inFlight.acknowledge(p.id)
		if err != nil {
			return err
		}
		if !found {
			return problem{Code: http.StatusNotFound, Message: "There is no such entry, or it has been acknowledged already."}
		}
		return c.seeOther("in-doubt", done)
	default:
		return problem{Code: http.StatusNotFound, Message: "There is no such action."}
	}
	return c.seeOther(c.place.name+"/"+c.place.id, done)
}

func (c *dashboardCall) replayAll(ctx context.Context) error {
	filter, err := filterOf(c.r.PostForm)
	if err != nil {
		return err
	}
	back := make(url.Values)
	for _, name := range filterFields {
		if value := c.r.PostForm.Get(name); value != "" {
			back.Set(name, value)
		}
	}
	if len(back) == 0 {
		return problem{Code: http.StatusBadRequest, Message: "Choose what to replay with the filters first."}
	}
	n, more, err := c.replaySteps(ctx, filter)
	if err != nil {
		return err
	}
	if more {
		back.Set("more", "1")
	} else {
		delete(back, "state") // what was replayed is in another state now
	}
	back.Set("done", "replays")
	back.Set("n", strconv.Itoa(n))
	return c.seeOther("deliveries", back)
}

// replaySteps replays until all is done or time is up.
func (c *dashboardCall) replaySteps(ctx context.Context, f store.Filter) (n int, more bool, err error) {
	for cursor := ""; ; {
		step, err := c.core.replayDeliveries(ctx, f, cursor)
		n += step.Replayed
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return n, true, nil
		case err != nil || step.Next == nil:
			return n, false, err
		}
		cursor = *step.Next
	}
}

// seeOther leads to another place of the dashboard, by a relative path, as nobody knows here where it is mounted.
func (c *dashboardCall) seeOther(to string, query url.Values) error {
	c.w.Header().Set("Location", c.place.root()+withQuery(to, query))
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// maxInDoubtShown bounds the page of calls in doubt.
const maxInDoubtShown = 500

type inDoubtPage struct {
	Rows []journal.Entry
	More int
}

func (c *dashboardCall) inDoubt() error {
	entries := c.core.inFlight.inDoubt()
	v := &inDoubtPage{More: max(0, len(entries)-maxInDoubtShown)}
	for i := range entries[:min(len(entries), maxInDoubtShown)] {
		v.Rows = append(v.Rows, entries[i])
	}
	return c.render(http.StatusOK, "in-doubt", "In doubt", c.frame(), v)
}
