package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// fakeAdmin is an admin endpoint with a number of dead deliveries, in the form of the contract.
type fakeAdmin struct {
	*httptest.Server
	dead int

	mu    sync.Mutex
	calls []string
}

func newFakeAdmin(t *testing.T, dead int) *fakeAdmin {
	t.Helper()
	a := &fakeAdmin{dead: dead}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *fakeAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.calls = append(a.calls, r.Method+" "+r.URL.String())
	a.mu.Unlock()
	switch path := r.URL.Path; {
	case path == "/benti/webhooks":
		a.webhooks(w, r)
	case path == "/benti/deliveries/replay":
		a.replay(w, r)
	case path == "/benti/deliveries" && r.FormValue("state") == "odd":
		_ = writeError(w, problem{Code: http.StatusBadRequest, Message: "state: allowed are pending and others", Field: "state"})
	case path == "/benti/deliveries":
		a.list(w, r)
	case strings.Contains(path, "no-such"):
		_ = writeError(w, problem{Code: http.StatusNotFound, Message: "no such resource"})
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (a *fakeAdmin) webhooks(w http.ResponseWriter, r *http.Request) {
	all := []listedWebhook{
		{UUID: "w1", Project: "default", Item: "ticket", URL: "https://a.example/", Status: "failing"},
		{UUID: "w2", Project: "other", Item: "ticket", URL: "https://b.example/", Status: "active"},
		{UUID: "w3", Project: "default", Events: []string{"answer", "create-ticket"}, URL: "https://c.example/", Status: "disabled"},
	}
	all = slices.DeleteFunc(all, func(h listedWebhook) bool {
		return h.UUID <= r.FormValue("cursor") || r.FormValue("project") != "" && h.Project != r.FormValue("project") ||
			r.FormValue("status") != "" && h.Status != r.FormValue("status")
	})
	page := map[string]any{"data": all, "next": nil}
	if len(all) > 1 { // pages of one
		page["data"], page["next"] = all[:1], all[0].UUID
	}
	_ = writeJSON(w, http.StatusOK, page)
}

// list has every other page empty, as there may be.
func (a *fakeAdmin) list(w http.ResponseWriter, r *http.Request) {
	text, empty := strings.CutPrefix(r.FormValue("cursor"), "empty")
	from, _ := strconv.Atoi(text)
	limit, _ := strconv.Atoi(r.FormValue("limit"))
	page := map[string]any{"data": []any{}, "next": nil}
	var rows []any
	for i := from; !empty && i < min(from+limit, a.dead) && r.FormValue("state") != "delivered"; i++ {
		rows = append(rows, map[string]any{"id": fmt.Sprint("d", i), "webhook": "w1", "item": "ticket", "action": "add", "state": "dead"})
	}
	switch {
	case empty:
		page["next"] = text
	case from+limit < a.dead:
		page["data"], page["next"] = rows, fmt.Sprint("empty", from+limit)
	default:
		page["data"] = rows
	}
	_ = writeJSON(w, http.StatusOK, page)
}

// replay takes steps of 500.
func (a *fakeAdmin) replay(w http.ResponseWriter, r *http.Request) {
	var filter map[string]string
	if err := json.NewDecoder(r.Body).Decode(&filter); err != nil {
		_ = writeError(w, problem{Code: http.StatusBadRequest, Message: err.Error()})
		return
	}
	from, _ := strconv.Atoi(filter["cursor"])
	step := replayStep{Replayed: min(500, a.dead-from)}
	if from == 0 {
		step.Replayed, step.Skipped = step.Replayed-3, 3
	}
	if from+500 < a.dead {
		next := fmt.Sprint(from + 500)
		step.Next = &next
	}
	_ = writeJSON(w, http.StatusOK, step)
}

// count is how many calls began so.
func (a *fakeAdmin) count(prefix string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, call := range a.calls {
		if strings.HasPrefix(call, prefix) {
			n++
		}
	}
	return n
}

// run runs a command against it. in is what is typed.
func (a *fakeAdmin) run(in string, args ...string) (string, error) {
	root := &cobra.Command{Use: "benti"}
	root.AddCommand(webhooksCommand(), deliveriesCommand(), replayCommand(), webhookCommand("ping", ""))
	out := new(bytes.Buffer)
	root.SetOut(out)
	root.SetErr(out)
	root.SetIn(strings.NewReader(in))
	root.SetArgs(append(slices.Clone(args), "--address", strings.TrimPrefix(a.URL, "http://")))
	err := root.Execute()
	return out.String(), err
}

func TestWebhooksCommandListsAndSwitches(t *testing.T) {
	t.Parallel()
	a := newFakeAdmin(t, 0)
	out, err := a.run("", "webhooks", "--project", "default")
	if err != nil || strings.Count(out, "\n") != 3 || !strings.Contains(out, "answer,create-ticket  disabled") || strings.Contains(out, "w2") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = a.run("", "webhooks", "--json", "--status", "failing")
	if err != nil || !json.Valid([]byte(out)) || !strings.Contains(out, `"uuid":"w1"`) || strings.Contains(out, "w2") {
		t.Errorf("%v: %s", err, out)
	}
	for _, args := range [][]string{{"webhooks", "disable", "w1", "w2"}, {"webhooks", "enable", "w1"}, {"ping", "a/b"}} {
		if out, err := a.run("", args...); err != nil {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
	for call, want := range map[string]int{
		"POST /benti/webhooks/w1/disable": 1, "POST /benti/webhooks/w2/disable": 1, "POST /benti/webhooks/w1/enable": 1, "POST /benti/webhooks/a%2Fb/ping": 1,
	} {
		if got := a.count(call); got != want {
			t.Errorf("%s: %d calls", call, got)
		}
	}
	if _, err := a.run("", "ping", "no-such"); err == nil || !strings.Contains(err.Error(), "no such resource (HTTP 404)") {
		t.Errorf("unknown webhook: %v", err)
	}
}

func TestDeliveriesCommandListsAPage(t *testing.T) {
	t.Parallel()
	a := newFakeAdmin(t, 3)
	out, err := a.run("", "deliveries", "--limit", "2", "--state", "dead", "--since", "2h", "--item", "ticket")
	if err != nil || strings.Count(out, "ticket add") != 2 || !strings.HasSuffix(out, "\nmore: --cursor empty2\n") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err = a.run("", "deliveries", "--limit", "2", "--cursor", "empty2", "--json"); err != nil || !strings.Contains(out, `"id":"d2"`) || !strings.Contains(out, `"next":null`) {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := a.run("", "deliveries", "--state", "odd"); err == nil || !strings.Contains(err.Error(), "state: allowed are pending") {
		t.Errorf("wrong state: %v", err)
	}
	if _, err := a.run("", "deliveries", "--since", "yesterday"); err == nil || !strings.Contains(err.Error(), "--since") {
		t.Errorf("wrong time: %v", err)
	}
}

func TestReplayCommandReplaysWhatTheFilterChooses(t *testing.T) {
	t.Parallel()
	a := newFakeAdmin(t, 1203)
	out, err := a.run("y\n", "replay", "--state", "dead")
	for _, want := range []string{"Replay 1203 deliveries? [y/N]", "] 500 of 1203", "] 1203 of 1203\n", "1200 deliveries are pending again\n3 were left alone"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %q is not in %s", err, want, out)
		}
	}
	if n := a.count("POST /benti/deliveries/replay"); n != 3 {
		t.Errorf("replayed in %d steps", n)
	}
	if out, err := a.run("n\n", "replay", "--state", "dead"); err == nil || strings.Contains(out, "are pending") {
		t.Errorf("not confirmed: %v: %s", err, out)
	}
	if out, err := a.run("", "replay", "--state", "any", "--webhook", "w1", "--yes"); err != nil || strings.Contains(out, "[y/N]") {
		t.Errorf("confirmed beforehand: %v: %s", err, out)
	}
	if n := a.count("POST /benti/deliveries/replay"); n != 6 {
		t.Errorf("replayed in %d steps", n)
	}
	if out, err := a.run("", "replay", "d7"); err != nil || out != "d7: pending\n" {
		t.Errorf("%v: %s", err, out)
	}
	for _, args := range [][]string{{"replay"}, {"replay", "d7", "--state", "dead"}, {"replay", "no-such"}} {
		if _, err := a.run("", args...); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	empty := newFakeAdmin(t, 0)
	if out, err := empty.run("", "replay", "--state", "dead"); err == nil || !strings.Contains(out, "no delivery is chosen") {
		t.Errorf("nothing to replay: %v: %s", err, out)
	}
}

func TestExplanationNamesTheWebhooksThatWouldGetTheEvent(t *testing.T) {
	t.Parallel()
	a := newFakeAdmin(t, 0)
	server := serverFlags{address: strings.TrimPrefix(a.URL, "http://")}
	for _, row := range []struct{ project, event, want string }{
		{"default", "ticket", "w1"}, {"other", "ticket", "w2"}, {"default", "answer", ""}, {"default", "reply", ""},
	} {
		e := &explanation{Project: row.project, Events: []explainedItem{{Name: row.event}}}
		if err := e.ask(&server); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, w := range e.Webhooks {
			got += w.UUID
		}
		if got != row.want {
			t.Errorf("%s of %s: %q, want %q", row.event, row.project, got, row.want)
		}
	}
}

// Caddy's default address would be that of another server.
func TestCommandsDoNotLookForAnEndpointThatIsOff(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"admin":{"disabled":true}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	server := serverFlags{config: file}
	if address, err := server.endpoint(); err == nil || !strings.Contains(err.Error(), "has it off") {
		t.Errorf("%q, %v", address, err)
	}
	server.address = "localhost:1"
	if address, err := server.endpoint(); err != nil || address != "localhost:1" {
		t.Errorf("%q, %v", address, err)
	}
}

func TestCommandThatThereIsNotFails(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "benti", RunE: withExitCode(unknownCommand)}
	root.AddCommand(statusCommand())
	parent := &cobra.Command{Use: "caddy"}
	parent.AddCommand(root)
	out := new(bytes.Buffer)
	parent.SetOut(out)
	parent.SetErr(out)
	parent.SetArgs([]string{"benti", "statsu"})
	if err := parent.Execute(); err == nil || !strings.Contains(err.Error(), `there is no command "statsu"; did you mean status?`) {
		t.Errorf("%v: %s", err, out)
	}
	parent.SetArgs([]string{"benti"})
	if err := parent.Execute(); err != nil || !strings.Contains(out.String(), "Available Commands") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestMomentsAreTimesOrAges(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := filterFlags{since: "1d", until: "2026-01-02T03:00:00+01:00"}
	got, err := f.query(now)
	want := url.Values{"since": {"2026-01-01T03:04:05Z"}, "until": {"2026-01-02T02:00:00Z"}}
	if err != nil || got.Encode() != want.Encode() {
		t.Errorf("%v, %v", got, err)
	}
	for _, wrong := range []string{"tomorrow", "-1h", "2026-01-02"} {
		if _, err := parseMoment(wrong, now); err == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
}
