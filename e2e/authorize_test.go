package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAuthorizeUpstreamAsksTheAPI(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "prefix /prod/ticketing"})
	for _, c := range []struct {
		name      string
		apiStatus int
		apiBody   string
		status    int
	}{
		{"accepted", 200, `{"data":[]}`, 200},
		{"accepted without content", 204, ``, 200},
		{"unauthorized", 401, `{}`, 401},
		{"forbidden", 403, `{}`, 403},
		{"error", 500, `{}`, 502},
		{"not found", 404, `{}`, 502},
		{"redirect", 302, ``, 502},
		{"error object", 200, `{"errors":[{"code":401,"message":"no"}]}`, 403},
		{"error object, compressed", 200, gzipped(`{"error":{"code":401}}`), 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			up.answer(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if c.apiStatus == http.StatusUnauthorized {
					w.Header().Set("WWW-Authenticate", `Bearer realm="api"`)
				}
				if strings.HasPrefix(c.apiBody, "\x1f") {
					w.Header().Set("Content-Encoding", "gzip")
				}
				w.WriteHeader(c.apiStatus)
				io.WriteString(w, c.apiBody)
			})
			before := len(up.seen())
			body := registration("ticket", rc.url("/"), p.newSecret())
			for _, method := range []string{"GET", "POST"} {
				if c.status == 200 && method == "POST" {
					continue
				}
				if method == "GET" {
					body = ""
				}
				got := p.call(method, "/prod/ticketing/v2/webhooks?x=y", body, "Authorization", p.secret("Bearer secret-token"),
					"X-Inbenta-Key", "key", "Cookie", "a=b", "Accept-Encoding", "gzip")
				if c.status == 200 {
					if got.status != 200 {
						t.Errorf("status %d: %s", got.status, got.body)
					}
				} else if message := got.checkError(t, c.status, ""); c.status == 502 && !strings.Contains(message, "authorize") {
					t.Errorf("message %q does not name the setting", message)
				}
				if c.apiStatus == 401 && got.header.Get("WWW-Authenticate") != `Bearer realm="api"` {
					t.Errorf("WWW-Authenticate %q", got.header.Get("WWW-Authenticate"))
				}
			}
			for _, call := range up.seen()[before:] {
				if call.method != "GET" || call.uri != "/prod/ticketing/v2/queues" || len(call.body) != 0 || call.header.Get("Content-Type") != "" ||
					call.header.Get("Authorization") != "Bearer secret-token" || call.header.Get("X-Inbenta-Key") != "key" || call.header.Get("Cookie") != "a=b" {
					t.Errorf("the API got %s %s with %v and %q", call.method, call.uri, call.header, call.body)
				}
			}
			if len(up.seen()) == before {
				t.Error("the API was not asked")
			}
		})
	}
	if n := rc.connections.Load(); n != 0 {
		t.Errorf("%d connections to a receiver before the caller was known", n)
	}
	up.server.Close()
	p.call("GET", "/prod/ticketing/v2/webhooks", "").checkError(t, http.StatusBadGateway, "")
}

func TestAuthorizeUpstreamWithAnotherPath(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := site(t, up, config{handler: "authorize upstream /users/me?fields=id"})
	p.must(http.StatusOK, "GET", "/v1/webhooks", "")
	if calls := up.seen(); len(calls) != 1 || calls[0].uri != "/v1/users/me?fields=id" {
		t.Errorf("the API got %+v", calls)
	}
}

