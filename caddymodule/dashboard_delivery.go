package caddymodule

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

type deliveryPage struct {
	Row                       deliveryRow
	WebhookChip               *chip
	CanReplay                 bool
	ReplayWord                string
	Trace                     string
	Attempts                  []*attemptRow // the newest first
	Request                   *requestView
	RequestTitle, RequestNote string
}

// requestView is the request of an attempt, as it goes over the wire, without what is secret.
type requestView struct {
	Target string
	Header []field
	Body   string
}

func (c *dashboardCall) delivery(ctx context.Context) error {
	e, err := c.core.engine()
	if err != nil {
		return err
	}
	d, err := c.core.findDelivery(ctx, c.place.id)
	if err != nil {
		return err
	}
	v := &deliveryPage{Row: c.row(&d), Trace: d.TraceContext, ReplayWord: "Replay"}
	if d.State == store.Pending {
		v.ReplayWord = "Attempt now"
	}
	for i := range d.Attempts {
		v.Attempts = append(v.Attempts, viewAttempt(&d.Attempts[i]))
	}
	slices.Reverse(v.Attempts)
	if w := c.directory().Get(d.Webhook); w != nil {
		status := statusChip(w.Status)
		v.WebhookChip = &status
		v.CanReplay = attemptable(w) == nil && d.State != store.Delivering
		v.previewRequest(e, w, &d)
	}
	title := strings.TrimSpace(v.Row.Name + " " + v.Row.Subject)
	return c.render(http.StatusOK, "delivery", title, c.frame(), v)
}

// previewRequest shows the request of the latest attempt, or of the first one to come.
func (v *deliveryPage) previewRequest(e *engine, w *store.Webhook, d *store.Delivery) {
	n, at := len(d.Attempts), time.Now()
	v.RequestTitle = "Request of the latest attempt"
	v.RequestNote = "The secret, the signature and the values of extra headers are starred out. Headers are shown as they would be made with the present settings."
	if n > 0 {
		at = d.Attempts[n-1].At
	} else {
		v.RequestTitle = "Request to come"
		n = 1
	}
	if w.Instance() {
		v.RequestNote += " Deliveries that are due together share a request, which then has an id of its own."
	}
	header, body := e.emitter.Client().Preview(w, d, n, at)
	v.Request = &requestView{Target: w.URL, Body: strings.ToValidUTF8(string(body), "\uFFFD")}
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	for _, name := range names {
		for _, value := range header[name] {
			v.Request.Header = append(v.Request.Header, field{name, value})
		}
	}
}
