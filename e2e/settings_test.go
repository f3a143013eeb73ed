package e2e

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// everySetting is a Caddyfile that leaves nothing at its default.
const everySetting = `{
	admin unix/ADMIN
	debug
	auto_https off
	benti {
		store badger DATA {
			encryption_key 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
		}
		delivery {
			timeout 5s
			max_concurrent 32
			max_per_webhook 4
			retry 50ms 100ms
			allow_cidr 127.0.0.0/8 10.20.0.0/16
			allow_cidr ::1/128
			trust_pool file CA
			header X-Env prod
			header X-Home {env.HOME}
			secret_overlap 1h
		}
		retention 2d
	}
}
http://:PORT {
	encode gzip
	basic_auth {
		jo ` + correctHash + `
	}
	benti_webhooks {
		project acme
		source api
		prefix /prod/ticketing
		actor {http.request.header.x-actor} {http.auth.user.id}
		authorize user
		durability async
		on_store_failure reject
		body_limit 64KiB
		webhooks_api on
		route add media POST /media {
			id {benti.response.media.id}
			parent {benti.request.ticket}
		}
		route add alert POST /tickets/{ticketId}/alarms {
			parent {benti.path.ticketId}
		}
	}
	reverse_proxy UPSTREAM
}
`

func TestEverySettingWorks(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"Caddyfile", "JSON"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			up, rc := newUpstream(t), newReceiver(t)
			p := newProxy(t, up, config{caddyfile: everySetting})
			if format == "JSON" {
				p.startWith("--config", p.adapt())
			} else {
				p.start()
			}
			auth := []string{"Authorization", p.secret("Basic am86Y29ycmVjdA=="), "X-Actor", "17"}
			p.must(http.StatusUnauthorized, "GET", "/prod/ticketing/v1/webhooks", "")
			secret := p.newSecret()
			for _, item := range []string{"media", "alert"} {
				p.must(http.StatusCreated, "POST", "/prod/ticketing/webhooks", registration(item, rc.url("/"), secret), auth...)
			}
			up.answer(up.respond(http.StatusCreated, nil, `{"media":{"id":5},"id":6}`))
			rc.answer(statuses(500, 200))
			for _, c := range [][3]string{
				{"/prod/ticketing/v1/media", `{"ticket":100}`, `{"id":5,"item":"media","action":"add","timestamp":TIME,"actor":17,"parent":100}`},
				{"/prod/ticketing/tickets/7/alarms", `{}`, `{"id":6,"item":"alert","action":"add","timestamp":TIME,"actor":17,"parent":7}`},
			} {
				from := time.Now()
				p.must(http.StatusCreated, "POST", c[0], c[1], auth...)
				got := rc.next()
				got.check(t, secret)
				checkPayload(t, got.body, c[2], from, time.Now())
				if got.header.Get("X-Env") != "prod" || got.header.Get("X-Home") != p.dir {
					t.Errorf("headers are %v", got.header)
				}
				if c[2][6] == '5' { // the first was refused
					if again := rc.next(); again.id() != got.id() || again.attempt() != 2 {
						t.Errorf("got attempt %d of %s", again.attempt(), again.id())
					}
				}
			}
			// Encrypted, so that nothing of it can be read. The notes of requests in flight are not; they hold
			// paths and projects.
			p.stop()
			for _, text := range []string{secret, rc.address} {
				if found := findText(t, p.data, text); found != "" {
					t.Errorf("%q can be read in %s", text, found)
				}
			}
		})
	}
}

