package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// twoSites has an api site, at the proxy's own address, and an instance site of the same project beside it.
func twoSites(t *testing.T, up *upstream, c config) (p *proxy, instance string) {
	t.Helper()
	port := freePort(t)
	c.caddyfile = standardCaddyfile + fmt.Sprintf(`http://:%d {
	benti_webhooks {
		project acme
		source instance
	}
	reverse_proxy UPSTREAM
}
`, port)
	c.handler += "\nproject acme"
	return site(t, up, c), fmt.Sprintf("http://127.0.0.1:%d", port)
}

// at has the following calls made at another site.
func (p *proxy) at(site string, do func()) {
	former := p.url
	p.url = site
	defer func() { p.url = former }()
	do()
}

func TestLifeOfAnInstanceWebhook(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"application/json", form} {
		t.Run(contentType, func(t *testing.T) {
			t.Parallel()
			up, rc := newUpstream(t), newReceiver(t)
			p := site(t, up, config{handler: "source instance\nproject acme"})
			encode := func(secret string, events ...string) string {
				if contentType == form {
					name := []string{"events", "events[]"}[len(events)%2]
					values := url.Values{name: events}
					if secret != "" {
						values.Set("url", rc.url("/a?b=c"))
						values.Set("secret", secret)
					}
					return values.Encode()
				}
				if secret == "" {
					return fmt.Sprintf(`{"events":["%s"]}`, strings.Join(events, `","`))
				}
				return instanceRegistration(rc.url("/a?b=c"), secret, events...)
			}
			header := []string{"Content-Type", contentType}
			if got := p.must(200, "GET", "/v1/webhooks/app", ""); strings.TrimSpace(got.body) != `{"data":[]}` {
				t.Errorf("at first the list is %s", got.body)
			}
			w := &webhook{secret: p.newSecret(), Events: []string{"close-ticket", "answer"}}
			created := p.must(201, "POST", "/webhooks/app/", encode(w.secret, w.Events...), header...)
			created.decode(t, w)
			if strings.TrimSpace(created.body) != `{"uuid":"`+w.UUID+`"}` || created.header.Get("Location") != "/webhooks/app/"+w.UUID || created.header.Get("Cache-Control") != "no-store" {
				t.Errorf("created: %s, %v", created.body, created.header)
			}
			shown := p.must(200, "GET", w.path(), "")
			shown.decode(t, w)
			want := fmt.Sprintf(`{"uuid":"%s","events":["close-ticket","answer"],"url":%q,"status":"active",`, w.UUID, rc.url("/a?b=c"))
			if !strings.HasPrefix(shown.body, want) || strings.Contains(shown.body, "secret") {
				t.Errorf("it is shown as %s, want %s...", shown.body, want)
			}
			if got := p.must(200, "GET", "/v2/webhooks/app/", ""); strings.TrimSpace(got.body) != `{"data":[`+strings.TrimSpace(shown.body)+`]}` {
				t.Errorf("the list is %s", got.body)
			}

			// Other events need no verification, and hold from then on.
			handshakes := len(rc.handshakes)
			changed := p.must(200, "PUT", w.path(), encode("", "create-ticket"), header...)
			changed.decode(t, w)
			if !slices.Equal(w.Events, []string{"create-ticket"}) || len(rc.handshakes) != handshakes {
				t.Errorf("changed: %s, %d handshakes more", changed.body, len(rc.handshakes)-handshakes)
			}
			closing := instanceCall{method: "PUT", path: "/tickets/5", status: 200, request: `{"status":3}`, response: `{}`, ticket: `{"id":5}`}
			closing.make(p)
			up.answer(nil)
			p.ticket()
			got := rc.next()
			got.check(t, w.secret)
			if events := got.events(t); len(events) != 1 || events[0].Action != "create-ticket" {
				t.Errorf("got %s", got.body)
			}
			p.must(204, "DELETE", w.path(), "")
			p.call("GET", w.path(), "").checkError(t, 404, "")
			p.ticket()
			rc.none()
		})
	}
}

