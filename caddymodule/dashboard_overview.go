package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

const (
	// latestShown is how many of the latest deliveries the overview shows.
	latestShown = 8
	// owedLong is from when on the oldest delivery that waits is worth attention.
	owedLong = 15 * time.Minute
)

type overviewPage struct {
	Day, Accounted                  bool
	Status                          statusView
	Sum                             tally
	Attempts, Waiting, Dead         uint64
	Rate, Success, Median, P95, P99 string
	AttemptsChart, LatencyChart     *chart
	Todo                            []todo
	Latest                          deliveriesTable
}

// todo is something that needs attention.
type todo struct {
	Chip chip
	Text string
	Link string
}

func (c *dashboardCall) overview(ctx context.Context) error {
	now := time.Now()
	v := &overviewPage{Day: c.r.URL.Query().Get("span") == "day"}
	slots, sum := c.core.history.lastHour(now)
	if v.Day {
		slots, sum = c.core.history.lastDay(now)
	}
	v.Sum, v.Attempts = sum, sum.Delivered+sum.Failed
	v.Rate = rateText(&sum, now.Sub(begin(slots)))
	v.Success = percentText(sum.Delivered, v.Attempts)
	v.Median, v.P95, v.P99 = quantileText(&sum.latencies, .5), quantileText(&sum.latencies, .95), quantileText(&sum.latencies, .99)
	v.AttemptsChart, v.LatencyChart = attemptsChart(slots, &v.Sum), latencyChart(slots, &v.Sum)
	v.Status = c.core.status(ctx)
	v.Accounted = v.Status.Conservation.sum() == 0
	if n := v.Status.Deliveries; n != nil {
		v.Dead, v.Waiting = n.Dead, n.Pending+n.Delivering
	}
	v.Todo = c.todo(v, now)
	if e := c.core.opened.Load(); e != nil {
		latest, _, err := e.store.Find(ctx, store.Filter{}, "", latestShown)
		if err != nil {
			return err
		}
		v.Latest = c.table("The latest deliveries", latest, true)
	}
	return c.render(http.StatusOK, "overview", "Overview", c.frame(), v)
}

// begin is when the first slot with anything in it began: before that, the process may not have been there.
func begin(slots []slot) time.Time {
	for i := range slots {
		if s := &slots[i]; s.Events+s.Delivered+s.Failed > 0 {
			return s.Start
		}
	}
	return slots[len(slots)-1].Start
}

// rateText tells how many events there were in each minute of a span.
func rateText(t *tally, span time.Duration) string {
	rate := float64(t.Events) / max(1, span.Minutes())
	switch {
	case rate >= 10:
		return numberText(int(rate + .5))
	case rate > 0 && rate < .1:
		return "under 0.1"
	}
	return strconv.FormatFloat(rate, 'f', 1, 64)
}

// todo lists what needs attention, the worst first.
func (c *dashboardCall) todo(v *overviewPage, now time.Time) (list []todo) {
	add := func(chip chip, link, format string, args ...any) {
		list = append(list, todo{Chip: chip, Text: fmt.Sprintf(format, args...), Link: link})
	}
	if s := v.Status.State; s.Name != stateOpen {
		add(storeChip(s), "", "Deliveries rest; events are kept beside the store. %s", s.Reason)
	}
	if n := v.Status.Conservation.sum(); n != 0 {
		add(chip{"bad", "warn", "missing"}, "", "%s are not accounted for. Something was lost without being counted; please report it.", numberText(n))
	}
	if n := v.Status.InMemory; n > 0 {
		add(chip{"bad", "warn", "in memory"}, "", "%s in memory only, because neither store nor reserve took them.", countText(n, "event is", "events are"))
	}
	var failing, gone, disabled int
	if directory := c.core.directory.Load(); directory != nil {
		for _, w := range directory.All() {
			switch w.Status {
			case store.Failing:
				failing++
			case store.Gone:
				gone++
			case store.Disabled:
				disabled++
			case store.Active:
			}
		}
	}
	if failing > 0 {
		add(statusChip(store.Failing), "webhooks?status=failing", "%s of %s: the latest attempts failed.",
			numberText(failing), countText(v.Status.Webhooks, "webhook", "webhooks"))
	}
	if oldest := v.Status.OldestPending; oldest != nil && now.Sub(oldest.At) > owedLong {
		add(chip{"warn", "clock", "late"}, "deliveries?state=pending", "The oldest event that waits was captured %s.", ago(oldest.At, now))
	}
	if n := v.Status.InDoubt; n > 0 {
		add(chip{"warn", "warn", "in doubt"}, "in-doubt", "%s in flight when the process ended without warning.", countText(n, "call was", "calls were"))
	}
	if v.Dead > 0 {
		add(chip{"bad", "cross", "dead"}, "deliveries?state=dead", "%s given up. Replay what is still wanted.", countText(v.Dead, "delivery was", "deliveries were"))
	}
	if gone > 0 {
		add(statusChip(store.Gone), "webhooks?status=gone", "%s: the receiver said that it is gone.", countText(gone, "webhook", "webhooks"))
	}
	if disabled > 0 {
		add(statusChip(store.Disabled), "webhooks?status=disabled", "%s switched off.", countText(disabled, "webhook is", "webhooks are"))
	}
	return list
}
