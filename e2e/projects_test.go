package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// tenant is one of two callers, and the header that tells it apart.
type tenant struct {
	header  []string
	webhook *webhook
}

// checkApart fails unless two tenants with a webhook each, told apart by their headers, see nothing of each other.
func checkApart(t *testing.T, p *proxy, rc *receiver, one, two []string) {
	t.Helper()
	tenants := []*tenant{{header: one}, {header: two}}
	for i, tn := range tenants {
		tn.webhook = p.register("ticket", rc.url(fmt.Sprintf("/%d", i)), tn.header...)
	}
	for i, tn := range tenants {
		stranger := tenants[1-i].webhook
		if list := p.webhooks(tn.header...); len(list) != 1 || list[0].UUID != tn.webhook.UUID {
			t.Errorf("tenant %d sees %+v", i, list)
		}
		p.ticket(tn.header...)
		got := rc.next()
		if got.path != fmt.Sprintf("/%d", i) {
			t.Errorf("the event of tenant %d went to %s", i, got.path)
		}
		redeliver := tn.webhook.path() + "/deliveries/" + got.id() + "/redeliver"
		p.call("POST", redeliver, "", tenants[1-i].header...).checkError(t, http.StatusNotFound, "")
		for _, c := range [][2]string{{"GET", ""}, {"PUT", ""}, {"DELETE", ""}, {"GET", "/deliveries"}, {"POST", "/ping"}} {
			p.call(c[0], stranger.path()+c[1], `{}`, tn.header...).checkError(t, http.StatusNotFound, "")
		}
	}
	rc.none()
}

func TestProjectsAreToldApartByTheirKey(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	checkApart(t, p, rc, []string{"X-Inbenta-Key", "one"}, []string{"x-inbenta-key", "two"})
	if list := p.webhooks(); len(list) != 0 {
		t.Errorf("without a key one sees %+v", list)
	}
	checkApart(t, p, newReceiver(t), nil, []string{"X-Inbenta-Key", "three"})
}

func TestProjectsAreToldApartByAClaim(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "project {benti.jwt.tenant}"})
	token := func(tenant string) []string {
		claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"tenant":%q}`, tenant))
		return []string{"Authorization", p.secret("Bearer e30." + claims + ".c2ln")}
	}
	checkApart(t, p, rc, token("one"), token("two"))
	// What a caller sent is no placeholder.
	if list := p.webhooks(token("{http.request.header.x-tenant}")[0], "Bearer e30."+base64.RawURLEncoding.EncodeToString([]byte(`{"tenant":"{http.request.header.x-tenant}"}`))+".c2ln", "X-Tenant", "one"); len(list) != 0 {
		t.Errorf("a caller chose its project: %+v", list)
	}
}

func TestProjectsAreToldApartByAHeader(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "project {http.request.header.x-tenant}"})
	checkApart(t, p, rc, []string{"X-Tenant", "one"}, []string{"X-Tenant", strings.Repeat("long", 100)})
}

func TestFixedProjectJoinsAllKeysAndSites(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	second := freePort(t)
	p := site(t, up, config{caddyfile: standardCaddyfile + fmt.Sprintf(`http://:%d {
	benti_webhooks {
		project acme
		prefix /other
	}
	reverse_proxy UPSTREAM
}
`, second), handler: "project acme"})
	w := p.register("ticket", rc.url("/"), "X-Inbenta-Key", "one")
	if list := p.webhooks("X-Inbenta-Key", "two"); len(list) != 1 || list[0].UUID != w.UUID {
		t.Errorf("another key sees %+v", list)
	}
	p.ticket("X-Inbenta-Key", "three")
	rc.next()

	p.url = fmt.Sprintf("http://127.0.0.1:%d", second)
	p.must(http.StatusCreated, "POST", "/other/v1/tickets", `{}`)
	if got := rc.next(); !strings.HasPrefix(got.body, `{"id":2,`) {
		t.Errorf("got %s", got.body)
	}
	p.must(http.StatusNoContent, "DELETE", "/other"+w.path(), "")
}
