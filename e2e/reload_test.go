package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestReloadsUnderTrafficLoseNothing(t *testing.T) {
	t.Parallel()
	const reloads, perReload = 20, 20
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	w := p.register("ticket", rc.url("/"))
	tr := startTraffic(p, 8)
	for n := range reloads {
		before := tr.count()
		p.reload(config{
			delivery: fmt.Sprintf("timeout %ds\nmax_per_webhook %d\nheader X-Reload %d", 5+n, 1+n, n),
			benti:    fmt.Sprintf("retention %dd", 1+n),
			handler:  []string{"durability sync", "body_limit 64KiB", "authorize off", ""}[n%4],
		})
		eventually(t, "acknowledged tickets", func() bool { return tr.count() >= before+perReload })
	}
	tr.end()
	for _, failure := range tr.failures {
		t.Errorf("a client's call failed: %s", failure)
	}
	if created := up.created(); created != len(tr.acknowledged) {
		t.Errorf("the API created %d tickets, clients know of %d", created, len(tr.acknowledged))
	}
	duplicates := tr.checkAllArrived(rc)
	t.Logf("%d tickets over %d reloads, %d deliveries came twice; %d connections were closed unserved",
		len(tr.acknowledged), reloads, duplicates, tr.unserved)
	p.ticket()
	for { // the settings of the last config hold
		if got := rc.next(); strings.HasPrefix(got.body, fmt.Sprintf(`{"id":%d,`, up.created())) {
			if got.header.Get("X-Reload") != fmt.Sprint(reloads-1) {
				t.Errorf("X-Reload is %q after the last reload", got.header.Get("X-Reload"))
			}
			break
		}
	}
	if status := p.get(w).Status; status != "active" {
		t.Errorf("the webhook is %s", status)
	}
}

// A config that is refused, and one that fails only when it starts, leave everything as it was.
func TestFailedReloadChangesNothing(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	good := config{delivery: "header X-Reload good"}
	p := site(t, up, good)
	w := p.register("ticket", rc.url("/"))
	for range 3 {
		for _, bad := range []config{
			{delivery: "header X-Reload bad", handler: "durability maybe"},
			{delivery: "header X-Reload bad", site: "bind 192.0.2.1"}, // not of this machine
			{delivery: "header X-Reload bad\ntimeout 1h"},
		} {
			status, body, err := p.adminCall(http.MethodPost, "/load", "text/caddyfile", bad.render(p))
			if err != nil || status == http.StatusOK {
				t.Errorf("a bad config is answered with %d %s, %v", status, body, err)
			}
			p.settle()
			p.ticket()
			if got := rc.next(); got.header.Get("X-Reload") != "good" {
				t.Errorf("X-Reload is %q", got.header.Get("X-Reload"))
			}
		}
		p.reload(good)
	}
	if status := p.get(w).Status; status != "active" {
		t.Errorf("the webhook is %s", status)
	}
	p.stop() // the store is let go of
	p.start()
	p.ticket()
	rc.next()
}

// Each store keeps what it has while another is in use, and hanging attempts do not hold up the change.
func TestReloadCanChangeTheStore(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "timeout 1s"})
	w := p.register("ticket", rc.url("/"))
	rc.answer(rc.hang)
	p.ticket()
	first := rc.next()
	there := p.data
	p.data += "-other"
	p.reload(config{delivery: "timeout 1s"})
	if list := p.webhooks(); len(list) != 0 {
		t.Errorf("the other store has %+v", list)
	}
	rc.answer(nil)
	p.register("queue", rc.url("/queue"))
	p.must(http.StatusCreated, "POST", "/queues", `{}`)
	for rc.next().path != "/queue" { // a retry of the first may have come before
	}
	p.data = there
	p.reload(config{delivery: "retry 100ms\ntimeout 1s"})
	if list := p.webhooks(); len(list) != 1 || list[0].UUID != w.UUID {
		t.Errorf("the first store has %+v", list)
	}
	p.ticket()
	for {
		if got := rc.next(); got.id() != first.id() {
			break
		}
	}
}

// What is counted goes on over reloads.
func TestMetricsSurviveReloads(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	c := config{global: "metrics"}
	p := site(t, up, c)
	w := p.register("ticket", rc.url("/"))
	for range 3 {
		p.ticket()
		rc.next()
		p.settled(w, "delivered")
		p.reload(c)
	}
	status, body, err := p.adminCall(http.MethodGet, "/metrics", "", "")
	if err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
	for _, want := range []string{
		`benti_webhooks_events_total{action="add",item="ticket"} 3`, `benti_webhooks_deliveries{state="delivered"} 3`,
		`benti_webhooks_deliveries{state="pending"} 0`, `benti_webhooks_attempts_total{result="delivered"} 3`, `benti_webhooks_lost_total 0`,
	} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("%s is not among the metrics:\n%s", want, grep(string(body), "benti_webhooks_"))
		}
	}
}

func grep(text, word string) string {
	var found strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) && !strings.HasPrefix(line, "#") {
			found.WriteString(line)
		}
	}
	return found.String()
}
