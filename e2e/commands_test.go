package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// run runs "caddy benti" with arguments, and returns what it prints and its exit code.
func (p *proxy) run(args ...string) (stdout string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*patience)
	defer cancel()
	cmd := p.command(ctx, append([]string{"benti"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	exit := new(exec.ExitError)
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if code = cmd.ProcessState.ExitCode(); code == 1 {
		return errs.String(), code
	}
	return out.String(), code
}

// runs is run for a command that must end with a code.
func (p *proxy) runs(code int, args ...string) string {
	p.t.Helper()
	out, got := p.run(args...)
	if got != code {
		p.t.Fatalf("caddy benti %q: exit code %d, want %d: %s", args, got, code, out)
	}
	return out
}

func TestStatusCommandTellsHowTheStoreFares(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	w := p.register("ticket", rc.url("/"))
	p.ticket()
	p.settled(w, "delivered")
	for _, where := range [][]string{nil, {"--address", "unix/" + p.socket}, {"--config", filepath.Join(p.dir, "Caddyfile")}} { // the first by the Caddyfile in the folder
		out := p.runs(0, append([]string{"status"}, where...)...)
		if !regexp.MustCompile(`(?m)^state +open since .*\n(.*\n)*webhooks +1\n(.*\n)*delivered +1\n`).MatchString(out) {
			t.Errorf("status: %s", out)
		}
	}
	var told struct{ Stores []storeStatus }
	if err := json.Unmarshal([]byte(p.runs(0, "status", "--json")), &told); err != nil || len(told.Stores) != 1 || told.Stores[0].State.Name != "open" {
		t.Errorf("%+v, %v", told, err)
	}
	if out := p.runs(0, "in-doubt"); out != "no call is in doubt\n" {
		t.Errorf("in doubt: %q", out)
	}
	p.reload(config{store: "min_free 900TiB"})
	p.turns("low_space")
	if out := p.runs(4, "status"); !strings.Contains(out, "low_space") || !strings.Contains(out, "min_free") {
		t.Errorf("status: %s", out)
	}
	if out := p.runs(1, "status", "--address", "127.0.0.1:1"); !strings.Contains(out, "asking the server at 127.0.0.1:1") {
		t.Errorf("no server: %s", out)
	}
}

func TestWatchShowsTheStatusAnew(t *testing.T) {
	t.Parallel()
	p := site(t, newUpstream(t), config{})
	cmd := p.command(t.Context(), "benti", "status", "--watch=100ms")
	out := new(output)
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three pages", func() bool {
		text, _ := out.from(0)
		return strings.Count(string(text), "state") >= 3
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestCallsInDoubtAreListedAndAcknowledgedByCommands(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("ticket", rc.url("/"))
	arrived := make(chan struct{}, 1)
	up.answer(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	go p.do(context.WithoutCancel(t.Context()), http.MethodPost, "/v1/tickets", `{}`)
	<-arrived
	p.kill()
	up.answer(nil)
	p.start()
	out := p.runs(4, "in-doubt")
	if !strings.Contains(out, "POST /v1/tickets") {
		t.Errorf("in doubt: %s", out)
	}
	p.runs(4, "status")
	id := p.inDoubt()[0].ID
	if out := p.runs(1, "in-doubt", "acknowledge", "nonsense"); !strings.Contains(out, "no such entry (HTTP 404)") {
		t.Errorf("unknown id: %s", out)
	}
	p.runs(0, "in-doubt", "acknowledge", id)
	p.runs(0, "in-doubt", "--json")
}

func TestStoreIsBackedUpWhileItRunsAndRestored(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 1h"})
	w := p.register("ticket", rc.url("/"))
	rc.answer(statuses(503, 200))
	p.ticket()
	first := rc.next()
	p.ticket()
	rc.next()
	eventually(t, "an attempt that failed", func() bool { return p.status().Deliveries.Delivered == 1 && p.status().Deliveries.Pending == 1 })
	backup := filepath.Join(p.dir, "benti.backup")
	p.runs(0, "backup", backup)
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", info, err)
	}
	if out := p.runs(1, "restore", backup); !strings.Contains(out, "not empty") {
		t.Errorf("restored over a store in use: %s", out)
	}
	if out := p.runs(1, "backup", backup, "--store", "badger:/elsewhere"); !strings.Contains(out, "no such store (HTTP 404)") {
		t.Errorf("unknown store: %s", out)
	}
	p.stop()
	if out := p.runs(1, "restore", backup); !strings.Contains(out, "not empty") {
		t.Errorf("restored over a store: %s", out)
	}
	if err := os.RemoveAll(p.data); err != nil {
		t.Fatal(err)
	}
	part, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(p.dir, "cut.backup")
	if err := os.WriteFile(cut, part[:len(part)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if out := p.runs(1, "restore", cut); !strings.Contains(out, "cut off") {
		t.Errorf("a part was restored: %s", out)
	}
	p.runs(0, "restore", backup)
	p.start()
	if list, _ := p.page(w, ""); len(list) != 2 {
		t.Fatalf("restored: %+v", list)
	}
	p.must(http.StatusAccepted, http.MethodPost, w.path()+"/deliveries/"+first.id()+"/redeliver", "")
	if again := rc.next(); again.id() != first.id() || again.body != first.body {
		t.Errorf("got %s: %s, want %s: %s", again.id(), again.body, first.id(), first.body)
	}
}

func TestExplainTellsThePayloadThatTheServerSends(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	clock := regexp.MustCompile(`"timestamp":\d+`)
	for _, x := range []struct{ item, method, path, body, header string }{
		{"ticket", "POST", "/v1/tickets", `{"creator":{"id":4014}}`, "X-Inbenta-Key: a"},
		{"reply", "POST", "/tickets/100/replies", `{"creator":"bob"}`, "X-Inbenta-Key: a"},
		{"user", "PUT", "/v2/users/a%2Fb/", `{}`, "Authorization: Bearer e30.eyJ1c2VyX2lkIjo3fQ.x"},
		{"media", "POST", "/media", `{"ticket":12345678901234567890}`, "X-Inbenta-Key: b"},
	} {
		name, value, _ := strings.Cut(x.header, ": ")
		var answered string
		p.register(x.item, rc.url("/"+x.item), name, value)
		answered = p.call(x.method, x.path, x.body, name, value).body
		sent := rc.next().body
		out := p.runs(0, "explain", "--method", x.method, "--path", x.path, "--body", x.body, "--header", x.header, "--response-body", answered, "--json")
		var told struct {
			Events []struct{ Payload json.RawMessage }
		}
		if err := json.Unmarshal([]byte(out), &told); err != nil || len(told.Events) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		if got, want := clock.ReplaceAllString(string(told.Events[0].Payload), ""), clock.ReplaceAllString(sent, ""); got != want {
			t.Errorf("explained %s, sent %s", got, want)
		}
	}
}

// Each field of an instance event is told with the candidate that it came from, or as missing.
func TestExplainTellsWhereFieldsOfInstanceEventsComeFrom(t *testing.T) {
	t.Parallel()
	p := newProxy(t, newUpstream(t), config{handler: "source instance"})
	out := p.runs(0, "explain", "--config", p.writeConfig(), "--path", "/tickets/9/replies",
		"--body", `{"type":"answer","text":"Hello","message":{"to":["a@example.com","b@example.com"]},"from":{"name":"Jo"}}`,
		"--response-body", `{"id":7,"files":[{"id":641,"filename":"a.png"},642]}`, "--ticket", `{"id":9,"queue":{"name":"First"}}`)
	for _, want := range []string{
		"reply.to            message.to of the request = a@example.com, b@example.com; nothing at to\n",
		"reply.cc            nothing in the request at cc, message.cc\n",
		"                    nothing in the response at cc, message.cc\n",
		"reply.attachments   files of the response = a.png, 642; nothing at attachments, message.attachments, media\n",
		"attachment.name     filename of the reply.attachments = a.png; nothing at name\n",
		"person.name         name of the reply.author = Jo\n",
		"ticket.creator      nothing in the ticket at creator\n",
		"ticket.queue.name   queue.name of the ticket = First\n",
		"reply.text          text of the request = Hello; nothing at message.content, content\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

func TestExplainStartsNothingAndOpensNoStore(t *testing.T) {
	t.Parallel()
	p := newProxy(t, newUpstream(t), config{})
	p.writeConfig()
	p.runs(4, "explain", "--path", "/v1/tickets", "--status", "404")
	entries, err := os.ReadDir(p.dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
	if n := len(p.upstream.seen()); n != 0 {
		t.Errorf("%d calls of the API", n)
	}
}

func TestShellsCanCompleteTheCommands(t *testing.T) {
	t.Parallel()
	p := newProxy(t, newUpstream(t), config{})
	for _, args := range [][]string{{"benti", ""}, {"benti", "deliveries", "--state", ""}} {
		out, err := p.command(t.Context(), append([]string{"__complete"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range map[int][]string{2: {"explain", "in-doubt", "replay"}, 4: {"dead", "pending"}}[len(args)] {
			if !strings.Contains(string(out), want) {
				t.Errorf("%q does not offer %s: %s", args, want, out)
			}
		}
	}
}

func TestWebhooksAreSwitchedAndDeliveriesReplayedByCommands(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: quickRetries})
	w := p.register("ticket", rc.url("/"))
	rc.answer(statuses(500))
	for range 3 {
		p.ticket()
	}
	eventually(t, "three dead deliveries", func() bool { return p.status().Deliveries.Dead == 3 })
	rc.answer(nil)
	if out := p.runs(0, "webhooks", "--status", "failing"); !strings.Contains(out, w.UUID) || !strings.Contains(out, rc.url("/")) {
		t.Errorf("webhooks: %s", out)
	}
	out := p.runs(0, "deliveries", "--state", "dead", "--since", "1h", "--limit", "2")
	if strings.Count(out, "dead") != 2 || !strings.Contains(out, "status 500") || !strings.Contains(out, "more: --cursor ") {
		t.Errorf("deliveries: %s", out)
	}
	if out := p.runs(1, "replay", "--state", "dead"); !strings.Contains(out, "give --yes") {
		t.Errorf("nobody to ask: %s", out)
	}
	if out := p.runs(0, "replay", "--webhook", w.UUID, "--yes"); !strings.Contains(out, "3 deliveries are pending again") {
		t.Errorf("replay: %s", out)
	}
	eventually(t, "three deliveries", func() bool { return p.status().Deliveries.Delivered == 3 })
	page, _ := p.page(w, "")
	p.runs(0, "replay", page[0].ID)
	p.runs(4, "replay", "--state", "dead", "--yes")
	p.runs(0, "webhooks", "disable", w.UUID)
	p.becomes(w, "disabled")
	p.runs(0, "webhooks", "enable", w.UUID)
	p.becomes(w, "active")
	eventually(t, "the replay", func() bool { return p.status().Deliveries.Pending+p.status().Deliveries.Delivering == 0 })
	before := len(rc.posts)
	p.runs(0, "ping", w.UUID)
	eventually(t, "a ping", func() bool { return len(rc.posts) == before+1 })
	if out := p.runs(1, "deliveries", "--state", "odd"); !strings.Contains(out, "state must be one of") {
		t.Errorf("wrong state: %s", out)
	}
	out = p.runs(0, "explain", "--path", "/v1/tickets", "--response-body", `{"id":1}`, "--webhooks")
	if !strings.Contains(out, "webhook  "+w.UUID) {
		t.Errorf("explain: %s", out)
	}
}
