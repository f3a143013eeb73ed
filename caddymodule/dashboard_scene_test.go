package caddymodule

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/journal"
	"github.com/bentihooks/bentihooks/store"
)

// dashboardScene is a scene whose dashboard, at /hooks/, has something to show.
type dashboardScene struct {
	*scene
	random   *rand.Rand
	webhooks map[string]store.Webhook
	ids      map[string]string // of one delivery in each state
}

const openDashboard = "handle_path /hooks/* {\n\t\tbenti_dashboard {\n\t\t\tauthorize loopback\n\t\t}\n\t}\n\tbenti_webhooks"

func newDashboardScene(t testing.TB, filled bool) *dashboardScene {
	t.Helper()
	s := &dashboardScene{
		scene: newScene(t), random: rand.New(rand.NewPCG(7, 7)), webhooks: make(map[string]store.Webhook), ids: make(map[string]string),
	}
	if filled {
		s.leaveInDoubt()
	}
	s.mustLoad(s.caddyfile("", openDashboard))
	if filled {
		s.fill()
	}
	return s
}

// leaveInDoubt leaves notes of requests, as a crash would.
func (s *dashboardScene) leaveInDoubt() {
	s.t.Helper()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	notes, _, err := journal.OpenInFlight(filepath.Join(s.dir, "in-flight"), inFlightSlots)
	if err != nil {
		s.t.Fatal(err)
	}
	at := time.Now().Add(-26 * time.Hour)
	notes.Begin(journal.Entry{Time: at, Method: "PUT", Path: "/v1/tickets/110063", Project: "acme-support", Item: "ticket"})
	notes.Begin(journal.Entry{Time: at.Add(40 * time.Millisecond), Method: "POST", Path: "/v1/tickets/110071/replies", Project: "acme-support", Item: "reply"})
	if err := notes.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *dashboardScene) core() *core {
	s.t.Helper()
	for _, c := range runningCores() {
		if c.identity == s.identity() {
			return c
		}
	}
	s.t.Fatal("no core")
	return nil
}

// fill makes webhooks and deliveries in all states, and a day's history.
func (s *dashboardScene) fill() {
	s.t.Helper()
	for i, w := range []store.Webhook{
		{Project: "acme-support", Item: "ticket", URL: "https://hooks.zendesk-bridge.example/benti/tickets?tenant=acme"},
		{Project: "acme-support", Item: "reply", URL: "https://hooks.zendesk-bridge.example/benti/replies"},
		{Project: "acme-support", Item: "ticket", URL: "https://crm.acme.example/webhooks/tickets"},
		{Project: "northwind", Item: "ticket", URL: "https://automation.northwind.example/flows/3f2a/trigger"},
		{Project: "northwind", Item: "user", URL: "https://iam.northwind.example/sync", Status: store.Disabled},
		{Project: "globex", Events: []string{"create-ticket", "close-ticket", "answer"}, URL: "https://bots.globex.example/inbound"},
		{Project: "globex", Item: "media", URL: "https://media-archive.globex.example/ingest", Status: store.Gone},
	} {
		w.ID, w.Secret = uuid.NewString(), fmt.Sprintf("secret number %d", i)
		w.CreatedAt = time.Now().Add(-time.Duration(30-i) * 24 * time.Hour)
		w.UpdatedAt = w.CreatedAt.Add(50 * time.Hour)
		status := w.Status
		w.Status = store.Active
		if i == 3 {
			status = store.Failing
		}
		if err := s.engine().store.CreateWebhook(s.t.Context(), w, maxWebhooks); err != nil {
			s.t.Fatal(err)
		}
		s.deliveries(&w, i)
		if status != "" {
			s.setStatus(&w, status)
		}
		s.webhooks[fmt.Sprint(i)] = w
	}
	s.fillHistory()
}