// adapt writes the proxy's Caddyfile as JSON and returns the file's name.
func (p *proxy) adapt() string {
	p.t.Helper()
	out, err := p.command(p.t.Context(), "adapt", "--config", p.writeConfig(), "--adapter", "caddyfile", "--validate").Output()
	if err != nil {
		p.t.Fatalf("adapting: %v", err)
	}
	name := filepath.Join(p.dir, "config.json")
	if err := os.WriteFile(name, out, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return name
}

// findText returns the name of a file below dir that holds text, or nothing.
func findText(t *testing.T, dir, text string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), text) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestOneLineIsEnough(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := site(t, up, config{caddyfile: "{\n\tadmin unix/ADMIN\n\tdebug\n}\nhttp://:PORT {\n\tbenti_webhooks\n\treverse_proxy UPSTREAM\n}\n"})
	p.ticket()
	if list := p.webhooks(); len(list) != 0 {
		t.Errorf("at first there is %+v", list)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "xdg-data", "caddy", "benti")); err != nil {
		t.Errorf("the store is not in Caddy's data directory: %v", err)
	}
}

// Wherever the directive stands, and whatever is in front of it.
func TestHandlerWorksInAllBlocks(t *testing.T) {
	t.Parallel()
	const global = "{\n\tadmin unix/ADMIN\n\tdebug\n\tbenti {\n\t\tstore badger DATA\n\t\tdelivery {\n\t\t\ttrust_pool file CA\n\t\t\tLOCAL\n\t\t}\n\t}\n}\n"
	for _, c := range []struct{ name, site, prefix string }{
		{"behind the proxy", "reverse_proxy UPSTREAM\nbenti_webhooks", ""},
		{"handle", "handle /v1/* {\nbenti_webhooks\nreverse_proxy UPSTREAM\n}\nhandle {\nrespond 404\n}", ""},
		{"outside handle", "benti_webhooks\nhandle {\nreverse_proxy UPSTREAM\n}", ""},
		{"route", "route {\nbenti_webhooks\nreverse_proxy UPSTREAM\n}", ""},
		{"handle_path", "handle_path /legacy/* {\nbenti_webhooks\nreverse_proxy UPSTREAM\n}", "/legacy"},
		{"encode and a rewrite in front", "encode gzip\nuri strip_prefix /outer\nbenti_webhooks\nreverse_proxy UPSTREAM", "/outer"},
		{"rewrite in the proxy", "benti_webhooks\nreverse_proxy UPSTREAM {\nrewrite /inner{uri}\n}", ""},
		{"handle_response", "benti_webhooks\nreverse_proxy UPSTREAM {\n@ok status 2xx\nhandle_response @ok {\ncopy_response\n}\n}", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			up, rc := newUpstream(t), newReceiver(t)
			up.answer(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					up.respond(http.StatusCreated, nil, `{"id":5,"padding":"`+strings.Repeat("x", 2000)+`"}`)(w, r)
					return
				}
				up.usual(w, r)
			})
			p := site(t, up, config{caddyfile: global + "http://:PORT {\n" + c.site + "\n}\n"})
			secret := p.newSecret()
			p.must(http.StatusCreated, "POST", c.prefix+"/v1/webhooks", registration("ticket", rc.url("/"), secret))
			got := p.must(http.StatusCreated, "POST", c.prefix+"/v1/tickets", `{}`, "Accept-Encoding", "gzip")
			if encoded := strings.Contains(c.site, "encode"); encoded != (got.header.Get("Content-Encoding") == "gzip") {
				t.Errorf("Content-Encoding %q", got.header.Get("Content-Encoding"))
			}
			event := rc.next()
			event.check(t, secret)
			if !strings.HasPrefix(event.body, `{"id":5,"item":"ticket"`) {
				t.Errorf("got %s", event.body)
			}
		})
	}
}

func TestHandlerThatNoCallComesToIsTold(t *testing.T) {
	t.Parallel()
	p := site(t, newUpstream(t), config{caddyfile: "{\n\tadmin unix/ADMIN\n\tbenti {\n\t\tstore badger DATA\n\t}\n}\nhttp://:PORT {\n\troute {\n\t\treverse_proxy UPSTREAM\n\t\tbenti_webhooks\n\t}\n}\n"})
	p.logged(0, `"level":"error"`, "benti_webhooks sees no call")
	p.must(http.StatusCreated, "POST", "/v1/tickets", `{}`)
}

