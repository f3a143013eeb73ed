package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// smallStore are the settings of a store on a small disk.
const smallStore = "min_free 48MiB\nreserve 2MiB"

// patientRetry has deliveries live on over what a test takes.
var patientRetry = "retry" + strings.Repeat(" 500ms", 60)

// onSmallDisk is a proxy, not started, whose store is on a small disk, and another program on it.
func onSmallDisk(t *testing.T, size string, up *upstream, c config) (*proxy, *foreign) {
	t.Helper()
	dir := smallDisk(t, size)
	c.global += "\nmetrics"
	if c.store == "" {
		c.store = smallStore
	}
	p := newProxy(t, up, c)
	p.data = filepath.Join(dir, "benti")
	return p, &foreign{t: t, file: filepath.Join(dir, "foreign")}
}

// Another program fills the disk within a second. The site goes on, events are as durable as before, and all arrive
// when there is room again, without a restart.
func TestDiskFilledByAnotherProgramStopsNothing(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p, other := onSmallDisk(t, "160m", up, config{delivery: patientRetry})
	p.start()
	p.register("ticket", rc.url("/"))
	tr := startPaced(p, 4, 2*time.Millisecond, `{}`)
	eventually(t, "acknowledged tickets", func() bool { return tr.count() >= 50 })
	other.fill(time.Second)
	full := p.turns("low_space")
	if !strings.Contains(full.State.Reason, "min_free") {
		t.Errorf("the reason is %q", full.State.Reason)
	}
	before := tr.count()
	eventually(t, "acknowledged tickets on the full disk", func() bool { return tr.count() >= before+200 })
	tr.end()
	tr.checkServed(t)
	kept := p.status()
	if kept.InReserve < 200 || kept.InMemory != 0 {
		t.Errorf("%d events are in the reserve, %d in memory", kept.InReserve, kept.InMemory)
	}
	other.leave()
	came := newArrivals(rc)
	came.await(tr.known())
	p.emptied()
	if gap := p.metric("benti_webhooks_unaccounted"); gap != 0 {
		t.Errorf("%v are unaccounted for", gap)
	}
	if lost := p.metric("benti_webhooks_lost_total"); lost != 0 {
		t.Errorf("%v events were lost", lost)
	}
	t.Logf("%d tickets, %d of them on the full disk, %d deliveries came twice", tr.count(), tr.count()-before, came.duplicates)
}

// What the reserve took on a full disk is still there after a kill and a start on the disk that is still full.
func TestKillOnAFullDiskLosesNothing(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p, other := onSmallDisk(t, "160m", up, config{delivery: patientRetry})
	p.start()
	p.register("ticket", rc.url("/"))
	p.ticket()
	other.fill(time.Second)
	p.turns("low_space")
	came := newArrivals(rc)
	var tickets []string
	for life := range 3 {
		tr := startPaced(p, 4, 2*time.Millisecond, `{}`)
		eventually(t, "acknowledged tickets on the full disk", func() bool { return tr.count() >= 150 })
		p.kill()
		tr.end()
		tickets = append(tickets, tr.known()...)
		if len(tr.failures) > 0 {
			t.Errorf("%d calls failed, the first with %s", len(tr.failures), tr.failures[0])
		}
		other.fill(0) // what the death of the process may have set free
		p.start()
		now := p.status()
		if now.State.Name != "low_space" || now.InReserve < len(tickets) {
			t.Errorf("after kill %d the store is %s with %d events in the reserve, of %d", life+1, now.State.Name, now.InReserve, len(tickets))
		}
	}
	p.ticket()
	tickets = append(tickets, fmt.Sprint(up.created()))
	other.leave()
	came.await(tickets)
	p.emptied()
	t.Logf("%d tickets over 3 kills on a full disk, %d deliveries came twice", len(tickets), came.duplicates)
}

