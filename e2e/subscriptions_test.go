package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestLifeOfAWebhook(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded"} {
		t.Run(contentType, func(t *testing.T) {
			t.Parallel()
			encode := func(fields ...string) string {
				var pairs []string
				form := make(url.Values)
				for i := 0; i < len(fields); i += 2 {
					pairs = append(pairs, fmt.Sprintf("%q:%q", fields[i], fields[i+1]))
					form.Set(fields[i], fields[i+1])
				}
				if contentType == "application/json" {
					return "{" + strings.Join(pairs, ",") + "}"
				}
				return form.Encode()
			}
			up, rc, moved := newUpstream(t), newReceiver(t), newReceiver(t)
			p := site(t, up, config{})
			var answers []*answer
			call := func(status int, method, path, body string) *answer {
				t.Helper()
				got := p.must(status, method, path, body, "Content-Type", contentType)
				if got.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s: Cache-Control %q", method, path, got.header.Get("Cache-Control"))
				}
				answers = append(answers, got)
				return got
			}
			if got := call(200, "GET", "/v1/webhooks", ""); strings.TrimSpace(got.body) != `{"data":[]}` {
				t.Errorf("at first the list is %s", got.body)
			}

			secret := p.newSecret()
			before := time.Now()
			created := call(201, "POST", "/v1/webhooks", encode("item", "ticket", "url", rc.url("/a?b=c"), "secret", secret))
			w := &webhook{secret: secret}
			created.decode(t, w)
			if !uuidForm.MatchString(w.UUID) || created.header.Get("Location") != w.path() || strings.TrimSpace(created.body) != `{"uuid":"`+w.UUID+`"}` {
				t.Errorf("created: %s, Location %q", created.body, created.header.Get("Location"))
			}
			call(200, "GET", w.path(), "").decode(t, w)
			if w.Item != "ticket" || w.URL != rc.url("/a?b=c") || w.Status != "active" || !w.CreatedAt.Equal(w.UpdatedAt) || w.CreatedAt.Before(before.Add(-time.Second)) {
				t.Errorf("it is %+v", w)
			}
			second := &webhook{secret: p.newSecret()}
			call(201, "POST", "/webhooks/", encode("item", "queue", "url", rc.url("/a?b=c"), "secret", second.secret)).decode(t, second)
			if list := p.webhooks(); len(list) != 2 || list[0].UUID != w.UUID || list[1].UUID != second.UUID {
				t.Errorf("the list is %+v", list)
			}
			call(200, "GET", "/v3"+w.path()[3:]+"/", "") // any version, and a slash

			// A new item alone needs no verification.
			handshakes := len(rc.handshakes)
			call(200, "PUT", w.path(), encode("item", "user"))
			if len(rc.handshakes) != handshakes {
				t.Error("a new item was verified")
			}
			p.ticket()
			p.must(201, "POST", "/users", `{}`)
			if got := rc.next(); !strings.Contains(got.body, `"item":"user"`) {
				t.Errorf("got %s", got.body)
			}

			// A new secret is, and for a while both sign.
			former := w.secret
			w.secret = p.newSecret()
			call(200, "PUT", w.path(), encode("secret", w.secret))
			if len(rc.handshakes) != handshakes+1 {
				t.Error("a new secret was not verified")
			}
			p.must(201, "POST", "/users", `{}`)
			got := rc.next()
			signed := signature(got.id(), got.header.Get("Webhook-Timestamp"), got.body, w.secret, former)
			if got.header.Get("X-Hook-Signature") != w.secret || got.header.Get("Webhook-Signature") != signed {
				t.Errorf("after a new secret: %v", got.header)
			}

			// A new origin needs a secret, and a verification that fails changes nothing.
			p.call("PUT", w.path(), encode("url", moved.url("/")), "Content-Type", contentType).checkError(t, 422, "secret")
			moved.answerHandshake(func(http.ResponseWriter, *http.Request) {})
			p.call("PUT", w.path(), encode("url", moved.url("/"), "secret", p.newSecret()), "Content-Type", contentType).checkError(t, 422, "url")
			if now := p.get(w); now.URL != rc.url("/a?b=c") || now.Item != "user" {
				t.Errorf("a failed verification changed it: %+v", now)
			}
			p.must(201, "POST", "/users", `{}`)
			if got := rc.next(); got.header.Get("X-Hook-Signature") != w.secret {
				t.Error("a failed verification changed the secret")
			}
			moved.answerHandshake(nil)
			w.secret = p.newSecret()
			call(200, "PUT", w.path(), encode("url", moved.url("/x"), "secret", w.secret))
			p.must(201, "POST", "/users", `{}`)
			got = moved.next()
			got.check(t, w.secret) // and not signed with the former host's secret
			call(200, "PUT", w.path(), encode("url", moved.url("/y")))

			call(204, "DELETE", w.path(), "")
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				p.call(method, w.path(), "").checkError(t, 404, "")
			}
			p.must(201, "POST", "/users", `{}`)
			p.must(201, "POST", "/queues", `{}`)
			if got := rc.next(); !strings.Contains(got.body, `"item":"queue"`) {
				t.Errorf("got %s", got.body)
			}
			moved.none()

			for _, a := range answers {
				for _, secret := range p.secrets {
					if strings.Contains(a.body+fmt.Sprint(a.header), secret) || strings.Contains(a.body, url.QueryEscape(secret)) {
						t.Errorf("a secret is in an answer: %s", a.body)
					}
				}
			}
			for _, c := range up.seen() {
				if strings.Contains(c.uri, "webhooks") {
					t.Errorf("the API got %s %s", c.method, c.uri)
				}
			}
		})
	}
}