func TestBothFormsOfTheInstanceHandshakePass(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	const challenge = "X-Inbenta-Challenge"
	for _, c := range []struct {
		name       string
		answer     http.HandlerFunc
		instance   bool // it passes for an instance webhook
		apiWebhook bool // for an api webhook
	}{
		{"header", func(w http.ResponseWriter, r *http.Request) { w.Header().Set(challenge, r.Header.Get(challenge)) }, true, false},
		{"header beside a page", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("x-inbenta-challenge", r.Header.Get(challenge))
			fmt.Fprint(w, "<html>")
		}, true, false},
		{"body", echo, true, true},
		{"header with another status", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(challenge, r.Header.Get(challenge))
			w.WriteHeader(http.StatusNoContent)
		}, false, false},
		{"another header", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Challenge", r.Header.Get(challenge)) }, false, false},
		{"another challenge", func(w http.ResponseWriter, r *http.Request) { w.Header().Set(challenge, r.Header.Get(challenge)+"0") }, false, false},
		{"empty", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(challenge, "") }, false, false},
	} {
		rc.answerHandshake(c.answer)
		for _, kind := range []struct {
			path, body string
			passes     bool
		}{
			{"/v1/webhooks/app", instanceRegistration(rc.url("/"+url.PathEscape(c.name)), p.newSecret(), "answer"), c.instance},
			{"/v1/webhooks", registration("ticket", rc.url("/"+url.PathEscape(c.name)), p.newSecret()), c.apiWebhook},
		} {
			got := p.call("POST", kind.path, kind.body)
			if kind.passes && got.status != http.StatusCreated {
				t.Errorf("%s at %s: status %d: %s", c.name, kind.path, got.status, got.body)
			}
			if !kind.passes {
				got.checkError(t, http.StatusUnprocessableEntity, "url")
			}
		}
	}
}

