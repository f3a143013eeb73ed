package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/bentihooks/bentihooks/matcher"
)

// FuzzSubscriptionInput takes anything for the body of a call: it is either told what is wrong, in an answer that can be
// written, or it holds what may be stored and sent.
func FuzzSubscriptionInput(f *testing.F) {
	const form = "application/x-www-form-urlencoded"
	f.Add("application/json", []byte(`{"item":"ticket","url":"https://example.com/","secret":"s"}`))
	f.Add("application/json; charset=utf-8", []byte(`{"events":["answer"],"url":"https://bücher.example:8443/?a#","secret":"a\r\nX: y"}`))
	f.Add("text/x+json", []byte(`{"item":{"item":1},"item":null}x`))
	f.Add(form, []byte("item=ticket&url=https%3A%2F%2F%5B::1%5D%2F&secret=%ff&events[]=answer&events[]=answer"))
	f.Add(form, []byte("item=a;b=%zz"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		for _, k := range []kind{apiKind, instanceKind} {
			values, err := k.parse(contentType, body)
			var in *webhookInput
			if err == nil {
				in, err = checkInput(values)
			}
			if err != nil {
				checkProblem(t, err)
				continue
			}
			checkStorable(t, in)
		}
	})
}

func checkProblem(t *testing.T, err error) {
	t.Helper()
	p, ok := errors.AsType[problem](err)
	if !ok || p.Code < 400 || p.Code > 499 || p.Message == "" || !utf8.ValidString(p.Message+p.Field) {
		t.Fatalf("%#v is no answer", err)
	}
}

func checkStorable(t *testing.T, in *webhookInput) {
	t.Helper()
	if in.item != nil && !slices.Contains(matcher.Items(), *in.item) {
		t.Fatalf("item %q", *in.item)
	}
	if in.events != nil && matcher.CheckInstanceEvents(*in.events) != nil {
		t.Fatalf("events %q", *in.events)
	}
	if in.secret != nil {
		h := http.Header{"X-Hook-Signature": {*in.secret}}
		var wire strings.Builder
		if err := h.Write(&wire); err != nil || wire.String() != "X-Hook-Signature: "+*in.secret+"\r\n" {
			t.Fatalf("secret %q travels as %q", *in.secret, wire.String())
		}
	}
	if in.url != nil {
		checkNormal(t, *in.url)
	}
}

// FuzzURL takes any text for a receiver's address.
func FuzzURL(f *testing.F) {
	for _, text := range []string{
		"https://example.com", "https://EXAMPLE.com:443/a%2Fb?c=d", "https://bücher.example", "https://１２７.0.0.1", "https://[fe80::1%25eth0]:8/",
		"https://user@h", "https://h#", "https:h", "https://h:0", "https://h:", "https://loc\u00adalhost", "https://xn--a", "https://h/\x00", "//h",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		normal, err := checkURL(text)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("error %q", err)
			}
			return
		}
		checkNormal(t, normal)
	})
}

// checkNormal fails unless an address that was accepted can be asked for as it stands, and stays as it is.
func checkNormal(t *testing.T, text string) {
	t.Helper()
	again, err := checkURL(text)
	if err != nil || again != text {
		t.Fatalf("%q becomes %q, %v", text, again, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, text, nil)
	if err != nil {
		t.Fatalf("%q cannot be asked for: %v", text, err)
	}
	u := req.URL
	if u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || len(text) > maxURL || strings.ContainsAny(u.Host, "\r\n /") {
		t.Fatalf("%q was accepted", text)
	}
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r >= utf8.RuneSelf }) && !strings.HasPrefix(u.Host, "[") {
		t.Fatalf("%q has a host that is not ASCII", text)
	}
	if origin(text) == "" {
		t.Fatalf("%q has no origin", text)
	}
}

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

// FuzzTraceParent takes anything for a traceparent header, which receivers get as it stands.
func FuzzTraceParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\n")
	f.Fuzz(func(t *testing.T, value string) {
		got := traceParent(http.Header{"Traceparent": {value}})
		if got != "" && (got != value || strings.Trim(got, "0123456789abcdef-") != "") {
			t.Fatalf("%q gives %q", value, got)
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
