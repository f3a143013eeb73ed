package e2e

import (
	"fmt"
	"testing"
)

// Many reloads with other settings leave neither goroutines nor file descriptors behind.
func TestReloadsUnderTrafficLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	reloads := long(t, "BENTI_RELOADS", 40)
	up, rc := newUpstream(t), newReceiver(t)
	// Caddy's proxy keeps idle connections of each configuration to the API for two minutes, also without us.
	up.server.Config.SetKeepAlivesEnabled(false)
	p := site(t, up, config{})
	p.register("ticket", rc.url("/"))
	tr := startTraffic(p, 4)
	settled := reloads / 4
	var goroutines, descriptors int
	for n := range reloads {
		before := tr.count()
		p.reload(config{delivery: fmt.Sprintf("timeout %ds", 5+n%50), benti: fmt.Sprintf("retention %dd", 1+n)})
		eventually(t, "acknowledged tickets", func() bool { return tr.count() >= before+5 })
		if n == settled {
			goroutines, descriptors = p.goroutines(), p.descriptors()
		}
	}
	tr.end()
	for _, failure := range tr.failures {
		t.Errorf("a client's call failed: %s", failure)
	}
	tr.checkAllArrived(rc)
	// What every reload left behind would add up to more than this.
	const slack = 30
	var g, d int
	defer func() {
		t.Logf("%d reloads, %d tickets: %d goroutines and %d file descriptors after %d reloads, %d and %d at the end",
			reloads, len(tr.acknowledged), goroutines, descriptors, settled, g, d)
	}()
	eventually(t, "goroutines and file descriptors of before", func() bool {
		p.client.CloseIdleConnections()
		g, d = p.goroutines(), p.descriptors()
		return g <= goroutines+slack && d <= descriptors+slack
	})
}
