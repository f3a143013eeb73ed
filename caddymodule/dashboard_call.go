package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/store"
)

const (
	// pageTimeout bounds how long a page waits for the store.
	pageTimeout = 10 * time.Second
	// actionTimeout bounds how long an action may take, such as the replay of many.
	actionTimeout = time.Minute
)

// dashboardCall is one request for a page, an asset or an action.
type dashboardCall struct {
	*Dashboard
	w     http.ResponseWriter
	r     *http.Request
	place place
	core  *core
}

func (c *dashboardCall) serve() error {
	if to, ok := withoutSlash(c.r); ok && isRead(c.r) {
		c.w.Header().Set("Location", to)
		c.w.WriteHeader(http.StatusPermanentRedirect)
		return nil
	}
	act := c.place.action != ""
	switch {
	case c.place.name == "":
		return problem{Code: http.StatusNotFound, Message: "There is no such page. The address of the dashboard itself ends with a slash."}
	case act && c.r.Method != http.MethodPost:
		c.w.Header().Set("Allow", http.MethodPost)
		return problem{Code: http.StatusMethodNotAllowed, Message: "This address is for the buttons of the pages, which POST to it."}
	case !act && !isRead(c.r):
		c.w.Header().Set("Allow", "GET, HEAD")
		return problem{Code: http.StatusMethodNotAllowed, Message: "This address can only be read."}
	case c.place.name == "assets":
		return c.asset()
	}
	core, err := c.app.acquire()
	if err != nil {
		return err
	}
	c.core = core
	if act {
		// Somebody who goes away meanwhile does not stop it halfway.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), actionTimeout)
		defer cancel()
		return c.act(ctx)
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), pageTimeout)
	defer cancel()
	switch c.place.name {
	case "live":
		return c.live()
	case "overview":
		return c.overview(ctx)
	case "webhooks":
		if c.place.id != "" {
			return c.webhook(ctx)
		}
		return c.webhooks(ctx)
	case "deliveries":
		if c.place.id != "" {
			return c.delivery(ctx)
		}
		return c.deliveries(ctx)
	}
	return c.inDoubt()
}

func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// frame describes what stands around the pages. There is none before the core is known.
func (c *dashboardCall) frame() *frame {
	if c.core == nil {
		return nil
	}
	f := &frame{Store: c.core.state.Load(), StoreName: c.core.identity, InDoubt: len(c.core.inFlight.inDoubt())}
	_, failing := c.statuses()
	var parts []string
	if f.Store.Name != stateOpen {
		parts = append(parts, "The store is not open.")
	}
	if failing > 0 {
		parts = append(parts, fmt.Sprintf("Webhooks that fail: %d.", failing))
	}
	if f.InDoubt > 0 {
		parts = append(parts, fmt.Sprintf("Calls in doubt: %d.", f.InDoubt))
	}
	if len(parts) == 0 {
		parts = append(parts, "All is well.")
	}
	f.Announce = strings.Join(parts, " ")
	return f
}

// statuses counts the webhooks, and those of them that fail.
func (c *dashboardCall) statuses() (all, failing int) {
	directory := c.core.directory.Load()
	if directory == nil {
		return 0, 0
	}
	webhooks := directory.All()
	for _, w := range webhooks {
		if w.Status == store.Failing {
			failing++
		}
	}
	return len(webhooks), failing
}

// message is a page that says one thing.
type message struct {
	Heading, Text, Code string
	Link                *link
}

type link struct{ Target, Text string }

const authorizeExample = `dashboard.example.com {
	basic_auth {
		alice {env.ALICE_HASH}    # from: caddy hash-password
	}
	benti_dashboard
}`

// refuse answers those who may not see anything, with no more than how to change that.
func (c *dashboardCall) refuse(err error) error {
	if c.place.name == "assets" {
		return c.asset() // the stylesheet of this answer; there is nothing in it that is not public
	}
	text := "This dashboard serves authenticated users only, and no user is signed in. Put basic_auth or another provider of {http.auth.user.id} " +
		"in front of it. If something else keeps strangers out, such as client certificates or a forward_auth, say so with: authorize off."
	if errors.Is(err, errFar) {
		text = "This dashboard serves only the machine that it runs on, by the name localhost. Open it there, through an SSH tunnel " +
			"for example, or have it serve authenticated users."
	}
	return c.render(http.StatusForbidden, "message", "Refused", nil, message{Heading: "Who is there?", Text: text, Code: authorizeExample})
}

// fail answers with a page about an error.
func (c *dashboardCall) fail(err error) error {
	p, ok := errors.AsType[problem](err)
	switch {
	case ok:
	case errors.Is(err, store.ErrNotFound):
		p = problem{Code: http.StatusNotFound, Message: "There is no such webhook or delivery, or not any more: delivered and dead deliveries are listed until their retention ends."}
	case errors.Is(err, store.ErrConflict):
		p = problem{Code: http.StatusConflict, Message: "It is being delivered at this moment. Try again."}
	case errors.Is(err, store.ErrClosed):
		p = problem{Code: http.StatusServiceUnavailable, Message: c.closedText()}
	default:
		c.logger.Error("serving the dashboard", zap.String("page", c.place.name), zap.Error(err))
		p = problem{Code: http.StatusServiceUnavailable, Message: "The store did not answer. The log has more."}
	}
	title := problemTitle(p.Code)
	return c.render(p.Code, "message", title, c.frame(), message{Heading: title, Text: p.Message, Link: &link{c.back(), "Back"}})
}

// back leads from an action to the page that has its button, and from elsewhere to the overview.
func (c *dashboardCall) back() string {
	if c.place.action == "" || c.place.name == "in-doubt" {
		return ""
	}
	return strings.TrimSuffix(c.place.name+"/"+c.place.id, "/")
}

func (c *dashboardCall) closedText() string {
	text := "The store is not open at the moment, so webhooks and deliveries cannot be shown. Calls go on, and their events are kept beside it."
	if c.core != nil {
		if reason := c.core.state.Load().Reason; reason != "" {
			text += " Why: " + reason
		}
	}
	return text
}
