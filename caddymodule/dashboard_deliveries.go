package caddymodule

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"github.com/bentihooks/bentihooks/matcher"
	"github.com/bentihooks/bentihooks/store"
)

// dashboardPage is how many rows a page of a list has.
const dashboardPage = 50

// deliveriesTable is a list of deliveries.
type deliveriesTable struct {
	Caption     string
	Root        string
	ShowWebhook bool
	Rows        []deliveryRow
}

// deliveryRow is a delivery as lists show it.
type deliveryRow struct {
	store.Delivery
	Name, Subject string // of the event: what happened, and to what
	Host          string
	Chip          chip
	Count         int // of attempts
	Latest        *attemptRow
	Due           *time.Time    // of the next attempt
	Latency       time.Duration // from capture to delivery, 0 unless delivered
}

type attemptRow struct {
	store.Attempt
	Chip     chip
	Text     string
	Response string
}

func (c *dashboardCall) table(caption string, deliveries []store.Delivery, showWebhook bool) deliveriesTable {
	t := deliveriesTable{Caption: caption, Root: c.place.root(), ShowWebhook: showWebhook}
	for i := range deliveries {
		t.Rows = append(t.Rows, c.row(&deliveries[i]))
	}
	return t
}

func (c *dashboardCall) row(d *store.Delivery) deliveryRow {
	row := deliveryRow{Delivery: *d, Chip: stateChip(d), Count: len(d.Attempts), Host: "a webhook that is gone"}
	row.Name, row.Subject = eventName(d)
	if w := c.directory().Get(d.Webhook); w != nil {
		row.Host, _ = splitURL(w.URL)
	}
	if row.Count == 0 {
		row.Latest = nil
	} else {
		row.Latest = viewAttempt(&d.Attempts[row.Count-1])
	}
	switch d.State {
	case store.Pending:
		row.Due = &d.Due
	case store.Delivered:
		if row.Latest != nil {
			row.Latency = max(time.Millisecond, row.Latest.At.Add(row.Latest.Duration).Sub(d.CreatedAt))
		}
	case store.Delivering, store.Dead, store.Dropped:
	}
	return row
}

func viewAttempt(a *store.Attempt) *attemptRow {
	row := &attemptRow{Attempt: *a, Chip: attemptChip(a), Text: a.Error, Response: strings.ToValidUTF8(string(a.Response), "\uFFFD")}
	if row.Text == "" {
		row.Text = "status " + numberText(a.Status)
	}
	return row
}

// eventName tells what happened, and to what, as far as the payload says.
func eventName(d *store.Delivery) (name, subject string) {
	name = strings.TrimSpace(d.Item + " " + d.Action)
	if d.Item == d.Action || d.Action == "" {
		name = d.Item
	}
	// Instance events have a random id and name the ticket elsewhere.
	for _, id := range gjson.GetManyBytes(d.Payload, "resource", "body.ticket_id", "id") {
		if id.Type == gjson.String || id.Type == gjson.Number {
			return name, cutText(id.String(), 24)
		}
	}
	return name, ""
}

func cutText(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}

// splitURL tells where a webhook leads: to whom, and the rest.
func splitURL(text string) (host, rest string) {
	u, err := url.Parse(text)
	if err != nil {
		return text, ""
	}
	return u.Host, strings.TrimPrefix(u.RequestURI(), "/")
}

// directory is the webhooks, also while the store is closed.
func (c *dashboardCall) directory() *store.Directory {
	if directory := c.core.directory.Load(); directory != nil {
		return directory
	}
	return new(store.Directory)
}

type deliveriesPage struct {
	State, Item, Project, Webhook, Since, Until string
	States                                      []store.State
	Items                                       []string
	Filtered, Replayable                        bool
	Problem, Cursor, First, Next, What          string
	Fields                                      []field
	List                                        deliveriesTable
}

type field struct{ Name, Value string }

// filterFields are the parameters that choose deliveries.
var filterFields = []string{"state", "item", "project", "webhook", "since", "until"}

func (c *dashboardCall) deliveries(ctx context.Context) error {
	e, err := c.core.engine()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	v := &deliveriesPage{
		State: query.Get("state"), Item: query.Get("item"), Project: query.Get("project"), Webhook: strings.TrimSpace(query.Get("webhook")),
		Since: query.Get("since"), Until: query.Get("until"), States: listingStates, Items: append(matcher.Items(), matcher.InstanceEvents()...), Cursor: query.Get("cursor"),
	}
	kept := make(url.Values)
	for _, name := range filterFields {
		if value := query.Get(name); value != "" {
			kept.Set(name, value)
			v.Fields = append(v.Fields, field{name, value})
		}
	}
	v.Filtered = len(kept) > 0
	v.First = withQuery("deliveries", kept)
	filter, err := filterOf(query)
	if err == nil && v.Cursor != "" && uuid.Validate(v.Cursor) != nil {
		err = problem{Code: http.StatusBadRequest, Message: "the cursor is not one that a page gave"}
	}
	if err != nil {
		v.Problem = err.Error()
		return c.render(http.StatusBadRequest, "deliveries", "Deliveries", c.frame(), v)
	}
	found, next, err := e.store.Find(ctx, filter, v.Cursor, dashboardPage)
	if err != nil {
		return err
	}
	v.List = c.table("Deliveries, newest first", found, true)
	if next != "" {
		kept.Set("cursor", next)
		v.Next = withQuery("deliveries", kept)
	}
	v.Replayable = v.Filtered && len(found) > 0
	v.What = filterText(v.Fields)
	return c.render(http.StatusOK, "deliveries", "Deliveries", c.frame(), v)
}

func withQuery(path string, values url.Values) string {
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}

// filterOf reads a filter from what the fields of a form hold. What is empty chooses all.
func filterOf(query url.Values) (store.Filter, error) {
	p := make(parameters)
	for _, name := range filterFields {
		p[name] = strings.TrimSpace(query.Get(name))
	}
	for _, name := range []string{"since", "until"} {
		if at, err := parseLocal(p[name]); err == nil {
			p[name] = at.Format(time.RFC3339Nano)
		}
	}
	return p.filter(listingStates)
}

// parseLocal reads what <input type=datetime-local> gives.
func parseLocal(text string) (t time.Time, err error) {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04:05.000"} {
		if t, err = time.ParseInLocation(layout, text, time.UTC); err == nil {
			return t, nil
		}
	}
	return t, err
}

// filterText tells a filter in words, for somebody about to replay what it chooses.
func filterText(fields []field) string {
	var parts []string
	for _, f := range fields {
		switch f.Name {
		case "state":
			parts = append(parts, f.Value)
		case "since":
			parts = append(parts, "captured from "+f.Value+" UTC")
		case "until":
			parts = append(parts, "captured before "+f.Value+" UTC")
		default:
			parts = append(parts, "of the "+f.Name+" "+f.Value)
		}
	}
	return strings.Join(parts, ", ")
}
