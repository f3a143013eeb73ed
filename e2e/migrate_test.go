package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// What one store owes is delivered from the other after a migration.
func TestPendingDeliveriesMoveToNATSAndBack(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 1s 1s 1s 1s 1s 1s 1s 1s"})
	w := p.register("ticket", rc.url("/"))
	rc.down()
	p.ticket()
	eventually(t, "a failed attempt", func() bool {
		list, _ := p.page(w, "")
		return len(list) == 1 && len(list[0].Attempts) > 0
	})
	p.stop()
	c := newCluster(t, 1)
	there := fmt.Sprintf("nats:nats://127.0.0.1:%d?replicas=1", c.servers[0].port)
	p.migrate("badger:"+p.data, there)
	p.config.caddyfile = strings.Replace(standardCaddyfile, "store badger DATA STORE", strings.Replace(c.store(), "DATA", "DATA-nats", 1), 1)
	p.start()
	eventually(t, "another failed attempt", func() bool {
		list, _ := p.page(w, "")
		return len(list) == 1 && len(list[0].Attempts) > 1
	})
	p.stop()
	p.migrate(there, "badger:"+p.data+"-again")
	p.config.caddyfile = strings.Replace(standardCaddyfile, "DATA", "DATA-again", 1)
	rc.up()
	p.start()
	got := rc.next()
	got.check(t, w.secret)
	if got.attempt() < 3 {
		t.Errorf("attempt %d, want at least 3", got.attempt())
	}
	p.settled(w, "delivered")
}

func (p *proxy) migrate(from, to string) {
	p.t.Helper()
	out, err := p.command(p.t.Context(), "benti", "migrate", "--from", from, "--to", to).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Copied 1 webhooks and 1 deliveries.") {
		p.t.Fatalf("migrating: %v: %s", err, out)
	}
}
