package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// adminDelivery is a delivery as the admin endpoint shows it.
type adminDelivery struct {
	delivery
	Webhook, Project, Item, Action, Store string
	Ping                                  bool
}

// find lists deliveries through all pages.
func (p *proxy) find(query string) (all []adminDelivery) {
	p.t.Helper()
	for cursor := ""; ; {
		var page struct {
			Data []adminDelivery
			Next *string
		}
		p.adminGet("/benti/deliveries?limit=7&cursor="+url.QueryEscape(cursor)+"&"+query, &page)
		all = append(all, page.Data...)
		if page.Next == nil {
			return all
		}
		cursor = *page.Next
	}
}

// adminPost has the admin endpoint do something.
func (p *proxy) adminPost(status int, path, body string, to any) {
	p.t.Helper()
	got, answer, err := p.adminCall(http.MethodPost, path, "application/json", body)
	if err != nil || got != status {
		p.t.Fatalf("POST %s: status %d, want %d, %v: %s", path, got, status, err, answer)
	}
	if to != nil {
		if err := json.Unmarshal(answer, to); err != nil {
			p.t.Fatalf("POST %s: %v: %s", path, err, answer)
		}
	}
}

func TestOperatorFindsAndRepairsDeliveries(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 10ms", global: "metrics"})
	w := p.register("ticket", rc.url("/"))
	id := strings.TrimPrefix(w.path(), "/v1/webhooks/")
	for range 10 {
		p.ticket()
	}
	eventually(t, "10 delivered", func() bool { return len(p.find("state=delivered")) == 10 })
	rc.down()
	for range 10 {
		p.ticket()
	}
	eventually(t, "10 dead", func() bool { return len(p.find("state=dead&webhook="+id)) == 10 })
	all := p.find("project=default&item=ticket&since=1h")
	if len(all) != 20 {
		t.Fatalf("found %d, want 20", len(all))
	}
	for i := 1; i < len(all); i++ {
		if all[i].ID >= all[i-1].ID {
			t.Errorf("%s comes after %s", all[i].ID, all[i-1].ID)
		}
	}
	var one adminDelivery
	p.adminGet("/benti/deliveries/"+all[0].ID, &one)
	if one.ID != all[0].ID || one.State != "dead" || one.Webhook != id || one.Action != "add" || len(one.Attempts) != 2 {
		t.Errorf("got %+v", one)
	}
	if got := p.find("item=user"); len(got) != 0 {
		t.Errorf("found %d deliveries of users", len(got))
	}

	rc.up()
	p.adminPost(http.StatusAccepted, "/benti/deliveries/"+one.ID+"/replay", "", nil)
	eventually(t, "one of the dead delivered", func() bool { return len(p.find("state=dead")) == 9 })
	var done struct {
		Replayed, Skipped int
		Next              *string
	}
	p.adminPost(http.StatusOK, "/benti/deliveries/replay", `{"webhook":"`+id+`"}`, &done)
	if done.Replayed != 9 || done.Next != nil {
		t.Errorf("replayed %+v, want the 9 that are dead", done)
	}
	eventually(t, "all delivered", func() bool { return len(p.find("state=delivered")) == 20 })
	p.adminPost(http.StatusOK, "/benti/deliveries/replay", `{"state":"any","since":"1h","project":"default"}`, &done)
	if done.Replayed != 20 {
		t.Errorf("replayed %+v, want the 20 of the last hour", done)
	}
	eventually(t, "40 receipts", func() bool { return p.metric(`benti_webhooks_deliveries{state="delivered"}`) == 20 })

	// What is pending for a disabled webhook is held, and goes out when it is enabled.
	rc.down()
	p.adminPost(http.StatusOK, "/benti/webhooks/"+id+"/disable", "", nil)
	p.adminPost(http.StatusConflict, "/benti/webhooks/"+id+"/ping", "", nil)
	p.adminPost(http.StatusConflict, "/benti/deliveries/"+one.ID+"/replay", "", nil)
	p.adminPost(http.StatusOK, "/benti/deliveries/replay", `{"state":"any"}`, &done)
	if done.Replayed != 0 || done.Skipped != 20 {
		t.Errorf("replayed %+v of a disabled webhook", done)
	}
	rc.up()
	var enabled struct{ UUID, Status, Project string }
	p.adminPost(http.StatusOK, "/benti/webhooks/"+id+"/enable", "", &enabled)
	if enabled.UUID != id || enabled.Status != "active" || enabled.Project != "default" {
		t.Errorf("got %+v", enabled)
	}
	var ping struct{ ID string }
	p.adminPost(http.StatusAccepted, "/benti/webhooks/"+id+"/ping", "", &ping)
	eventually(t, "a ping", func() bool { return len(p.find("item=ping&state=delivered")) == 1 })

	var webhooks struct {
		Data []struct{ UUID, URL, Item, Status, Project, Store string }
		Next *string
	}
	p.adminGet("/benti/webhooks?status=active&item=ticket&project=default", &webhooks)
	if len(webhooks.Data) != 1 || webhooks.Data[0].UUID != id || webhooks.Data[0].URL != rc.url("/") {
		t.Errorf("got %+v", webhooks)
	}
	p.adminGet("/benti/webhooks/"+id, &webhooks.Data[0])
	for _, name := range []string{"benti_webhooks_unaccounted", "benti_webhooks_oldest_pending_seconds"} {
		eventually(t, name+" 0", func() bool { return p.metric(name) == 0 })
	}
}

