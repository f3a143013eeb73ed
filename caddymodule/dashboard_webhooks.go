package caddymodule

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

const (
	// stripSize is how many of the latest deliveries of a webhook its strip shows.
	stripSize = 25
	// sampleSize is how many of them its page looks at.
	sampleSize = 100
	// shownOfOne is how many its page lists.
	shownOfOne = 20
)

type webhookRow struct {
	ID, Project, Host, Path, Wants string
	Chip                           chip
	Strip                          strip
	Latest                         *attemptRow
}

// strip is a bar for each of the latest deliveries, the newest on the right.
type strip struct {
	Label string
	Bars  []rect
}

type webhooksPage struct {
	Status               store.Status
	Project, Query       string
	Statuses             []store.Status
	Filtered             bool
	Rows                 []webhookRow
	From, To, Total, All int
	StripSize            int
	Previous, Next       string
}

func (c *dashboardCall) webhooks(ctx context.Context) error {
	e, err := c.core.engine()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	v := &webhooksPage{
		Status: store.Status(query.Get("status")), Project: query.Get("project"), Query: query.Get("q"), Statuses: webhookStatuses, StripSize: stripSize,
	}
	kept := make(url.Values)
	for _, name := range []string{"status", "project", "q"} {
		if value := query.Get(name); value != "" {
			kept.Set(name, value)
		}
	}
	v.Filtered = len(kept) > 0
	all := c.directory().All()
	v.All = len(all)
	all = slices.DeleteFunc(all, func(w *store.Webhook) bool { return !v.matches(w) })
	slices.SortFunc(all, troubleFirst)
	v.Total = len(all)
	number, _ := strconv.Atoi(query.Get("page")) // without one, the first
	pages := max(1, (len(all)+dashboardPage-1)/dashboardPage)
	number = min(max(number, 1), pages)
	from := (number - 1) * dashboardPage
	page := all[from:min(from+dashboardPage, len(all))]
	v.From, v.To = from+1, from+len(page)
	for _, w := range page {
		latest, err := e.store.List(ctx, w.ID, "", stripSize)
		if err != nil {
			return err
		}
		v.Rows = append(v.Rows, viewWebhookRow(w, latest))
	}
	to := func(n int) string {
		kept.Set("page", strconv.Itoa(n))
		return withQuery("webhooks", kept)
	}
	if number > 1 {
		v.Previous = to(number - 1)
	}
	if number < pages {
		v.Next = to(number + 1)
	}
	return c.render(http.StatusOK, "webhooks", "Webhooks", c.frame(), v)
}

func (v *webhooksPage) matches(w *store.Webhook) bool {
	text := strings.ToLower(v.Query)
	return (v.Status == "" || v.Status == w.Status) && (v.Project == "" || v.Project == w.Project) &&
		(text == "" || strings.Contains(strings.ToLower(w.URL+" "+wants(w)), text))
}

// troubleFirst sorts webhooks by how much they need somebody, then the newest first.
func troubleFirst(a, b *store.Webhook) int {
	order := []store.Status{store.Failing, store.Gone, store.Disabled, store.Active}
	return cmp.Or(
		cmp.Compare(slices.Index(order, a.Status), slices.Index(order, b.Status)),
		b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID),
	)
}

func wants(w *store.Webhook) string {
	if w.Instance() {
		return strings.Join(w.Events, ", ")
	}
	return w.Item
}

func viewWebhookRow(w *store.Webhook, latest []store.Delivery) webhookRow {
	row := webhookRow{ID: w.ID, Project: w.Project, Wants: wants(w), Chip: statusChip(w.Status), Strip: stripOf(latest)}
	row.Host, row.Path = splitURL(w.URL)
	row.Path = cutText(row.Path, 60)
	if a := latestAttempt(latest); a != nil {
		row.Latest = viewAttempt(a)
	}
	return row
}

func latestAttempt(ds []store.Delivery) (latest *store.Attempt) {
	for i := range ds {
		if n := len(ds[i].Attempts); n > 0 {
			if a := &ds[i].Attempts[n-1]; latest == nil || a.At.After(latest.At) {
				latest = a
			}
		}
	}
	return latest
}

