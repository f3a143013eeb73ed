package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// Dashboards and alerts of operators hang on these names, so they may not change.
func TestMetricsHaveTheirNamesAndLabels(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{global: "metrics", delivery: quickRetries})
	w := p.register("ticket", rc.url("/"))
	rc.answer(statuses(500, 200))
	p.ticket()
	p.settled(w, "delivered")
	up.answer(up.respond(http.StatusCreated, nil, `{}`))
	p.must(http.StatusCreated, http.MethodPost, "/v1/tickets", `{}`)

	// Reports come after what they tell of is in the store.
	want := []string{
		`events_total{action="add",item="ticket"} 1`, `underivable_total{item="ticket",reason="no_id"} 1`,
		`attempts_total{result="delivered"} 1`, `attempts_total{result="status"} 1`, `attempt_duration_seconds_count 2`,
		`delivery_latency_seconds_count 1`, `store_write_seconds_count 1`, `store_errors_total 0`, `lost_total 0`, `unaccounted 0`, `in_doubt 0`,
		`oldest_pending_seconds 0`, `deliveries{state="pending"} 0`, `deliveries{state="delivering"} 0`, `deliveries{state="delivered"} 1`,
		`deliveries{state="dead"} 0`, `deliveries{state="dropped"} 0`, `store_open 1`, `kept_aside{place="reserve"} 0`, `kept_aside{place="memory"} 0`,
	}
	for _, metric := range want {
		eventually(t, metric, func() bool {
			_, body, err := p.adminCall(http.MethodGet, "/metrics", "", "")
			return err == nil && strings.Contains(string(body), "\nbenti_webhooks_"+metric+"\n")
		})
	}
}
