package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// FuzzWebhooksPath takes any path for one below /webhooks.
func FuzzWebhooksPath(f *testing.F) {
	for _, path := range []string{"/webhooks", "/webhooks/app/x", "/%77ebhooks/a%2Fb/", "/webhooks/%zz", "//", "/webhooks//", "/v1/webhooks"} {
		f.Add(path, true)
		f.Add(path, false)
	}
	f.Fuzz(func(t *testing.T, path string, encoded bool) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		segments, ok := belowWebhooks(path, encoded)
		if !ok {
			return
		}
		first, _, _ := strings.Cut(path[1:], "/")
		if encoded {
			first, _ = url.PathUnescape(first)
		}
		if first != "webhooks" || len(segments) > strings.Count(path, "/") {
			t.Fatalf("%q is taken for %q", path, segments)
		}
	})
}

// FuzzCaddyfileApp and FuzzCaddyfileHandler take any text for our blocks of a Caddyfile. What is accepted has a JSON twin
// that is accepted.
func FuzzCaddyfileApp(f *testing.F) {
	f.Add("benti {\nstore badger /d {\nmin_free 1MiB\nreserve 2MiB\nencryption_key {env.K} none\n}\nretention 7d\n}")
	f.Add("benti {\ndelivery {\ntimeout 1s\nretry 1s 2s\nallow_cidr 10.0.0.0/8\nheader X-A b\nsecret_overlap 1h\nmax_concurrent 3\n}\n}")
	f.Add("benti {\nstore nats\n}")
	f.Add("benti x")
	f.Fuzz(func(t *testing.T, text string) {
		app := new(App)
		if !unmarshalTokens(text, app) {
			return
		}
		var twin App
		roundTrip(t, app, &twin)
		if twin.Delivery != nil {
			config := twin.Delivery.config()
			if err := config.Validate(); err != nil {
				t.Fatalf("accepted: %q: %v", text, err)
			}
		}
	})
}

func FuzzCaddyfileHandler(f *testing.F) {
	f.Add("benti_webhooks {\nproject {benti.jwt.t}\nprefix /p\nactor {benti.jwt.sub} x\nauthorize bearer a {env.B}\nbody_limit 1KiB\n}")
	f.Add("benti_webhooks {\nroute add media POST /media {\nid {benti.response.media.id}\nparent {benti.request.ticket}\n}\n}")
	f.Add("benti_webhooks {\nsource instance\nfield ticket.queue.id queue.id {benti.request.q}\nwebhooks_api off\ndurability async\non_store_failure reject\n}")
	f.Fuzz(func(t *testing.T, text string) {
		h := new(Handler)
		if !unmarshalTokens(text, h) {
			return
		}
		var twin Handler
		roundTrip(t, h, &twin)
		if strings.Contains(text, "{file.") { // would read any file
			return
		}
		twin.setDefaults()
		if twin.check() == nil {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "/tickets", nil)
			r.Header.Set("X-Inbenta-Key", text)
			twin.project(r)
		}
	})
}

func unmarshalTokens(text string, into caddyfile.Unmarshaler) bool {
	tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
	if err != nil || len(tokens) == 0 {
		return false
	}
	return into.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)) == nil
}

func roundTrip(t *testing.T, from, into any) {
	t.Helper()
	config, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.StrictUnmarshalJSON(config, into); err != nil {
		t.Fatalf("%s: %v", config, err)
	}
}

// FuzzProject takes anything for the headers that name a project: the name is short, and no header is taken for a
// placeholder.
func FuzzProject(f *testing.F) {
	f.Setenv("BENTI_FUZZ_SECRET", "s3cret")
	h := &Handler{Project: "{benti.tenant}-{benti.jwt.tenant}-{http.request.header.X-Tenant}", Actor: defaultActor}
	h.setDefaults()
	if err := h.check(); err != nil {
		f.Fatal(err)
	}
	f.Add("key", "Bearer e30.e30.x", "tenant")
	f.Add("{env.BENTI_FUZZ_SECRET}", "Bearer e30.eyJ0ZW5hbnQiOiJ7ZW52LkJFTlRJX0ZVWlpfU0VDUkVUfSJ9.x", "{env.BENTI_FUZZ_SECRET}")
	f.Add("\x00\xff", "bearer ..", strings.Repeat("x", 1000))
	f.Fuzz(func(t *testing.T, key, authorization, tenant string) {
		repl := caddy.NewReplacer()
		repl.Set("http.request.header.X-Tenant", tenant)
		ctx := context.WithValue(t.Context(), caddy.ReplacerCtxKey, repl)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/tickets", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Inbenta-Key", key)
		r.Header.Set("Authorization", authorization)
		name := h.project(r)
		if name == "" || len(name) > maxProject || strings.Contains(name, "s3cret") && !strings.Contains(key+authorization+tenant, "s3cret") {
			t.Fatalf("project %q", name)
		}
		if name != h.project(r) {
			t.Fatalf("project %q is another the second time", name)
		}
	})
}

// FuzzTraceContext takes anything for the headers traceparent and tracestate, which receivers get.
func FuzzTraceContext(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=t61rcWkgMzE,x@y=1", "")
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\n", "=", "a=b c\x7f")
	f.Fuzz(func(t *testing.T, value, state, more string) {
		got := traceContext(http.Header{"Traceparent": {value}, "Tracestate": {state, more}})
		parent, kept, _ := strings.Cut(got, " ")
		if parent != "" && (parent != value || strings.Trim(parent, "0123456789abcdef-") != "") {
			t.Fatalf("%q gives %q", value, got)
		}
		visible := func(r rune) bool { return r >= ' ' && r <= '~' }
		if len(kept) > maxTraceState || strings.TrimFunc(kept, visible) != "" {
			t.Fatalf("%q and %q give %q", state, more, kept)
		}
	})
}

// FuzzReserveEvent takes anything for an event in the reserve: what is read is written as it was.
func FuzzReserveEvent(f *testing.F) {
	f.Add([]byte(`{"id":"0198c0de-0000-7000-8000-000000000000","project":"p","item":"ticket","action":"add","payload":"e30=","at":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"id":null,"payload":"!"}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		var ev, again event
		if json.Unmarshal(record, &ev) != nil {
			return
		}
		out, err := json.Marshal(ev)
		if err != nil { // a year beyond 9999 can be read, and not written
			return
		}
		if err := json.Unmarshal(out, &again); err != nil || again.ID != ev.ID || string(again.Payload) != string(ev.Payload) || !again.At.Equal(ev.At) {
			t.Fatalf("%s becomes %s, %v", record, out, err)
		}
		deliveryID(ev.ID, ev.Project)
	})
}
