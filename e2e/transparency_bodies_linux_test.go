package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// bodyCase is an exchange with a body of some size in one direction.
type bodyCase struct {
	path, protocol, framing string
	size                    int
	upload                  bool
}

func (c bodyCase) String() string {
	direction := "answered by"
	if c.upload {
		direction = "sent to"
	}
	return fmt.Sprintf("%d bytes (%s) %s %s over HTTP/%s", c.size, c.framing, direction, c.path, c.protocol)
}

func (c bodyCase) wanted() bool { return strings.HasSuffix(c.path, wantedPath) }

const huge = 64 << 20

// bodyCases are of sizes around body_limit, and far beyond it; these come first, while the process is fresh.
func bodyCases() (cases []bodyCase) {
	const limit = 1 << 20
	framings := []string{"length", "chunked"}
	for _, path := range []string{"/v1/other", wantedPath} {
		for _, framing := range framings {
			cases = append(cases, bodyCase{path, "1.1", framing, huge, true}, bodyCase{path, "1.1", framing, huge, false})
		}
	}
	for _, path := range []string{"/v1/other", wantedPath} {
		for _, protocol := range []string{"2", "3"} {
			cases = append(cases, bodyCase{path, protocol, "length", huge, true}, bodyCase{path, protocol, "chunked", huge, false})
		}
	}
	for _, path := range []string{"/v1/other", "/v1/users", wantedPath, "/async/v1/tickets"} {
		for _, framing := range framings {
			for _, size := range []int{0, 1, limit - 1, limit, limit + 1, 5 << 20} {
				cases = append(cases, bodyCase{path, "1.1", framing, size, true}, bodyCase{path, "1.1", framing, size, false})
			}
			for _, size := range []int{limit + 1, 8 << 20} {
				for _, protocol := range []string{"2", "3"} {
					cases = append(cases, bodyCase{path, protocol, framing, size, false}, bodyCase{path, protocol, framing, size, true})
				}
			}
		}
	}
	return cases
}

func (tw *twin) runBody(clients clientsOf, c bodyCase, large string) (outcomes [2]outcome) {
	x := &exchange{id: fmt.Sprint(tw.nextID()), protocol: c.protocol, method: "POST", path: c.path, sending: "none"}
	answer := created(60)
	if c.upload {
		x.sending, x.body = c.framing, large[:c.size]
	} else {
		start := created(0)
		answer = (start + large)[:c.size]
	}
	text := ok(201, asJSON+"Location: /v1/tickets/"+idMark+"\r\n", answer)
	if c.framing == "chunked" && !c.upload && c.size > 0 {
		text = strings.Replace(chunkedAnswer+"application/json\r\nLocation: /v1/tickets/"+idMark+"\r\n\r\n"+chunked("", answer[:1], answer[1:]), "200 OK", "201 Created", 1)
	}
	seen := tw.api.expect(x.id, named(answered(text), x.id))
	defer tw.api.forget(x.id)
	for i, site := range tw.sites {
		outcomes[i].client = clients.get(site, c.protocol).exchange(x)
		outcomes[i].api = seen.next()
	}
	return outcomes
}

func TestBodiesOfAnySizeAreTheSameAndTakeNoMemory(t *testing.T) {
	t.Parallel()
	tw := newTwin(t)
	large := strings.Repeat("0123456789abcde\n", huge/16)
	clients := make(clientsOf)
	defer clients.close()
	start := time.Now()
	var want []string
	before, rise, calm := 0, 0, true // KiB, from the bodies that only go by to those that are looked at
	for _, c := range bodyCases() {
		calm = calm && c.size == huge && c.protocol == "1.1"
		watch := tw.watchMemory()
		outcomes := tw.runBody(clients, c, large)
		used := watch()
		tw.check(t, c.String(), outcomes[without], outcomes[with])
		switch {
		case c.wanted():
			want = append(want, fmt.Sprint(1_000_000+tw.ids.Load()))
			if calm {
				rise = max(rise, used-before)
			}
		case calm:
			before = max(before, used)
		}
	}
	tw.checkEvents(t, want)
	t.Logf("%d exchanges compared, of which %d made events, in %v; memory rose from %d KiB by %d KiB with bodies of 64 MiB that are looked at",
		tw.cases.Load(), len(want), time.Since(start).Round(time.Millisecond), before, rise)
	// The first MiB of each of four bodies, twice as much while it is collected, and what is not collected at once.
	most := 16 << 10
	if os.Getenv("E2E_RACE") == "1" {
		most *= 4 // the race detector remembers who used it
	}
	if rise > most {
		t.Errorf("looking at bodies of 64 MiB takes %d KiB more than passing them on", rise)
	}
}

// watchMemory looks at how much anonymous memory the process has, until it is asked for the most.
func (p *proxy) watchMemory() (most func() int) {
	var peak atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		for {
			peak.Store(max(peak.Load(), int64(p.anonymous())))
			select {
			case <-ticker.C:
			case <-stop:
				return
			}
		}
	}()
	return func() int {
		close(stop)
		<-stopped
		return int(peak.Load())
	}
}

// anonymous is how much memory of the process's own is resident, in KiB. Files that it maps do not count.
func (p *proxy) anonymous() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(text), " kB"))
			return n
		}
	}
	return 0
}
