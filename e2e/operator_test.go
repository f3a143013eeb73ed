package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// storeStatus is how a store fares, as the admin endpoint tells it.
type storeStatus struct {
	Store string
	State struct {
		Name   string
		Reason string
		Since  time.Time
	}
	Webhooks   int
	Deliveries *struct{ Enqueued, Pending, Delivering, Delivered, Dead, Dropped, Pruned uint64 }
	InReserve  int `json:"in_reserve"`
	InMemory   int `json:"in_memory"`
	InDoubt    int `json:"in_doubt"`
}

// statuses of all stores in use.
func (p *proxy) statuses() []storeStatus {
	p.t.Helper()
	var got struct{ Stores []storeStatus }
	p.adminGet("/benti/status", &got)
	return got.Stores
}

// status of the one store in use.
func (p *proxy) status() storeStatus {
	p.t.Helper()
	all := p.statuses()
	if len(all) != 1 {
		p.t.Fatalf("%d stores are in use: %+v", len(all), all)
	}
	return all[0]
}

// turns waits until the store is in a state: open, low_space or failed.
func (p *proxy) turns(state string) storeStatus {
	p.t.Helper()
	var now storeStatus
	eventually(p.t, "a store that is "+state, func() bool {
		now = p.status()
		return now.State.Name == state
	})
	return now
}

// emptied waits until the store is open and has got all that was kept beside it.
func (p *proxy) emptied() {
	p.t.Helper()
	eventually(p.t, "a store that has everything", func() bool {
		now := p.status()
		return now.State.Name == "open" && now.InReserve == 0 && now.InMemory == 0
	})
}

// doubt is a request whose outcome is not known.
type doubt struct {
	ID, Method, Path, Project, Item, Store string
	Time                                   time.Time
}

func (p *proxy) inDoubt() []doubt {
	p.t.Helper()
	var got struct{ Data []doubt }
	p.adminGet("/benti/in-doubt", &got)
	return got.Data
}

func (p *proxy) adminGet(path string, to any) {
	p.t.Helper()
	status, body, err := p.adminCall(http.MethodGet, path, "", "")
	if err != nil || status != http.StatusOK {
		p.t.Fatalf("GET %s: status %d, %v: %s", path, status, err, body)
	}
	if err := json.Unmarshal(body, to); err != nil {
		p.t.Fatalf("GET %s: %v: %s", path, err, body)
	}
}

// metric returns the value of a metric without labels. The config needs the global option metrics.
func (p *proxy) metric(name string) float64 {
	p.t.Helper()
	_, body, err := p.adminCall(http.MethodGet, "/metrics", "", "")
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return value
		}
	}
	p.t.Fatalf("no metric %s among %s", name, grep(string(body), "benti_"))
	return 0
}

// goroutines is how many the process has.
func (p *proxy) goroutines() int {
	p.t.Helper()
	status, body, err := p.adminCall(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", "")
	if err != nil || status != http.StatusOK {
		p.t.Fatalf("counting goroutines: status %d, %v", status, err)
	}
	var n int
	if _, err := fmt.Sscanf(string(body), "goroutine profile: total %d", &n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// descriptors is how many file descriptors the process has open.
func (p *proxy) descriptors() int {
	p.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(entries)
}

// logged waits for a line of the log, written behind the offset, that holds all the words.
func (p *proxy) logged(offset int, words ...string) string {
	p.t.Helper()
	var found string
	eventually(p.t, fmt.Sprintf("a log line with %q", words), func() bool {
		text, _ := p.output.from(offset)
		found = lineWith(string(text), words...)
		return found != ""
	})
	return found
}

func lineWith(text string, words ...string) string {
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, len(text)+1)
next:
	for lines.Scan() {
		for _, word := range words {
			if !strings.Contains(lines.Text(), word) {
				continue next
			}
		}
		return lines.Text()
	}
	return ""
}

// long reads how often a test is to be repeated from the environment, for the long forms.
func long(t *testing.T, variable string, short int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a number from 1", variable, text)
	}
	return n
}