func TestBadListsOfEventsAreRefused(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	w := p.registerInstance(rc.url("/taken"), "answer", "close-ticket")
	other := p.registerInstance(rc.url("/other"), "create-ticket")
	allowed := strings.Join(instanceEvents, ", ")
	for _, c := range []struct {
		name, method, path, contentType, body string
		status                                int
		field, message                        string
	}{
		{"unknown event", "POST", "/webhooks/app", "", `{"events":["answer","Answer"]}`, 422, "events", `unknown event "Answer": allowed are ` + allowed},
		{"item for an event", "POST", "/webhooks/app", "", `{"events":["ticket"]}`, 422, "events", allowed},
		{"empty name", "POST", "/webhooks/app", "", `{"events":[""]}`, 422, "events", allowed},
		{"empty list", "POST", "/webhooks/app", "", `{"events":[]}`, 422, "events", "no events given: allowed are " + allowed},
		{"event twice", "POST", "/webhooks/app", "", `{"events":["answer","close-ticket","answer"]}`, 422, "events", `event "answer" is given twice: allowed are ` + allowed},
		{"text for a list", "POST", "/webhooks/app", "", `{"events":"answer"}`, 422, "events", allowed},
		{"null for a list", "POST", "/webhooks/app", "", `{"events":null}`, 422, "events", allowed},
		{"numbers", "POST", "/webhooks/app", "", `{"events":[1]}`, 422, "events", allowed},
		{"list in a list", "POST", "/webhooks/app", "", `{"events":[["answer"]]}`, 422, "events", allowed},
		{"list without an end", "POST", "/webhooks/app", "", `{"events":["answer"`, 400, "", ""},
		{"events twice", "POST", "/webhooks/app", "", `{"events":["answer"],"events":["answer"]}`, 400, "events", ""},
		{"item and events", "POST", "/webhooks/app", "", `{"events":["answer"],"item":"ticket"}`, 422, "item", "allowed are events, url, secret"},
		{"events and item", "POST", "/webhooks", "", `{"item":"ticket","events":["answer"]}`, 422, "events", "allowed are item, url, secret"},
		{"an item alone", "POST", "/webhooks/app", "", registration("ticket", rc.url("/"), "s"), 422, "item", "allowed are events, url, secret"},
		{"events alone", "POST", "/webhooks", "", instanceRegistration(rc.url("/"), "s", "answer"), 422, "events", "/webhooks/app"},
		{"no events", "POST", "/webhooks/app", "", fmt.Sprintf(`{"url":%q,"secret":"s"}`, rc.url("/")), 422, "events", "events is missing"},
		{"form: unknown event", "POST", "/webhooks/app", form, `events=answer&events=no`, 422, "events", allowed},
		{"form: list with commas", "POST", "/webhooks/app", form, `events=answer,close-ticket`, 422, "events", allowed},
		{"form: event twice", "POST", "/webhooks/app", form, `events[]=answer&events[]=answer`, 422, "events", allowed},
		{"form: both spellings", "POST", "/webhooks/app", form, `events[]=answer&events=close-ticket`, 400, "events", ""},
		{"form: item and events", "POST", "/webhooks/app", form, `events=answer&item=ticket`, 422, "item", "allowed are events, url, secret"},
		{"PUT: unknown event", "PUT", w.path(), "", `{"events":["no"]}`, 422, "events", allowed},
		{"PUT: empty list", "PUT", w.path(), "", `{"events":[]}`, 422, "events", allowed},
		{"PUT: item", "PUT", w.path(), "", `{"item":"ticket"}`, 422, "item", "allowed are events, url, secret"},
		{"PUT: nothing", "PUT", w.path(), "", `{}`, 422, "", "allowed are events, url, secret"},
		{"the same event at the same url", "POST", "/webhooks/app", "", instanceRegistration(w.URL, "s", "create-ticket", "close-ticket"), 409, "url", ""},
		{"PUT: the same url", "PUT", other.path(), "", fmt.Sprintf(`{"url":%q,"secret":"s","events":["answer"]}`, w.URL), 409, "url", ""},
		{"method", "PATCH", "/webhooks/app", "", `{}`, 405, "", "GET, HEAD, POST"},
		{"unknown id", "GET", "/webhooks/app/00000000-0000-4000-8000-000000000000", "", ``, 404, "", ""},
	} {
		header := []string{}
		if c.contentType != "" {
			header = []string{"Content-Type", c.contentType}
		}
		if message := p.call(c.method, c.path, c.body, header...).checkError(t, c.status, c.field); !strings.Contains(message, c.message) {
			t.Errorf("%s: %q does not say %q", c.name, message, c.message)
		}
	}
	// Another event at that url is fine.
	p.must(201, "POST", "/webhooks/app", instanceRegistration(w.URL, p.newSecret(), "create-ticket"))
	if n := len(rc.handshakes); n != 3 {
		t.Errorf("%d handshakes, want 3: what is refused troubles no receiver", n)
	}
}