// What was pending is dropped with the webhook.
func TestNothingIsSentToADeletedWebhook(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 300ms"})
	w := p.register("ticket", rc.url("/"))
	other := p.register("queue", rc.url("/"))
	rc.answer(statuses(500))
	p.ticket()
	rc.next()
	p.must(http.StatusNoContent, http.MethodDelete, w.path(), "")
	// A later retry of the same wait comes after the one that must not come.
	p.must(http.StatusCreated, http.MethodPost, "/queues", `{}`)
	p.settled(other, "dead")
	for range 2 {
		if got := rc.next(); !strings.Contains(got.body, `"item":"queue"`) {
			t.Errorf("got %s after the webhook was deleted", got.body)
		}
	}
}

func TestErrorsOfTheSubscriptionAPI(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	w := p.register("ticket", rc.url("/taken"))
	other := p.register("ticket", rc.url("/other"))
	valid := registration("queue", rc.url("/"), "s")
	const form, noID = "application/x-www-form-urlencoded", "00000000-0000-4000-8000-000000000000"
	with := func(item, url, secret string) string { return registration(item, url, secret) }
	for _, c := range []struct {
		name, method, path, contentType, body string
		status                                int
		field                                 string
	}{
		{"no JSON", "POST", "/webhooks", "", `{"item":`, 400, ""},
		{"empty", "POST", "/webhooks", "application/json", ``, 400, ""},
		{"no object", "POST", "/webhooks", "", `["ticket"]`, 400, ""},
		{"text behind the object", "POST", "/webhooks", "", valid + "x", 400, ""},
		{"not UTF-8", "POST", "/webhooks", "", "{\"item\":\"\xff\"}", 400, ""},
		{"field twice", "POST", "/webhooks", "", `{"item":"queue","item":"ticket"}`, 400, "item"},
		{"field twice in a form", "POST", "/webhooks", form, `item=queue&item=ticket`, 400, "item"},
		{"broken form", "POST", "/webhooks", form, `item=%zz`, 400, ""},
		{"unknown field", "POST", "/webhooks", "", `{"itme":"queue"}`, 422, "itme"},
		{"nested", "POST", "/webhooks", "", `{"item":{"a":1}}`, 422, "item"},
		{"null", "POST", "/webhooks", "", `{"item":"queue","url":null,"secret":"s"}`, 422, "url"},
		{"deep", "POST", "/webhooks", "", strings.Repeat(`[`, 30_000), 400, ""},
		{"no item", "POST", "/webhooks", "", `{"url":"https://example.com","secret":"s"}`, 422, "item"},
		{"no url", "POST", "/webhooks", "", `{"item":"queue","secret":"s"}`, 422, "url"},
		{"no secret", "POST", "/webhooks", "", `{"item":"queue","url":"https://example.com"}`, 422, "secret"},
		{"unknown item", "POST", "/webhooks", "", with("tickets", rc.url("/"), "s"), 422, "item"},
		{"http", "POST", "/webhooks", "", with("queue", "http://example.com/", "s"), 422, "url"},
		{"relative", "POST", "/webhooks", "", with("queue", "/hook", "s"), 422, "url"},
		{"no host", "POST", "/webhooks", "", with("queue", "https:///hook", "s"), 422, "url"},
		{"opaque", "POST", "/webhooks", "", with("queue", "https:example.com", "s"), 422, "url"},
		{"user in the url", "POST", "/webhooks", "", with("queue", "https://me:pw@example.com/", "s"), 422, "url"},
		{"empty user in the url", "POST", "/webhooks", "", with("queue", "https://@example.com/", "s"), 422, "url"},
		{"fragment", "POST", "/webhooks", "", with("queue", "https://example.com/#", "s"), 422, "url"},
		{"space in the url", "POST", "/webhooks", "", with("queue", "https://example.com/ x", "s"), 422, "url"},
		{"line end in the url", "POST", "/webhooks", "", with("queue", "https://example.com/\r\nX: y", "s"), 422, "url"},
		{"port", "POST", "/webhooks", "", with("queue", "https://example.com:99999/", "s"), 422, "url"},
		{"long url", "POST", "/webhooks", "", with("queue", "https://example.com/"+strings.Repeat("x", 2048), "s"), 422, "url"},
		{"empty secret", "POST", "/webhooks", "", with("queue", rc.url("/"), ""), 422, "secret"},
		{"long secret", "POST", "/webhooks", "", with("queue", rc.url("/"), strings.Repeat("s", 513)), 422, "secret"},
		{"secret with a line end", "POST", "/webhooks", "", `{"item":"queue","url":"https://example.com","secret":"a\r\nX: y"}`, 422, "secret"},
		{"secret with an umlaut", "POST", "/webhooks", "", with("queue", rc.url("/"), "schlüssel"), 422, "secret"},
		{"secret that ends in a space", "POST", "/webhooks", "", with("queue", rc.url("/"), "s "), 422, "secret"},
		{"same again", "POST", "/webhooks", "", with("ticket", rc.url("/taken"), "s"), 409, "url"},
		{"change to the same", "PUT", other.path(), "", fmt.Sprintf(`{"url":%q}`, rc.url("/taken")), 409, "url"},
		{"nothing to change", "PUT", w.path(), "", `{}`, 422, ""},
		{"unknown webhook", "GET", "/webhooks/" + noID, "", ``, 404, ""},
		{"no uuid", "GET", "/webhooks/x", "", ``, 404, ""},
		{"unknown webhook's deliveries", "GET", "/webhooks/" + noID + "/deliveries", "", ``, 404, ""},
		{"unknown delivery", "POST", w.path() + "/deliveries/" + noID + "/redeliver", "", ``, 404, ""},
		{"unknown resource", "GET", w.path() + "/secret", "", ``, 404, ""},
		{"too far down", "POST", w.path() + "/ping/ping", "", ``, 404, ""},
		{"limit 0", "GET", w.path() + "/deliveries?limit=0", "", ``, 400, "limit"},
		{"limit 501", "GET", w.path() + "/deliveries?limit=501", "", ``, 400, "limit"},
		{"limit x", "GET", w.path() + "/deliveries?limit=x", "", ``, 400, "limit"},
		{"cursor x", "GET", w.path() + "/deliveries?cursor=x", "", ``, 400, "cursor"},
		{"large", "POST", "/webhooks", "", `{"secret":"` + strings.Repeat("s", 64<<10) + `"}`, 413, ""},
		{"text", "POST", "/webhooks", "text/plain", valid, 415, ""},
		{"multipart", "POST", "/webhooks", "multipart/form-data; boundary=x", valid, 415, ""},
		{"broken type", "POST", "/webhooks", ";", valid, 415, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.contentType != "" {
				header = []string{"Content-Type", c.contentType}
			}
			p.call(c.method, c.path, c.body, header...).checkError(t, c.status, c.field)
		})
	}
	for _, c := range []struct{ method, path, allow string }{
		{"DELETE", "/v1/webhooks", "GET, HEAD, POST"},
		{"PATCH", w.path(), "GET, HEAD, PUT, DELETE"},
		{"POST", w.path(), "GET, HEAD, PUT, DELETE"},
		{"GET", w.path() + "/ping", "POST"},
		{"POST", w.path() + "/deliveries", "GET, HEAD"},
		{"GET", w.path() + "/deliveries/" + noID + "/redeliver", "POST"},
	} {
		got := p.call(c.method, c.path, "")
		got.checkError(t, http.StatusMethodNotAllowed, "")
		if got.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.path, got.header.Get("Allow"), c.allow)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/webhooks", io.LimitReader(zeros{}, 1<<20)) // of no stated length
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", form)
	response, err := p.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body of no stated length: status %d", response.StatusCode)
	}
	if list := p.webhooks(); len(list) != 2 {
		t.Errorf("the list is now %+v", list)
	}
	p.must(http.StatusCreated, "POST", "/webhooks", with("queue", rc.url("/"), p.secret(strings.Repeat("s ", 255)+"ss")))
}

