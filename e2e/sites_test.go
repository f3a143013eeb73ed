package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A second site on the same store, with a project of its own, comes and goes by reloads while both have traffic. Neither
// fails a call or loses an event, and each event goes to the webhooks of its own site.
func TestSitesComeAndGoUnderTraffic(t *testing.T) {
	t.Parallel()
	const rounds, perRound = 4, 20
	up, otherUp, rc, otherRc := newUpstream(t), newUpstream(t), newReceiver(t), newReceiver(t)
	const otherIDs = 1_000_000
	otherUp.ids = otherIDs
	one := config{delivery: patientRetry, global: "grace_period 10s"}
	p := site(t, up, one)
	p.register("ticket", rc.url("/"))

	port := freePort(t)
	other := &proxy{t: t, url: fmt.Sprintf("http://127.0.0.1:%d", port), client: p.client}
	both := one
	both.caddyfile = standardCaddyfile + fmt.Sprintf("http://:%d {\n\tbenti_webhooks {\n\t\tproject other\n\t}\n\treverse_proxy %s\n}\n", port, otherUp.address())
	p.reload(both)
	w := other.register("ticket", otherRc.url("/"))
	p.secret(w.secret)

	tr, otherTr := startPaced(p, 4, time.Millisecond, `{}`), startPaced(other, 4, time.Millisecond, `{}`)
	for range rounds {
		before, otherBefore := tr.count(), otherTr.count()
		eventually(t, "tickets on both sites", func() bool {
			return tr.count() >= before+perRound && otherTr.count() >= otherBefore+perRound
		})
		p.reload(one)
		gone, before := otherTr.count(), tr.count()
		eventually(t, "tickets on the first site", func() bool { return tr.count() >= before+perRound })
		// What was in flight when its site went could still end.
		if more := otherTr.count() - gone; more > 4 {
			t.Errorf("%d tickets on a site that is gone", more)
		}
		p.reload(both)
	}
	before := otherTr.count()
	eventually(t, "tickets on the second site", func() bool { return otherTr.count() >= before+perRound })
	tr.end()
	otherTr.end()
	for name, side := range map[string]struct {
		tr      *traffic
		created int
		rc      *receiver
	}{
		"first": {tr, up.created(), rc}, "second": {otherTr, otherUp.created() - otherIDs, otherRc},
	} {
		if len(side.tr.failures) > 0 {
			t.Errorf("%s site: %d calls failed, the first with %s", name, len(side.tr.failures), side.tr.failures[0])
		}
		if side.created != side.tr.count() {
			t.Errorf("%s site: the API created %d tickets, clients know of %d", name, side.created, side.tr.count())
		}
		came := newArrivals(side.rc)
		came.await(side.tr.known())
		for id := range came.events {
			if (len(id) == len(fmt.Sprint(otherIDs)) && strings.HasPrefix(id, "1")) != (name == "second") {
				t.Errorf("the receiver of the %s site got the event of ticket %s", name, id)
			}
		}
		t.Logf("%s site: %d tickets, %d deliveries came twice, %d connections unserved", name, side.created, came.duplicates, side.tr.unserved)
	}
}