// With on_store_failure reject a call is turned away on a full disk before the API hears of it.
func TestFullDiskRejectsBeforeForwardingIfSoConfigured(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p, other := onSmallDisk(t, "160m", up, config{handler: "on_store_failure reject", delivery: patientRetry})
	p.start()
	p.register("ticket", rc.url("/"))
	tr := startPaced(p, 4, 2*time.Millisecond, `{}`)
	eventually(t, "acknowledged tickets", func() bool { return tr.count() >= 50 })
	other.fill(time.Second)
	p.turns("low_space")
	tr.end()
	for _, failure := range tr.failures { // some may have been turned away already
		if !strings.HasPrefix(failure, "503 ") {
			t.Errorf("a call failed with %s", failure)
		}
	}
	if created := up.created(); created != tr.count() {
		t.Errorf("the API created %d tickets, clients know of %d", created, tr.count())
	}
	calls := len(up.seen())
	for range 10 {
		got := p.call(http.MethodPost, "/v1/tickets", `{}`)
		got.checkError(t, http.StatusServiceUnavailable, "")
		if got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if now := len(up.seen()); now != calls {
		t.Errorf("the API got %d calls that were turned away", now-calls)
	}
	p.must(http.StatusOK, http.MethodGet, "/v1/tickets", "")
	p.must(http.StatusCreated, http.MethodPost, "/v1/queues", `{}`) // nobody wants its event
	other.leave()
	p.turns("open")
	eventually(t, "calls that are let through again", func() bool {
		return p.call(http.MethodPost, "/v1/tickets", `{}`).status == http.StatusCreated
	})
	newArrivals(rc).await(append(tr.known(), fmt.Sprint(up.created())))
}

// The backlog of receivers that are down fills the disk up to min_free and no further.
func TestDiskFilledByOurOwnBacklogStopsNothing(t *testing.T) {
	t.Parallel()
	const webhooks = 20
	up, rc := newUpstream(t), newReceiver(t)
	p, other := onSmallDisk(t, "100m", up, config{delivery: patientRetry})
	p.start()
	for n := range webhooks {
		p.register("ticket", rc.url(fmt.Sprintf("/%d", n)))
	}
	rc.down()
	// An actor of 4 KiB makes every delivery as large.
	tr := startPaced(p, 2, time.Millisecond, fmt.Sprintf(`{"actor":%q}`, strings.Repeat("x", 4<<10)))
	p.turns("low_space")
	before := tr.count()
	eventually(t, "acknowledged tickets on the full disk", func() bool { return tr.count() >= before+100 })
	tr.end()
	tr.checkServed(t)
	if now := p.status(); now.InReserve < 50 || now.State.Name != "low_space" {
		t.Errorf("%d events are in the reserve, the store is %s", now.InReserve, now.State.Name)
	}
	// Closing the store writes too. What is left is still a good part of min_free.
	if free := freeBytes(t, other.file); free < 16<<20 {
		t.Errorf("%d bytes are free", free)
	}
	grow(t, filepath.Dir(other.file), "400m")
	rc.up()
	p.emptied()
	came := newArrivals(rc)
	came.await(tr.known())
	eventually(t, "all deliveries", func() bool {
		d := p.status().Deliveries
		return d != nil && d.Pending+d.Delivering == 0
	})
	came.rest()
	if want := tr.count() * webhooks; len(came.deliveries) != want {
		t.Errorf("%d deliveries came, want %d", len(came.deliveries), want)
	}
	t.Logf("%d tickets, %d deliveries, of which %d came twice", tr.count(), len(came.deliveries), came.duplicates)
}

// A start on a full disk serves the site. What the reserve takes meanwhile is delivered when there is room.
func TestStartOnAFullDiskServesAndRecovers(t *testing.T) {
	t.Parallel()
	t.Run("with a store of before", func(t *testing.T) {
		t.Parallel()
		up, rc := newUpstream(t), newReceiver(t)
		p, other := onSmallDisk(t, "160m", up, config{delivery: patientRetry})
		p.start()
		p.register("ticket", rc.url("/"))
		rc.down()
		p.ticket()
		p.stop()
		rc.up()
		other.fill(0)
		p.start()
		if now := p.status(); now.State.Name != "low_space" {
			t.Errorf("the store is %s", now.State.Name)
		}
		for range 100 {
			p.ticket()
		}
		other.leave()
		newArrivals(rc).await(numbers(101))
		p.emptied()
	})
	t.Run("without one", func(t *testing.T) {
		t.Parallel()
		up, rc := newUpstream(t), newReceiver(t)
		p, other := onSmallDisk(t, "160m", up, config{})
		other.fill(0)
		p.start()
		if now := p.status(); now.State.Name == "open" {
			t.Error("the store is open")
		}
		for range 100 {
			p.ticket()
		}
		p.call(http.MethodGet, "/v1/webhooks", "").checkError(t, http.StatusServiceUnavailable, "")
		other.leave()
		p.turns("open")
		p.register("ticket", rc.url("/"))
		p.ticket()
		if got := rc.next(); !strings.HasPrefix(got.body, `{"id":101,`) {
			t.Errorf("got %s", got.body)
		}
	})
}

// numbers are the first n ids that the API gives out.
func numbers(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i+1))
	}
	return all
}