// zeros is an endless stream of them.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A form can be posted by a page of any site, with the credentials the browser has.
func TestCrossSitePostsOfBrowsersAreRefused(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{handler: "authorize off"})
	w := p.register("ticket", rc.url("/"))
	const form = "application/x-www-form-urlencoded"
	for _, header := range [][]string{
		{"Content-Type", form, "Sec-Fetch-Site", "cross-site"},
		{"Content-Type", form, "Sec-Fetch-Site", "same-site"},
		{"Content-Type", form, "Origin", "https://evil.example"},
		{"Content-Type", form, "Origin", "null"},
	} {
		body := url.Values{"item": {"queue"}, "url": {rc.url("/")}, "secret": {"s"}}.Encode()
		p.call("POST", "/webhooks", body, header...).checkError(t, http.StatusForbidden, "")
		p.call("POST", w.path()+"/ping", "", header...).checkError(t, http.StatusForbidden, "")
		p.call("DELETE", w.path(), "", header...).checkError(t, http.StatusForbidden, "")
	}
	p.must(http.StatusOK, "GET", "/webhooks", "", "Sec-Fetch-Site", "cross-site")
	p.must(http.StatusCreated, "POST", "/webhooks", registration("queue", rc.url("/"), p.newSecret()), "Sec-Fetch-Site", "same-origin")
}

// Of calls that race for the same webhook one wins.
func TestSameWebhookIsRegisteredOnceByRacingCalls(t *testing.T) {
	t.Parallel()
	const callers = 6
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	together := make(chan struct{})
	rc.answerHandshake(func(w http.ResponseWriter, r *http.Request) {
		<-together // so that all have passed the first look for duplicates
		echo(w, r)
	})
	results := make(chan int, callers)
	for range callers {
		body := registration("ticket", rc.url("/"), p.newSecret())
		go func() {
			got, err := p.do(t.Context(), "POST", "/webhooks", body)
			if err != nil {
				results <- 0
				return
			}
			results <- got.status
		}()
	}
	for range callers {
		<-rc.handshakes
	}
	close(together)
	count := make(map[int]int)
	for range callers {
		count[<-results]++
	}
	if count[http.StatusCreated] != 1 || count[http.StatusConflict] != callers-1 {
		t.Errorf("statuses: %v", count)
	}
	if list := p.webhooks(); len(list) != 1 {
		t.Errorf("the list is %+v", list)
	}
}