func (s *dashboardScene) setStatus(w *store.Webhook, status store.Status) {
	s.t.Helper()
	_, err := s.engine().store.UpdateWebhook(s.t.Context(), w.ID, func(w *store.Webhook) error {
		w.Status = status
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// deliveries makes some for one webhook.
func (s *dashboardScene) deliveries(w *store.Webhook, kind int) {
	s.t.Helper()
	const count = 30
	now := time.Now()
	for n := range count {
		at := now.Add(-time.Duration(count-n)*137*time.Second - time.Duration(kind)*23*time.Second)
		d := store.Delivery{
			ID: idAt(at), Webhook: w.ID, Project: w.Project, Item: w.Item, Action: "add", State: store.Pending, CreatedAt: at,
			Payload:      fmt.Appendf(nil, `{"id":%d,"item":%q,"action":"add","timestamp":%d,"actor":4014,"parent":null}`, 110040+n*7+kind, w.Item, at.Unix()),
			TraceContext: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Due: now.Add(time.Duration(4+n) * time.Minute),
		}
		if w.Instance() {
			d.Item = w.Events[n%len(w.Events)]
			d.Action = ""
			d.Payload = fmt.Appendf(nil, `{"id":"pMRBHVLJ6VpAQlE3OCVLiA==","action":%q,"created_at":"20261124201500","resource":"GLOBEX-00%d"}`, d.Item, 110040+n)
		}
		outcome := store.Delivered
		failures := 0
		switch {
		case kind == 3 && n > 17:
			outcome, failures = store.Pending, 1+(count-n)/3
		case kind == 3 && n == 9, kind == 2 && n == 11:
			outcome, failures = store.Dead, 13
		case n%11 == 5:
			failures = 1
		}
		s.deliver(d, outcome, failures)
	}
}

// idAt is a UUIDv7 of a time.
func idAt(at time.Time) string {
	id, _ := uuid.NewV7()
	ms := uint64(at.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	return id.String()
}

// deliver enqueues a delivery and records its attempts.
func (s *dashboardScene) deliver(d store.Delivery, state store.State, failures int) {
	s.t.Helper()
	st, ctx := s.engine().store, s.t.Context()
	at, due := d.CreatedAt.Add(3*time.Millisecond), d.Due
	total := failures
	if state == store.Delivered {
		total++
	}
	if err := st.Enqueue(ctx, d); err != nil {
		s.t.Fatal(err)
	}
	s.ids[string(state)] = d.ID
	for n := 1; n <= total; n++ {
		var claimed store.Delivery
		for ds := []store.Delivery(nil); ; {
			var err error
			if ds, err = st.Claim(ctx, d.Webhook, due.Add(time.Hour), 1); err != nil {
				s.t.Fatal(err)
			}
			if len(ds) == 1 && ds[0].ID == d.ID {
				claimed = ds[0]
				break
			}
			if len(ds) == 1 {
				defer func() { _ = st.Release(ctx, ds...) }()
			}
		}
		a := store.Attempt{N: n, At: at, Duration: time.Duration(30+s.random.IntN(160)) * time.Millisecond, Status: 503, Error: "status 503", Response: []byte("upstream connect error or disconnect/reset before headers")}
		o := store.Outcome{Delivery: claimed, State: store.Pending, Due: due}
		switch {
		case n%3 == 2 && n <= failures:
			a.Status, a.Error, a.Response, a.Duration = 0, "timeout: no complete answer within 10s", nil, 10*time.Second
		case n > failures:
			a.Status, a.Error, a.Response = 200, "", []byte(`{"ok":true}`)
		}
		if n == total {
			o.State = state
		}
		o.Attempt = a
		if err := st.Finish(ctx, o); err != nil {
			s.t.Fatal(err)
		}
		at = at.Add(time.Duration(n*n) * time.Second)
	}
}

// fillHistory makes up a day.
func (s *dashboardScene) fillHistory() {
	h, now := s.core().history, time.Now()
	for minute := 24*60 - 1; minute >= 0; minute-- {
		at := now.Add(-time.Duration(minute) * time.Minute)
		wave := 30 + int(22*float64((minute/7)%5)/5) + s.random.IntN(14)
		if hour := at.UTC().Hour(); hour < 6 {
			wave /= 4
		}
		h.captured(at, wave)
		bad := s.random.IntN(3) / 2
		if minute > 14 && minute < 26 {
			bad = 6 + s.random.IntN(9)
		}
		for i := range wave + bad {
			r := &emitter.Report{State: store.Delivered, Attempt: store.Attempt{At: at, Duration: time.Duration(12+s.random.ExpFloat64()*55) * time.Millisecond}}
			r.Delivery.CreatedAt = at.Add(-2 * time.Millisecond)
			if s.random.IntN(40) == 0 {
				r.Delivery.CreatedAt = at.Add(-time.Duration(5+s.random.IntN(30)) * time.Second)
			}
			if i >= wave {
				r.State = store.Pending
			}
			h.attempted(at, r)
		}
	}
}