// Either kind of site makes its own kind of events only, and either serves both kinds of webhooks, each in its place.
func TestKindsOfWebhooksAreKeptApart(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p, instance := twoSites(t, up, config{})
	api := p.register("ticket", rc.url("/api"))
	viaAPI := p.registerInstance(rc.url("/via-api"), "create-ticket", "change-queue")
	var viaInstance *webhook
	p.at(instance, func() { viaInstance = p.registerInstance(rc.url("/via-instance"), "create-ticket") })

	ids := func(path string) string {
		var list struct{ Data []webhook }
		p.must(200, "GET", path, "").decode(t, &list)
		var all []string
		for _, w := range list.Data {
			all = append(all, w.UUID)
		}
		return strings.Join(all, " ")
	}
	check := func() {
		if got := ids("/v1/webhooks"); got != api.UUID {
			t.Errorf("api webhooks: %s", got)
		}
		if got := ids("/v1/webhooks/app"); got != viaAPI.UUID+" "+viaInstance.UUID {
			t.Errorf("instance webhooks: %s", got)
		}
		for _, below := range [][2]string{{"GET", ""}, {"PUT", ""}, {"DELETE", ""}, {"POST", "/ping"}, {"GET", "/deliveries"}} {
			p.call(below[0], "/v1/webhooks/"+viaAPI.UUID+below[1], `{}`).checkError(t, 404, "")
			p.call(below[0], "/v1/webhooks/app/"+api.UUID+below[1], `{}`).checkError(t, 404, "")
		}
	}
	check()
	p.at(instance, check)

	p.ticket()
	p.must(200, "PUT", "/v1/tickets/5", `{"queue":2}`)
	for range 2 {
		if got := rc.next(); got.path != "/api" || !strings.Contains(got.body, `"item":"ticket"`) {
			t.Errorf("the api site's call gave %s: %s", got.path, got.body)
		}
	}
	p.at(instance, func() {
		p.ticket()
		call := instanceCall{method: "PUT", path: "/v1/tickets/5", status: 200, request: `{"queue":2}`, response: `{}`, ticket: `{"id":5,"queue":1}`}
		call.make(p)
		up.answer(nil)
		p.must(201, "POST", "/v1/users", `{}`)
	})
	var got []string
	for n := 0; n < 3; {
		for _, e := range rc.next().events(t) {
			got = append(got, e.path+" "+e.Action)
			n++
		}
	}
	slices.Sort(got)
	if want := []string{"/via-api change-queue", "/via-api create-ticket", "/via-instance create-ticket"}; !slices.Equal(got, want) {
		t.Errorf("the instance site's calls gave %q, want %q", got, want)
	}
	if gets := slices.DeleteFunc(exchanges(up.seen()), func(s string) bool { return !strings.HasPrefix(s, "GET /v1/tickets") }); len(gets) != 1 {
		t.Errorf("tickets were read for the api site too: %q", gets)
	}
	rc.none()
	list, _ := p.page(api, "")
	if len(list) != 2 {
		t.Errorf("%d deliveries of the api webhook, want 2", len(list))
	}
}

// Pings and deliveries sent again are those of any webhook, in the form of an instance webhook.
func TestPingAndRedeliveryOfAnInstanceWebhook(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "source instance\nproject acme", delivery: "retry 1h"})
	w := p.registerInstance(rc.url("/"), "create-ticket")
	from := time.Now()
	p.must(http.StatusAccepted, "POST", w.path()+"/ping", "")
	ping := rc.next()
	ping.check(t, w.secret)
	events := ping.events(t)
	if len(events) != 1 || ping.header.Get("X-Hook-Ping") != "1" {
		t.Fatalf("got %v: %s", ping.header, ping.body)
	}
	createdAt := between(ping.body, `"created_at":"`, `"`)
	if at, err := time.Parse("20060102150405", createdAt); err != nil || at.Sub(from).Abs() > time.Minute {
		t.Errorf("created_at is %q", createdAt)
	}
	if id, err := base64.StdEncoding.DecodeString(events[0].ID); err != nil || len(id) != 16 {
		t.Errorf("id is %q", events[0].ID)
	}
	if want := fmt.Sprintf(`{"events":[{"id":%q,"action":"ping","created_at":%q,"project":"acme"}]}`, events[0].ID, createdAt); ping.body != want {
		t.Errorf("got %s, want %s", ping.body, want)
	}
	p.settled(w, "delivered")

	rc.answer(statuses(500, 200))
	p.ticket()
	first := rc.next()
	var d delivery
	eventually(t, "a failed attempt", func() bool {
		list, _ := p.page(w, "")
		d = list[0]
		return d.State == "pending" && len(d.Attempts) == 1
	})
	if first.id() != d.ID || first.body != `{"events":[`+string(d.Event)+`]}` {
		t.Errorf("%s came as %s: %s, and is listed as %s", d.ID, first.id(), first.body, d.Event)
	}
	p.call("POST", "/v1/webhooks/"+w.UUID+"/deliveries/"+d.ID+"/redeliver", "").checkError(t, 404, "")
	p.must(http.StatusAccepted, "POST", w.path()+"/deliveries/"+d.ID+"/redeliver", "")
	again := rc.next()
	again.check(t, w.secret)
	if again.id() != first.id() || again.body != first.body || again.attempt() != 2 {
		t.Errorf("sent again as attempt %d of %s: %s", again.attempt(), again.id(), again.body)
	}
	p.settled(w, "delivered")
}
