package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// Each page of the dashboard shows what a store of several instances holds, and acts on it, also for deliveries that another
// instance makes.
func TestDashboardOnASharedStore(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	ps := newCluster(t, 1).instances(up, 2, config{delivery: "retry 1h", site: dashboardSite})
	p, other := ps[0], ps[1]
	w := p.register("ticket", rc.url("/hook"))
	rc.answer(statuses(http.StatusTeapot))
	p.ticket()
	id := rc.next().id()
	eventually(t, "a failed attempt on both instances", func() bool {
		for _, p := range ps {
			if list, _ := p.page(w, ""); len(list) != 1 || list[0].State != "pending" || len(list[0].Attempts) != 1 {
				return false
			}
		}
		return true
	})
	for _, p := range ps {
		for _, page := range []struct{ path, want string }{
			{"", "nats:"},
			{"webhooks", w.UUID},
			{"webhooks/" + w.UUID, rc.url("/hook")},
			{"deliveries?state=pending", id},
			{"deliveries/" + id, "status 418"},
			{"in-doubt", "</html>"},
		} {
			got := p.must(http.StatusOK, http.MethodGet, "/hooks/"+page.path, "")
			if !strings.Contains(got.body, page.want) {
				t.Errorf("/hooks/%s does not show %q:\n%s", page.path, page.want, got.body)
			}
		}
		p.must(http.StatusNotFound, http.MethodGet, "/hooks/deliveries/"+nobody, "")
	}

	rc.answer(nil)
	press := func(p *proxy, path, form string) {
		t.Helper()
		p.must(http.StatusSeeOther, http.MethodPost, "/hooks/"+path, form, "Content-Type", "application/x-www-form-urlencoded")
	}
	press(other, "deliveries/"+id+"/replay", "")
	if got := rc.next(); got.id() != id || got.attempt() != 2 {
		t.Errorf("attempt %d of %s came, want the second of %s", got.attempt(), got.id(), id)
	}
	p.settled(w, "delivered")
	press(p, "webhooks/"+w.UUID+"/disable", "")
	eventually(t, "the other instance to know", func() bool { return other.get(w).Status == "disabled" })
	press(other, "webhooks/"+w.UUID+"/enable", "")
	eventually(t, "the first instance to know", func() bool { return p.get(w).Status == "active" })
	press(p, "webhooks/"+w.UUID+"/ping", "")
	if got := rc.next(); got.header.Get("X-Hook-Ping") != "1" {
		t.Errorf("not a ping: %v", got.header)
	}
	other.settled(w, "delivered")
	press(other, "deliveries/replay", "state=delivered&webhook="+w.UUID)
	for range 2 { // the ticket's and the ping
		rc.next()
	}
}
