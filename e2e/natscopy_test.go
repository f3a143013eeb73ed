package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Of two instances of which one has a copy of the other's directory the one that came later says so, and does nothing else.
func TestCopiedDirectoryIsToldWithBothPlaces(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	c := newCluster(t, 1)
	first := c.instances(up, 1, config{})[0]
	w := first.register("ticket", rc.url("/"))
	second := newProxy(t, up, first.config)
	if err := os.MkdirAll(second.data, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, second.data, "instance", read(t, filepath.Join(first.data, "instance")))
	second.start()
	reason := second.turns("failed").State.Reason
	for _, place := range []string{first.data, second.data} {
		if !strings.Contains(reason, place) {
			t.Errorf("the reason is %q, want %s in it", reason, place)
		}
	}
	second.ticket()
	if got := second.status().InReserve; got != 1 {
		t.Errorf("%d events are in the reserve, want 1", got)
	}
	first.ticket()
	rc.next()
	first.settled(w, "delivered")
	if now := first.status().State; now.Name != "open" {
		t.Errorf("the first is %s: %s", now.Name, now.Reason)
	}
	remove(t, second.data, "instance")
	second.turns("open")
	second.emptied()
	rc.next()
}

// A directory that is shared by two processes is told before NATS is asked for anything.
func TestSharedDirectoryIsTold(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	c := newCluster(t, 1)
	first := c.instances(up, 1, config{})[0]
	w := first.register("ticket", rc.url("/"))
	second := newProxy(t, up, first.config)
	second.data = first.data
	second.start()
	if got, want := second.turns("failed").State.Reason, "each that runs needs a directory of its own"; !strings.Contains(got, want) {
		t.Errorf("the reason is %q, want %q in it", got, want)
	}
	first.ticket()
	rc.next()
	first.settled(w, "delivered")
	first.stop()
	second.turns("open")
}
