package caddymodule

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const explainedCaddyfile = `{
	benti {
		store badger {env.BENTI_NO_SUCH_VARIABLE}
		delivery {
			trust_pool file /no/such/file
		}
	}
}
(hooks) {
	benti_webhooks {
		route add media POST /media {
			id {benti.response.media.id}
		}
		{args[:]}
	}
}
api.example.com {
	log {
		output file /no/such/directory/access.log
	}
	basic_auth {
		u $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG
	}
	@old path /old/*
	rewrite @old /new{uri}
	handle_path /ticketing/* {
		import hooks
		reverse_proxy localhost:1 {
			health_uri /health
			health_interval 1ms
		}
	}
	handle /new/old/* {
		benti_webhooks {
			prefix /new/old
			project fixed
		}
	}
	handle {
		respond "no hooks here"
	}
}
instance.example.com {
	tls internal
	benti_webhooks {
		source instance
		project "Project Name"
	}
}
`

// runExplain runs the command as the binary does, and returns what it prints and its error.
func runExplain(t *testing.T, caddyfile string, args ...string) (string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(name, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	root := &cobra.Command{Use: "benti"}
	root.AddCommand(explainCommand())
	out := new(bytes.Buffer)
	root.SetOut(out)
	root.SetErr(io.Discard)
	root.SetArgs(append([]string{"explain", "--config", name}, args...))
	err := root.Execute()
	return out.String(), err
}

func TestExplainFollowsTheRoutesOfTheConfig(t *testing.T) {
	for _, row := range []struct {
		name, args, want string // args are separated by |
	}{
		{"row behind a stripped prefix", "--path|https://api.example.com/ticketing/v1/tickets|--response-body|{\"id\":7}", `"outcome":"event"`},
		{"route of the Caddyfile, through import", "--path|https://api.example.com/ticketing/media|--response-body|{\"media\":{\"id\":9}}", `"payload":{"id":9,"item":"media"`},
		{"rewrite in front", "--path|https://api.example.com/old/tickets|--response-body|{\"id\":7}", `"project":"fixed"`},
		{"site without hooks", "--path|https://api.example.com/elsewhere", `"outcome":"unreached"`},
		{"unknown host", "--path|https://www.example.com/tickets", "the hosts of the config are"},
		{"host of its own accord", "--path|/ticketing/queues|--response-body|{\"id\":1}", `"host":"api.example.com"`},
		{"host of a header", "--path|/tickets|--header|Host: instance.example.com|--response-body|{\"id\":1}", `"source":"instance"`},
		{"no row", "--path|/ticketing/v1/nothing", `"outcome":"no_row"`},
		{"method of no row", "--path|/ticketing/tickets|--method|get", `"outcome":"no_row"`},
		{"subscription API", "--path|/ticketing/v2/webhooks/1", `"outcome":"webhooks_api","reason":"the subscription API at /v2/webhooks answers it"`},
		{"failed call", "--path|/ticketing/tickets|--status|422", `"reason":"status 422 is not 2xx"`},
		{"error object", "--path|/ticketing/tickets|--response-body|{\"errors\":[{\"code\":1}]}", `"outcome":"no_change"`},
		{"no id", "--path|/ticketing/tickets|--response-body|{}", `"outcome":"underivable","reason":"ticket: no id was found at any of the places (no_id)"`},
		{"not JSON", "--path|/ticketing/tickets|--response-body|{", `"ticket: a body is not what its type says (invalid)"`},
		{"header twice", "--path|/ticketing/tickets|-H|x-inbenta-key: a|-H|x-inbenta-key: b", `"outcome":"ambiguous"`},
		{"placeholder that is set", "--path|/ticketing/users/3|--method|PUT|--set|http.auth.user.id=12", `"actor":12`},
		{"claim of a token", "--path|/ticketing/users/3|--method|PUT|-H|Authorization: Bearer e30.eyJ1c2VyX2lkIjo0fQ.x", `{"for":"actor","source":"{benti.jwt.user_id}","found":"4"}`},
		{"change against the ticket", "--path|https://instance.example.com/tickets/5|--method|PUT|--body|{\"queue\":4}|--ticket|{\"id\":5,\"queue\":3}", `"previous_queue":3,"new_queue":4`},
		{"no change", "--path|https://instance.example.com/tickets/5|--method|PUT|--body|{\"queue\":3}|--ticket|{\"id\":5,\"queue\":3}", `"outcome":"condition"`},
		{"form", "--path|/ticketing/tickets|-H|Content-Type: application/x-www-form-urlencoded|--body|creator=8|--response-body|{\"id\":7}", `"actor":8`},
	} {
		out, err := runExplain(t, explainedCaddyfile, append(strings.Split(row.args, "|"), "--json")...)
		if !strings.Contains(out, row.want) {
			t.Errorf("%s: %s is not in %s", row.name, row.want, out)
		}
		if made := strings.Contains(out, `"outcome":"event"`); made != (err == nil) {
			t.Errorf("%s: an event is made: %v, error %v", row.name, made, err)
		}
	}
}

func TestExplainTellsThatAProxyTakesTheCallBefore(t *testing.T) {
	const site = "http://:8080 {\nroute {\nreverse_proxy 127.0.0.1:1\nbenti_webhooks\n}\n}\n"
	out, err := runExplain(t, site, "--path", "/v1/tickets", "--response-body", `{"id":7}`)
	if err == nil || !strings.Contains(out, "a reverse_proxy before it") {
		t.Errorf("error %v, printed %s", err, out)
	}
}

func TestExplainRefusesWrongFlags(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"", "--path is needed"},
		{"--path|tickets", "neither a path"},
		{"--path|/a|--status|101", "not from 200 to 599"},
		{"--path|/a|-H|nonsense", `--header: "nonsense" is not like "Name: value"`},
		{"--path|/a|--set|x", "--set"},
		{"--path|/a|--body|@/no/such/file", "no such file"},
		{"--path|/a|--har|x.har", "not both"},
	} {
		var args []string
		if row.args != "" {
			args = strings.Split(row.args, "|")
		}
		if _, err := runExplain(t, explainedCaddyfile, args...); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.args, err, row.want)
		}
	}
	if _, err := runExplain(t, "{\n\tbenti\n}\n", "--path", "/a"); err == nil || !strings.Contains(err.Error(), "no sites") {
		t.Errorf("no sites: %v", err)
	}
}