// Once deliveries are held for a disabled webhook they stay pending, and do not count as owed.
func TestDisabledWebhookHoldsItsDeliveries(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 1s 1s 1s 1s 1s 1s", global: "metrics"})
	w := p.register("ticket", rc.url("/"))
	id := strings.TrimPrefix(w.path(), "/v1/webhooks/")
	made := p.get(w).UpdatedAt
	rc.down()
	p.ticket()
	eventually(t, "a failed attempt", func() bool { ds := p.find("state=pending"); return len(ds) == 1 && len(ds[0].Attempts) > 0 })
	eventually(t, "an age", func() bool { return p.metric("benti_webhooks_oldest_pending_seconds") > 0 })
	p.adminPost(http.StatusOK, "/benti/webhooks/"+id+"/disable", "", nil)
	rc.up()
	eventually(t, "no age", func() bool { return p.metric("benti_webhooks_oldest_pending_seconds") == 0 })
	if got := p.find("state=pending"); len(got) != 1 {
		t.Errorf("%d are pending", len(got))
	}
	p.adminPost(http.StatusOK, "/benti/webhooks/"+id+"/enable", "", nil)
	eventually(t, "it delivered", func() bool { return len(p.find("state=delivered")) == 1 })
	if now := p.get(w).UpdatedAt; !now.Equal(made) {
		t.Errorf("updated_at is %v, want %v: nobody changed the webhook with a PUT", now, made)
	}
}

func TestAdminEndpointRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	p := site(t, newUpstream(t), config{})
	nobody := "01890000-0000-7000-8000-000000000000"
	for _, c := range []struct {
		method, path, body string
		status             int
		field              string
	}{
		{"GET", "/benti/deliveries?state=lost", "", 400, "state"},
		{"GET", "/benti/deliveries?state=dead&state=pending", "", 400, "state"},
		{"GET", "/benti/deliveries?webhook=7", "", 400, "webhook"},
		{"GET", "/benti/deliveries?since=yesterday", "", 400, "since"},
		{"GET", "/benti/deliveries?since=-1h", "", 400, "since"},
		{"GET", "/benti/deliveries?since=1h&until=2h", "", 400, "until"},
		{"GET", "/benti/deliveries?limit=501", "", 400, "limit"},
		{"GET", "/benti/deliveries?limit=0", "", 400, "limit"},
		{"GET", "/benti/deliveries?cursor=x", "", 400, "cursor"},
		{"GET", "/benti/deliveries?status=dead", "", 400, "status"},
		{"GET", "/benti/deliveries?store=badger:/elsewhere", "", 400, "store"},
		{"GET", "/benti/webhooks?status=dead", "", 400, "status"},
		{"GET", "/benti/webhooks?cursor=x", "", 400, "cursor"},
		{"GET", "/benti/deliveries/" + nobody, "", 404, ""},
		{"GET", "/benti/deliveries/x", "", 404, ""},
		{"GET", "/benti/webhooks/" + nobody, "", 404, ""},
		{"GET", "/benti/nothing", "", 404, ""},
		{"POST", "/benti/webhooks/" + nobody + "/ping", "", 404, ""},
		{"POST", "/benti/webhooks/" + nobody + "/enable", "", 404, ""},
		{"POST", "/benti/deliveries/" + nobody + "/replay", "", 404, ""},
		{"POST", "/benti/in-doubt/x/acknowledge", "", 404, ""},
		{"POST", "/benti/deliveries/replay", "", 400, ""},
		{"POST", "/benti/deliveries/replay", "[]", 400, ""},
		{"POST", "/benti/deliveries/replay", "null", 400, ""},
		{"POST", "/benti/deliveries/replay", "{}", 400, ""},
		{"POST", "/benti/deliveries/replay", `{"state":"delivering"}`, 400, "state"},
		{"POST", "/benti/deliveries/replay", `{"limit":"3"}`, 400, "limit"},
		{"POST", "/benti/deliveries/replay", strings.Repeat(" ", 65<<10), 413, ""},
		{"POST", "/benti/status", "", 405, ""},
		{"DELETE", "/benti/webhooks", "", 405, ""},
		{"GET", "/benti/deliveries/replay", "", 405, ""},
	} {
		status, body, err := p.adminCall(c.method, c.path, "application/json", c.body)
		var got struct {
			Errors []struct {
				Code           int
				Message, Field string
			}
		}
		if err != nil || status != c.status || json.Unmarshal(body, &got) != nil || len(got.Errors) != 1 ||
			got.Errors[0].Code != c.status || got.Errors[0].Field != c.field || got.Errors[0].Message == "" {
			t.Errorf("%s %s: status %d, %v: %s", c.method, c.path, status, err, body)
		}
	}
}

// Over kills and starts nothing is unaccounted for.
func TestKillsLeaveNothingUnaccounted(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: patientRetry, global: "metrics"})
	p.register("ticket", rc.url("/"))
	for range 3 {
		tr := startPaced(p, 4, 2*time.Millisecond, `{}`)
		eventually(t, "acknowledged tickets", func() bool { return tr.count() >= 100 })
		p.kill()
		tr.end()
		p.start()
		eventually(t, "nothing unaccounted for", func() bool { return p.metric("benti_webhooks_unaccounted") == 0 })
	}
	var status struct {
		Stores []struct {
			Conservation struct {
				Events     int64 `json:"unaccounted_events"`
				Deliveries int64 `json:"unaccounted_deliveries"`
			}
		}
	}
	p.adminGet("/benti/status", &status)
	if c := status.Stores[0].Conservation; c.Events != 0 || c.Deliveries != 0 {
		t.Errorf("unaccounted for: %s", fmt.Sprint(c))
	}
}
