package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/matcher"
)

const (
	instanceSource = "instance"
	// readTimeout bounds how long a call waits for the ticket that its events tell of.
	readTimeout = 2 * time.Second
)

// foreign finds a setting that is for the other source.
func (h *Handler) foreign() (setting string, err error) {
	switch {
	case h.Source != instanceSource && len(h.Fields) > 0:
		return "field", errors.New("is for source instance; of source api, actor and the id and parent of a route can be set")
	case h.Source == instanceSource && len(h.Actor) > 0:
		return "actor", errors.New("is for source api; instance events say who acted by the fields of replies and tickets")
	case h.Source == instanceSource && len(h.Routes) > 0:
		return "route", errors.New("is for source api; of source instance, field can be set")
	}
	return "", nil
}

// checkInstance makes the table of instance events.
func (h *Handler) checkInstance() error {
	if name, err := h.foreign(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var err error
	if h.rules, err = matcher.NewRuleTable(h.Prefix, h.Fields); err != nil {
		return err
	}
	h.table = h.rules.Table
	return nil
}

// wanted returns what a call may make and webhooks of the project want: the item of source api, or instance
// events.
func (h *Handler) wanted(c *core, match *matcher.Match, project string) []string {
	names := []string{match.Row.Item}
	if h.rules != nil {
		names = h.rules.Events(match)
	}
	var wanted []string
	for _, name := range names {
		if c.wanted(project, name) {
			wanted = append(wanted, name)
		}
	}
	return wanted
}

func (o *observation) deriveInstance() ([]event, []error) {
	x, rules := &o.exchange, o.handler.rules
	if rules.NeedsResource(x, o.wanted) {
		x.Ticket = o.readTicket()
	}
	derived, errs := rules.Derive(x, o.wanted, o.project, rand.Reader)
	events := make([]event, 0, len(derived))
	for _, d := range derived {
		events = append(events, event{Item: d.Name, Action: d.Action, Payload: d.Payload})
	}
	return events, errs
}

// readTicket reads the ticket in the path of the call through the rest of the route, with the caller's
// headers. It is nil if that fails, or only a part of it if it is longer than body_limit; either is counted, and stops
// neither the call nor its events.
func (o *observation) readTicket() *matcher.Ticket {
	ctx, cancel := context.WithTimeout(o.request.Context(), readTimeout)
	defer cancel()
	ticket, reason, err := o.tryReadTicket(ctx)
	if reason == "" {
		return ticket
	}
	id, _ := o.exchange.External("{http.request.uuid}")
	o.core.metrics.readFailures.WithLabelValues(reason).Inc()
	o.handler.logger.Warn("the ticket that an event tells of could not be read; what was not seen of it is null",
		zap.String("reason", reason), zap.String("request_id", id), zap.String("path", o.original.URL.Path),
		zap.String("project", o.project), zap.Error(err))
	return ticket
}

func (o *observation) tryReadTicket(ctx context.Context) (ticket *matcher.Ticket, reason string, err error) {
	answer := newRecorder(int(o.handler.BodyLimit))
	sub, err := subrequest(ctx, o.original, answer, ticketPath(o.original.URL.EscapedPath(), o.exchange.Match.Row.Path))
	if err != nil {
		return nil, "request", err
	}
	if err := serveWhole(o.next, answer, sub); err != nil {
		if ctx.Err() != nil {
			return nil, "timeout", err
		}
		return nil, "upstream", err
	}
	ticket, reason = matcher.ReadTicket(answer.status, answer.seen(), answer.limit)
	return ticket, reason, nil
}

// ticketPath cuts off what follows /tickets/{ticketId} in the path of a call that matched a row.
func ticketPath(path, row string) string {
	path = strings.TrimSuffix(path, "/")
	if !strings.HasSuffix(row, "}") { // however the last segment was encoded
		path = path[:strings.LastIndexByte(path, '/')]
	}
	return path
}
