package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAProjectHasAThousandWebhooksAtMost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes a thousand webhooks")
	}
	const most, calls, workers = 1000, 10_000, 8
	maxGrowth := 48 << 20
	if os.Getenv("E2E_RACE") == "1" {
		maxGrowth *= 3 // what the race detector notes of the memory takes more than the memory
	}
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "authorize off"})
	before, began := p.memory("RssAnon"), time.Now()
	numbers := make(chan int)
	var created, limited atomic.Int32
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for n := range numbers {
				got, err := p.do(t.Context(), "POST", "/webhooks", registration("ticket", fmt.Sprint(rc.url("/"), n), "s"))
				switch {
				case err == nil && got.status == http.StatusCreated:
					created.Add(1)
				case err == nil && got.status == http.StatusTooManyRequests && got.header.Get("Retry-After") != "":
					limited.Add(1)
				default:
					t.Errorf("webhook %d: %+v, %v", n, got, err)
				}
			}
		})
	}
	for n := range calls {
		numbers <- n
	}
	close(numbers)
	wg.Wait()
	grown, handshakes := p.memory("RssAnon")-before, len(rc.handshakes)
	t.Logf("%d calls in %v: memory grew by %d MiB, %d handshakes", calls, time.Since(began), grown>>20, handshakes)
	if created.Load() != most || limited.Load() != calls-most || handshakes > most+workers || grown > maxGrowth {
		t.Errorf("%d created, %d refused", created.Load(), limited.Load())
	}
	message := p.call("POST", "/webhooks", registration("ticket", rc.url("/one-more"), "s")).checkError(t, http.StatusTooManyRequests, "")
	if !strings.Contains(message, "1,000") {
		t.Errorf("message %q", message)
	}
	p.register("ticket", rc.url("/"), "X-Inbenta-Key", "another project")
	list := p.webhooks()
	if len(list) != most {
		t.Fatalf("%d webhooks", len(list))
	}
	p.must(http.StatusNoContent, "DELETE", list[0].path(), "")
	p.register("ticket", rc.url("/one-more"))
}