// When the reserve is full too, events go to memory, and all arrive when there is room.
func TestEventsBeyondTheReserveGoToMemory(t *testing.T) {
	t.Parallel()
	p, rc, other, tr := overflown(t)
	eventually(t, "events in memory", func() bool { return p.status().InMemory > 500 })
	tr.end()
	tr.checkServed(t)
	if now, created := p.status(), p.upstream.created(); now.InReserve+now.InMemory != created {
		t.Errorf("%d events in the reserve and %d in memory, of %d", now.InReserve, now.InMemory, created)
	}
	other.leave()
	newArrivals(rc).await(tr.known())
	p.emptied()
	if gap := p.metric("benti_webhooks_unaccounted"); gap != 0 {
		t.Errorf("%v are unaccounted for", gap)
	}
	if lost := p.metric("benti_webhooks_lost_total"); lost != 0 {
		t.Errorf("%v events were lost", lost)
	}
}

// Memory takes 10,000 events. What comes then is lost, and every one of it counted; the calls are served.
func TestEventsBeyondTheMemoryAreCounted(t *testing.T) {
	t.Parallel()
	const maxInMemory = 10_000
	p, rc, other, tr := overflown(t)
	before := 0
	for p.status().InMemory < maxInMemory { // takes longer than patience on a busy machine
		eventually(t, "more events in memory", func() bool {
			now := p.status().InMemory
			more := now > before || now == maxInMemory
			before = now
			return more
		})
	}
	eventually(t, "lost events", func() bool { return p.metric("benti_webhooks_lost_total") >= 50 })
	tr.end()
	tr.checkServed(t)
	now, lost := p.status(), int(p.metric("benti_webhooks_lost_total"))
	created := p.upstream.created()
	if now.InReserve+now.InMemory+lost != created || now.InMemory != maxInMemory {
		t.Errorf("%d events in the reserve, %d in memory, %d lost, of %d", now.InReserve, now.InMemory, lost, created)
	}
	p.logged(0, "event lost", "memory for events is full")
	other.leave()
	p.emptied()
	came := newArrivals(rc)
	for len(came.events) < created-lost {
		came.add(rc.next())
	}
	t.Logf("%d tickets created, %d lost and counted, all others came", created, lost)
}

// overflown is a proxy on a full disk under traffic whose events soon have no room in the reserve.
func overflown(t *testing.T) (*proxy, *receiver, *foreign, *traffic) {
	t.Helper()
	up, rc := newUpstream(t), newReceiver(t)
	p, other := onSmallDisk(t, "120m", up, config{delivery: patientRetry, store: "min_free 48MiB\nreserve 1MiB"})
	p.start()
	p.register("ticket", rc.url("/"))
	other.fill(time.Second)
	p.turns("low_space")
	tr := startPaced(p, 8, 0, fmt.Sprintf(`{"actor":%q}`, strings.Repeat("x", 2<<10)))
	t.Cleanup(tr.end)
	return p, rc, other, tr
}

// A kill takes what was in memory only. It is not forgotten: the requests are in doubt.
func TestEventsInMemoryAtAKillAreInDoubt(t *testing.T) {
	t.Parallel()
	p, rc, other, tr := overflown(t)
	eventually(t, "events in memory", func() bool { return p.status().InMemory > 100 })
	tr.end()
	inMemory := p.status().InMemory
	p.kill()
	other.leave()
	p.start()
	if now := len(p.inDoubt()); now != inMemory {
		t.Errorf("%d requests are in doubt, %d events were in memory", now, inMemory)
	}
	p.emptied()
	came := newArrivals(rc)
	for len(came.events) < p.upstream.created()-inMemory {
		came.add(rc.next())
	}
}