// stripOf draws deliveries, which come newest first. States differ in height and place, too: what arrived is a whole bar, what
// waits half a bar, what is dead a gap between two ends.
func stripOf(latest []store.Delivery) strip {
	const width, height = 100.0, 20.0
	latest = latest[:min(len(latest), stripSize)]
	s := strip{Label: statesText(latest)}
	step := width / stripSize
	for i := range latest {
		d := &latest[i]
		x, w := round(width-step*float64(i+1)+.5), step-1
		switch chip := stateChip(d); {
		case d.State == store.Delivered:
			s.Bars = append(s.Bars, rect{"fill-good", x, 0, w, height})
		case d.State == store.Dead:
			s.Bars = append(s.Bars, rect{"fill-bad", x, 0, w, 7}, rect{"fill-bad", x, 13, w, 7})
		case chip.Tone == "warn":
			s.Bars = append(s.Bars, rect{"fill-warn", x, 8, w, 12})
		default:
			s.Bars = append(s.Bars, rect{"fill-idle", x, 13, w, 7})
		}
	}
	return s
}

// statesText counts deliveries by their states.
func statesText(ds []store.Delivery) string {
	counts := make(map[store.State]int)
	retried := 0
	for i := range ds {
		counts[ds[i].State]++
		if ds[i].State == store.Pending && stateChip(&ds[i]).Tone == "warn" {
			retried++
		}
	}
	var parts []string
	for _, state := range []store.State{store.Delivered, store.Delivering, store.Pending, store.Dead} {
		if n := counts[state]; n > 0 {
			text := fmt.Sprintf("%d %s", n, state)
			if state == store.Pending && retried > 0 {
				text += fmt.Sprintf(" (%d after a failure)", retried)
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ", ")
}

type webhookPage struct {
	Row                    webhookRow
	Off                    bool
	URL                    string
	CreatedAt, UpdatedAt   time.Time
	Overlap, NextDue       *time.Time
	Why                    *note
	Sampled                int
	States, FirstTry, Took string
	Deliveries             deliveriesTable
}

// note is a sentence with a tone.
type note struct{ Tone, Icon, Text string }

func (c *dashboardCall) webhook(ctx context.Context) error {
	e, err := c.core.engine()
	if err != nil {
		return err
	}
	w := e.store.Directory().Get(c.place.id)
	if w == nil {
		return store.ErrNotFound
	}
	latest, err := e.store.List(ctx, w.ID, "", sampleSize)
	if err != nil {
		return err
	}
	v := &webhookPage{
		Row: viewWebhookRow(w, latest), URL: w.URL, CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt, Sampled: len(latest), States: statesText(latest),
		Off: w.Off(),
	}
	if w.PreviousSecret != "" && time.Now().Before(w.PreviousUntil) {
		v.Overlap = &w.PreviousUntil
	}
	due, ok, err := e.store.NextDue(ctx, w.ID)
	if err != nil {
		return err
	}
	if ok && attemptable(w) == nil {
		v.NextDue = &due
	}
	v.Why = whyStatus(w, v.Row.Latest)
	v.FirstTry, v.Took = sampleTexts(latest)
	v.Deliveries = c.table("The latest deliveries of this webhook", latest[:min(len(latest), shownOfOne)], false)
	return c.render(http.StatusOK, "webhook", v.Row.Host, c.frame(), v)
}

// whyStatus explains a status that is not active, and what to do.
func whyStatus(w *store.Webhook, latest *attemptRow) *note {
	switch w.Status {
	case store.Failing:
		text := "The latest attempts failed. Deliveries are tried again by themselves, with growing waits."
		if latest != nil && latest.Error != "" {
			text = "The latest attempt failed: " + latest.Error + ". Deliveries are tried again by themselves, with growing waits."
		}
		return &note{"bad", "warn", text}
	case store.Gone:
		return &note{"warn", "warn", "The receiver answered 410, which means that it is gone for good. It gets nothing, and its deliveries are dead. " +
			"If it is back, enable it and replay them."}
	case store.Disabled:
		return &note{"warn", "dash", "Switched off by an operator. It gets no new deliveries until it is enabled."}
	case store.Active:
	}
	return nil
}

// sampleTexts sums deliveries up: how many arrived with the first attempt, and how long attempts took.
func sampleTexts(ds []store.Delivery) (first, took string) {
	var arrived, atOnce uint64
	var durations spread
	for i := range ds {
		for _, a := range ds[i].Attempts {
			durations.add(a.Duration)
		}
		if ds[i].State == store.Delivered {
			arrived++
			if len(ds[i].Attempts) == 1 {
				atOnce++
			}
		}
	}
	first, took = "none arrived yet", "none made yet"
	if arrived > 0 {
		first = percentText(atOnce, arrived) + " of what arrived"
	}
	if durations.n > 0 {
		took = fmt.Sprintf("p50 %s, p95 %s", durationText(durations.quantile(.5)), durationText(durations.quantile(.95)))
	}
	return first, took
}