func TestWrongSettingsAreRefusedWithFileLineAndToken(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	for _, c := range []struct {
		name   string
		config config
		want   []string
	}{
		{"unknown setting", config{handler: "proejct x"}, []string{"proejct", "project"}},
		{"wrong choice", config{handler: "durability maybe"}, []string{"maybe", "sync, async"}},
		{"given twice", config{handler: "project a\nproject b"}, []string{"project", "twice"}},
		{"zero size", config{handler: "body_limit 0"}, []string{"body_limit", `"0"`}},
		{"negative count", config{delivery: "max_concurrent -1"}, []string{"max_concurrent", "-1"}},
		{"zero time", config{delivery: "timeout 0s"}, []string{"timeout", "0s"}},
		{"long time", config{delivery: "timeout 20m"}, []string{"timeout", "20m"}},
		{"large count", config{delivery: "max_per_webhook 70000"}, []string{"max_per_webhook", "70000"}},
		{"wrong key", config{caddyfile: "{\n\tbenti {\n\t\tstore badger {\n\t\t\tencryption_key abc\n\t\t}\n\t}\n}\n"}, []string{"encryption_key", "16, 24 or 32 bytes"}},
		{"prefix without a slash", config{handler: "prefix prod"}, []string{"prefix", "prod"}},
		{"path parameter that is not there", config{handler: "route add alert POST /tickets/{x}/alarms {\nparent {benti.path.y}\n}"}, []string{"{benti.path.y}", "{y}"}},
		{"no range", config{delivery: "allow_cidr 10.0.0.1"}, []string{"allow_cidr", "10.0.0.1"}},
		{"own header", config{delivery: "header X-Hook-Signature x"}, []string{"X-Hook-Signature"}},
		{"unknown mode", config{handler: "authorize everybody"}, []string{"everybody", "upstream"}},
		{"no token", config{handler: "authorize bearer"}, []string{"bearer", "token"}},
		{"unknown item", config{handler: "route add tikcet POST /x"}, []string{"tikcet", "ticket"}},
		{"unknown engine", config{caddyfile: "{\n\tbenti {\n\t\tstore bagder\n\t}\n}\n"}, []string{"bagder", "badger"}},
		{"benti twice", config{caddyfile: "{\n\tbenti {\n\t}\n\tbenti {\n\t}\n}\n"}, []string{"benti", "twice"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, up, c.config)
			out, err := p.command(t.Context(), "validate", "--config", p.writeConfig(), "--adapter", "caddyfile").CombinedOutput()
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range append(c.want, "Caddyfile:") {
				if !strings.Contains(string(out), want) && !strings.Contains(strings.ReplaceAll(string(out), `\"`, `"`), want) {
					t.Errorf("%q is not in %s", want, out)
				}
			}
		})
	}
}

func TestValidateTouchesNothing(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	validate := func(p *proxy) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if out, err := p.command(ctx, "validate", "--config", p.writeConfig(), "--adapter", "caddyfile").CombinedOutput(); err != nil {
			t.Errorf("validating: %v: %s", err, out)
		}
	}
	p := newProxy(t, up, config{})
	validate(p)
	if _, err := os.Stat(p.data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("validating made the store's directory: %v", err)
	}

	p.start()
	w := p.register("ticket", rc.url("/"))
	p.ticket()
	rc.next()
	p.settled(w, "delivered")
	p.becomes(w, "active")
	before := listing(t, p.data)
	validate(p)
	if after := listing(t, p.data); after != before {
		t.Errorf("validating changed the store's directory from\n%sto\n%s", before, after)
	}
	p.ticket() // the server goes on
	rc.next()

	p.stop()
	before = listing(t, p.data)
	validate(p)
	if after := listing(t, p.data); after != before {
		t.Errorf("validating changed the store's directory from\n%sto\n%s", before, after)
	}
}

// listing tells names and times of all files below a directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			b.WriteString(path + " " + info.ModTime().Format(time.RFC3339Nano) + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