func TestAuthorizeBearer(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := newProxy(t, up, config{handler: "authorize bearer {env.HOME} second-token"})
	first := p.secret(p.dir) // what HOME is; any text will do
	p.secrets = nil          // though this one is in the log for other reasons
	p.secret("second-token")
	p.start()
	for header, status := range map[string]int{
		"Bearer " + first: 200, "Bearer second-token": 200, "bearer second-token": 200, "Bearer other": 401, "Bearer": 401, "Bearer ": 401, "": 401,
		"Basic second-token": 401, "second-token": 401, "Bearer second-token2": 401, "Bearer {env.HOME}": 401,
	} {
		got := p.call("GET", "/v1/webhooks", "", "Authorization", header)
		if got.status != status {
			t.Errorf("%q: status %d, want %d", header, got.status, status)
		}
		if status == 401 {
			got.checkError(t, 401, "")
			if !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate %q", got.header.Get("WWW-Authenticate"))
			}
		}
	}
	if calls := up.seen(); len(calls) != 0 {
		t.Errorf("the API got %+v", calls)
	}
}

// correctHash is the bcrypt hash of "correct", at the lowest cost.
const correctHash = "$2a$04$PY55htei29rHPn/PoNkBOeA9tFcqW.zvYkn3uBRA6hADDqOcF6a3a"

func TestAuthorizeUser(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{
		site:    "@known header X-Known *\nbasic_auth @known {\njo " + correctHash + "\n}",
		handler: "authorize user",
	})
	p.call("GET", "/v1/webhooks", "").checkError(t, http.StatusForbidden, "")
	p.must(http.StatusUnauthorized, "GET", "/v1/webhooks", "", "X-Known", "1", "Authorization", "Basic am86d3Jvbmc=") // jo:wrong
	known := []string{"X-Known", "1", "Authorization", p.secret("Basic am86Y29ycmVjdA==")}                            // jo:correct
	p.register("ticket", rc.url("/"), known...)
	p.ticket(known...)
	if got := rc.next(); !strings.Contains(got.body, `"actor":"jo"`) {
		t.Errorf("got %s", got.body)
	}
}

// As docs/integration.md has it: forward_auth copies a header and names no user.
func TestAuthorizeUserOfForwardAuth(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Known") != "" {
			w.Header().Set("Remote-User", "jo")
		}
	}))
	t.Cleanup(auth.Close)
	forward := "forward_auth " + strings.TrimPrefix(auth.URL, "http://") + " {\nuri /verify\ncopy_headers Remote-User\n}\n"
	p := site(t, up, config{site: forward, handler: "authorize user"})
	known := []string{"X-Known", "1"}
	p.call("GET", "/v1/webhooks", "", known...).checkError(t, http.StatusForbidden, "")

	before, _, _ := strings.Cut(standardCaddyfile, "http://:PORT {")
	p.reload(config{caddyfile: before + "http://:PORT {\nroute {\n" + forward +
		"vars http.auth.user.id {header.Remote-User}\nbenti_webhooks {\nauthorize user\n}\nreverse_proxy UPSTREAM\n}\n}\n"})
	p.call("GET", "/v1/webhooks", "", "Remote-User", "jo").checkError(t, http.StatusForbidden, "") // says the client
	p.register("ticket", rc.url("/"), known...)
	p.ticket(known...)
	if got := rc.next(); !strings.Contains(got.body, `"actor":"jo"`) {
		t.Errorf("got %s", got.body)
	}
}

func TestAuthorizeOff(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := site(t, up, config{handler: "authorize off"})
	p.must(http.StatusOK, "GET", "/v1/webhooks", "")
	if calls := up.seen(); len(calls) != 0 {
		t.Errorf("the API got %+v", calls)
	}
}

func TestWebhooksAPIOffForwards(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("ticket", rc.url("/"))
	p.reload(config{handler: "webhooks_api off"})
	before := len(up.seen())
	p.must(http.StatusCreated, "POST", "/v1/webhooks", `{"any":"thing"}`)
	p.must(http.StatusOK, "GET", "/webhooks/x", "")
	if calls := up.seen()[before:]; len(calls) != 2 || calls[0].uri != "/v1/webhooks" || string(calls[0].body) != `{"any":"thing"}` || calls[1].uri != "/webhooks/x" {
		t.Errorf("the API got %+v", calls)
	}
	p.ticket() // what was registered before goes on
	rc.next()
}
