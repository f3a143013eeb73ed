package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostile is a call with something in it that is meant to do harm, by the client or by the API.
type hostile struct {
	name         string
	method, path string   // POST /v1/tickets unless given
	header       []string // of the request, names and values in turn
	request      string
	status       int // of the answer; 201 unless given
	answer       []string
	response     string

	// event is what must come of it: id, actor and parent. Or else it is counted for this reason in
	// benti_webhooks_underivable_total. Nothing at all comes of it if both are empty.
	event  string
	reason string
}

const (
	eventForm = `{"id":%s,"item":"%s","action":"%s","timestamp":TIME,"actor":%s,"parent":%s}`
	// peakGrowth is by how much, in bytes, the process may grow over what it had before. Each bomb is larger.
	peakGrowth = bombSize - 8<<20
)

// Whatever a call holds, it comes of it what is documented, its bytes go through as they are in both directions, and the process
// neither ends nor grows.
func TestHostileCallsHaveTheirDocumentedOutcome(t *testing.T) {
	t.Parallel()
	inputs := hostileInputs(t)
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{global: "metrics", delivery: "max_per_webhook 1", handler: "project all"})
	webhooks := registerAll(p, rc, "/v1/webhooks")
	p.ticket()
	rc.next()
	p.resetPeak()
	before := p.memory("VmHWM")
	expected := map[string]int{"ticket": 1}
	for i := range inputs {
		c := &inputs[i]
		t.Run(c.name, func(t *testing.T) { c.try(t, p, up, rc, expected) })
	}
	after := p.memory("VmHWM")
	if after-before > peakGrowth {
		t.Errorf("the process grew from %d to %d MiB", before>>20, after>>20)
	}
	// What should not have been made would be on the list by now.
	up.answer(nil)
	p.ticket()
	rc.next()
	expected["ticket"]++
	rc.none()
	for item, w := range webhooks {
		list, _ := p.page(w, "?limit=500")
		if len(list) != expected[item] {
			t.Errorf("%s: %d deliveries, want %d", item, len(list), expected[item])
		}
	}
	t.Logf("%d hostile calls: the process grew from %d to %d MiB at its peak", len(inputs), before>>20, after>>20)
}

func (c *hostile) try(t *testing.T, p *proxy, up *upstream, rc *receiver, expected map[string]int) {
	if c.method == "" {
		c.method = "POST"
	}
	if c.path == "" {
		c.path = "/v1/tickets"
	}
	if c.status == 0 {
		c.status = http.StatusCreated
	}
	up.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(c.answer); i += 2 {
			w.Header().Set(c.answer[i], c.answer[i+1])
		}
		w.WriteHeader(c.status)
		fmt.Fprint(w, c.response)
	})
	underivable := p.underivable()
	// What is offered here keeps the proxy from decoding answers for a client that asked for none.
	header := append([]string{"Accept-Encoding", "gzip, br, zstd, deflate"}, c.header...)
	from := time.Now()
	got, err := p.do(t.Context(), c.method, c.path, c.request, header...)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != c.status || got.body != c.response {
		t.Errorf("the client got %d and %d bytes, the API sent %d and %d: %.100q", got.status, len(got.body), c.status, len(c.response), got.body)
	}
	calls := up.seen()
	if last := calls[len(calls)-1]; last.uri != c.path || last.method != c.method || string(last.body) != c.request {
		t.Errorf("the API got %s %.100s and %d bytes of %d", last.method, last.uri, len(last.body), len(c.request))
	}
	now := p.underivable()
	switch {
	case c.event != "":
		item, want := c.wanted(t)
		expected[item]++
		checkPayload(t, rc.next().body, want, from, time.Now())
	case c.reason != "":
		item := "ticket"
		if c.path == "/v1/media" {
			item = "media"
		}
		label := fmt.Sprintf(`benti_webhooks_underivable_total{item="%s",reason="%s"}`, item, c.reason)
		if now[label] != underivable[label]+1 {
			t.Errorf("%s is %v after %v; all: %v", label, now[label], underivable[label], now)
		}
		underivable[label]++
	}
	if fmt.Sprint(now) != fmt.Sprint(underivable) {
		t.Errorf("underivable: %v after %v", now, underivable)
	}
}

// wanted returns the item and the payload of the event that must come.
func (c *hostile) wanted(t *testing.T) (item, payload string) {
	t.Helper()
	var parts [3]json.RawMessage
	values := json.NewDecoder(strings.NewReader(c.event))
	for i := range parts {
		if err := values.Decode(&parts[i]); err != nil {
			t.Fatalf("event %q: %v", c.event, err)
		}
	}
	action := map[string]string{"POST": "add", "PUT": "update", "DELETE": "remove"}[c.method]
	path := c.path[strings.Index(c.path, "/v1/")+len("/v1/"):]
	switch {
	case strings.HasPrefix(path, "media"):
		item = "media"
	case c.method == "DELETE":
		item = "classification"
	default:
		item = "ticket"
	}
	return item, fmt.Sprintf(eventForm, parts[0], item, action, parts[1], parts[2])
}

// underivable returns the counts of calls of which no event could be made, by the names and labels of their metrics.
func (p *proxy) underivable() map[string]int {
	p.t.Helper()
	_, body, err := p.adminCall(http.MethodGet, "/metrics", "", "")
	if err != nil {
		p.t.Fatal(err)
	}
	counts := make(map[string]int)
	for line := range strings.Lines(string(body)) {
		if name, count, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && strings.HasPrefix(name, "benti_webhooks_underivable_total{") {
			counts[name+"}"], _ = strconv.Atoi(count)
		}
	}
	return counts
}

// Many at once, whose memory adds up: a bomb needs little more than body_limit, however much is in it.
func TestManyBombsAtOnceTakeLittleMemory(t *testing.T) {
	t.Parallel()
	const callers, rounds = 16, 4
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("media", rc.url("/"))
	bomb := gzipped(`{"id":7,"ticket_id":8,"x":"` + strings.Repeat("a", bombSize) + `"}`)
	up.answer(up.respond(http.StatusCreated, http.Header{"Content-Encoding": {"gzip"}}, bomb))
	p.resetPeak()
	before := p.memory("VmHWM")
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range rounds {
				got, err := p.do(t.Context(), "POST", "/v1/media", bomb, "Content-Encoding", "gzip", "Accept-Encoding", "gzip")
				if err != nil || got.status != http.StatusCreated || got.body != bomb {
					t.Errorf("%+v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	for range callers * rounds {
		if got := rc.next(); !strings.Contains(got.body, `"id":7,"item":"media"`) || !strings.Contains(got.body, `"parent":8`) {
			t.Errorf("got %s", got.body)
		}
	}
	after := p.memory("VmHWM")
	if after-before > 2*bombSize {
		t.Errorf("the process grew from %d to %d MiB", before>>20, after>>20)
	}
	t.Logf("%d bombs, %d at a time: the process grew from %d to %d MiB at its peak", callers*rounds, callers, before>>20, after>>20)
}

// memory returns a figure of /proc/<pid>/status in bytes: RssAnon is what is no file, VmHWM the most that has been resident.
func (p *proxy) memory(name string) int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), name+":")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		p.t.Fatal(err)
	}
	return kib << 10
}

// resetPeak has VmHWM start anew from what is resident now.
func (p *proxy) resetPeak() {
	p.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0); err != nil {
		p.t.Logf("the peak counts from the start: %v", err)
	}
}
