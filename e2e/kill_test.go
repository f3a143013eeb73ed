package e2e

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The promise of durability sync: what a client was told of is delivered, whatever happens to the process. And no
// change is forgotten: a ticket that the API created is delivered or its request is in doubt.
//
// Clients go on while the process is killed at random moments, which may be while it opens the store.
// BENTI_KILL_ROUNDS is how often.
func TestKillsUnderTrafficLoseNothingAcknowledged(t *testing.T) {
	t.Parallel()
	const checkEvery = 10 // so that the receiver's queue does not run over
	rounds := long(t, "BENTI_KILL_ROUNDS", 5)
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 100ms 100ms 100ms 100ms 100ms"})
	p.register("ticket", rc.url("/"))
	came := newArrivals(rc)
	tr := startTraffic(p, 4)
	args := []string{"--config", p.writeConfig(), "--adapter", "caddyfile"}
	for round := range rounds {
		if round%checkEvery == checkEvery-1 {
			before := tr.count()
			eventually(t, "acknowledged tickets", func() bool { return tr.count() > before })
			came.await(tr.known())
		}
		<-time.After(rand.N(800 * time.Millisecond))
		p.kill()
		p.launch(args...)
	}
	before := tr.count()
	eventually(t, "acknowledged tickets after the last kill", func() bool { return tr.count() >= before+100 })
	tr.end()
	came.await(tr.known())
	eventually(t, "a store that owes nothing", func() bool {
		d := p.status().Deliveries
		return d != nil && d.Pending+d.Delivering == 0
	})
	came.rest()
	if len(tr.failures) > 0 {
		t.Errorf("%d calls failed, the first with %s", len(tr.failures), tr.failures[0])
	}
	inDoubt := len(p.inDoubt())
	if forgotten := up.created() - len(came.events) - inDoubt; forgotten > 0 {
		t.Errorf("%d tickets were created whose events neither came nor are in doubt", forgotten)
	}
	t.Logf("%d kills: %d tickets created, %d acknowledged, 0 of these lost, %d deliveries came twice, %d requests in doubt, %d calls unserved",
		rounds, up.created(), tr.count(), came.duplicates, inDoubt, tr.unserved)
}