func TestExplainReadsArchives(t *testing.T) {
	const archive = `{"log":{"entries":[
		{"request":{"method":"GET","url":"https://api.example.com/ticketing/tickets","headers":[]},
		 "response":{"status":200,"headers":[],"content":{"mimeType":"application/json","text":"{}"}}},
		{"request":{"method":"POST","url":"https://api.example.com/ticketing/tickets",
		  "headers":[{"name":":method","value":"POST"},{"name":"content-length","value":"999"}],
		  "postData":{"mimeType":"application/x-www-form-urlencoded","params":[{"name":"creator","value":"3"}]}},
		 "response":{"status":201,"headers":[{"name":"content-encoding","value":"gzip"},{"name":"content-type","value":"application/json"}],
		  "content":{"mimeType":"application/json","encoding":"base64","text":"eyJpZCI6OH0="}}}]}}`
	name := filepath.Join(t.TempDir(), "session.har")
	if err := os.WriteFile(name, []byte(archive), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := runExplain(t, explainedCaddyfile, "--har", name, "--json")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), out)
	}
	var e explanation
	if err := json.Unmarshal([]byte(lines[1]), &e); err != nil {
		t.Fatal(err)
	}
	if e.Outcome != outcomeEvent || !strings.Contains(string(e.Events[0].Payload), `{"id":8,`) || !strings.Contains(string(e.Events[0].Payload), `"actor":3`) {
		t.Errorf("explained: %+v", e)
	}
	for _, bad := range []string{"{", `{"log":{"entries":[]}}`} {
		if _, err := parseHAR([]byte(bad)); err == nil {
			t.Errorf("%s is taken for an archive", bad)
		}
	}
}

func TestExplainPrintsForPeople(t *testing.T) {
	out, err := runExplain(t, explainedCaddyfile, "--path", "/ticketing/tickets", "--response-body", `{"data":{"id":7}}`, "--status", "201")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"POST /ticketing/tickets -> 201\n", "  row      POST /tickets: add of ticket\n",
		"  id       {benti.response.data.id} = 7; nothing at {benti.response.id}\n", "  payload  {\"id\":7,", "see --webhooks",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
}

func FuzzParseHAR(f *testing.F) {
	f.Add([]byte(`{"log":{"entries":[{"request":{"method":"POST","url":"/"},"response":{"status":201,"content":{"encoding":"base64","text":"e30="}}}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		exchanges, err := parseHAR(data)
		if (err == nil) != (len(exchanges) > 0) {
			t.Errorf("%d exchanges, %v", len(exchanges), err)
		}
		for i := range exchanges {
			if exchanges[i].header == nil || exchanges[i].answer == nil {
				t.Error("no header")
			}
		}
	})
}
