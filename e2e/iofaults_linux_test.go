package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// How the disk is asked to make things durable: msync is Badger's alone, whose files are memory maps but for its list of
// tables; the reserve and the notes of requests in flight use the others.
const (
	storeSyncs = "msync"
	allSyncs   = "msync,fsync,fdatasync"
)

// inject has system calls of the running process fail or wait, in the words of "inject" in strace(1), until the
// returned func is called. The process is slow meanwhile: each of its calls stops it.
func (p *proxy) inject(calls, fault string) (end func()) {
	p.t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		p.t.Skipf("faults of system calls take strace: %v", err)
	}
	log := filepath.Join(p.dir, "strace.log")
	args := []string{"-f", "-p", fmt.Sprint(p.cmd.Process.Pid), "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + fault, "-e", "signal=none", "-o", log}
	var said output
	cmd := exec.Command("strace", args...)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // it ends with the signal that tells it to
	}()
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // lets go of the process
		<-done
		if injected, err := os.ReadFile(log); err != nil || !bytes.Contains(injected, []byte("INJECTED")) && !bytes.Contains(injected, []byte("DELAYED")) {
			p.t.Errorf("no call of %s had the fault: %v", calls, err)
		}
	})
	p.t.Cleanup(end)
	if !said.await(0, "attached", done) {
		text, _ := said.from(0)
		if bytes.Contains(text, []byte("not permitted")) {
			p.t.Skipf("strace may not trace here: %s", text)
		}
		p.t.Fatalf("strace does not attach: %s", text)
	}
	return end
}

// A disk that answers every flush with an error stops neither the site nor, once it is well again, a delivery.
func TestDiskThatFailsToSyncStopsNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, calls string
		kept        func(storeStatus) int
	}{
		{"the store alone", storeSyncs, func(s storeStatus) int { return s.InReserve }},
		{"the reserve too", allSyncs, func(s storeStatus) int { return s.InMemory }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			up, rc := newUpstream(t), newReceiver(t)
			p := site(t, up, config{global: "metrics", delivery: patientRetry})
			p.register("ticket", rc.url("/"))
			p.ticket()
			end := p.inject(c.calls, "error=EIO")
			const before = 1
			for range 5 {
				p.ticket()
			}
			if now := p.status(); c.kept(now) == 0 {
				t.Errorf("no event is kept: %+v", now)
			}
			tr := startPaced(p, 2, 50*time.Millisecond, `{}`)
			failed := p.turns("failed")
			if !strings.Contains(failed.State.Reason, "input/output error") {
				t.Errorf("the reason is %q", failed.State.Reason)
			}
			served := tr.count()
			eventually(t, "acknowledged tickets while the store is shut", func() bool { return tr.count() >= served+10 })
			p.must(http.StatusOK, http.MethodGet, "/v1/tickets", "")
			tr.end()
			tr.checkServed(t)
			p.logged(0, `"level":"error"`, "store does not take events", "input/output error")
			end()
			p.emptied()
			came := newArrivals(rc)
			came.await(numbers(up.created()))
			if lost := p.metric("benti_webhooks_lost_total"); lost != 0 {
				t.Errorf("%v events were lost", lost)
			}
			t.Logf("%d tickets, %d of them while the disk failed; %d deliveries came twice", up.created(), up.created()-before, came.duplicates)
		})
	}
}

// With durability sync the answer waits for a slow disk. Nothing else does, and nothing fails.
func TestSlowSyncDelaysAnswersThatNeedItAlone(t *testing.T) {
	t.Parallel()
	const slow = 2 * time.Second // of each commit, which takes two calls of msync
	for durability, waits := range map[string]bool{"sync": true, "async": false} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			up, rc := newUpstream(t), newReceiver(t)
			p := site(t, up, config{global: "metrics", handler: "durability " + durability})
			p.register("ticket", rc.url("/"))
			end := p.inject(allSyncs, fmt.Sprintf("delay_enter=%d", slow.Microseconds()/2))
			answered := make(chan time.Duration)
			go func() {
				begun := time.Now()
				if got, err := p.do(t.Context(), http.MethodPost, "/v1/tickets", `{}`); err != nil || got.status != http.StatusCreated {
					t.Errorf("the client got %+v, %v", got, err)
				}
				answered <- time.Since(begun)
			}()
			eventually(t, "a ticket at the API", func() bool { return up.created() == 1 })
			begun := time.Now()
			for range 5 {
				p.must(http.StatusOK, http.MethodGet, "/v1/tickets", "")
				p.must(http.StatusCreated, http.MethodPost, "/v1/queues", `{}`) // nobody wants its event
			}
			if took := time.Since(begun); took >= slow/2 {
				t.Errorf("ten calls that store nothing took %s", took)
			}
			if took := <-answered; (took >= slow) != waits {
				t.Errorf("the answer took %s", took)
			}
			rc.next()
			tr := startPaced(p, 4, 0, `{}`)
			eventually(t, "acknowledged tickets", func() bool { return tr.count() >= 4 })
			tr.end()
			tr.checkServed(t)
			end()
			newArrivals(rc).await(tr.known())
			if errors := p.metric("benti_webhooks_store_errors_total"); errors != 0 {
				t.Errorf("%v calls on the store failed", errors)
			}
		})
	}
}
