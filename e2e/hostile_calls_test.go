package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestHostileRegistrations tries what a body may do to those who read it. None of them reaches a receiver.
func TestHostileRegistrations(t *testing.T) {
	t.Parallel()
	const form, text = "application/x-www-form-urlencoded", "application/json"
	const unreadable, notJSON, control = "the body is not UTF-8", "the body is not valid JSON", "url must not hold spaces or control characters"
	const ascii = "secret must be visible ASCII characters, with spaces inside at most"
	up, tr := newUpstream(t), newTrap(t)
	p := site(t, up, config{})
	target := fmt.Sprintf("https://127.0.0.1:%d/", tr.port)
	body := func(field, raw string) string { // raw is JSON
		fields := map[string]string{"item": `"queue"`, "url": `"` + target + `"`, "secret": `"s"`}
		fields[field] = raw
		return fmt.Sprintf(`{"item":%s,"url":%s,"secret":%s}`, fields["item"], fields["url"], fields["secret"])
	}
	long := "https://127.0.0.1/" + strings.Repeat("x", 2049-len("https://127.0.0.1/"))
	tried := 0
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		field, message          string
	}{
		{"url of 2,049 bytes", text, body("url", `"`+long+`"`), 422, "url", "url may be 2048 bytes long at most"},
		{"url that is too long once escaped", text, body("url", `"https://127.0.0.1/`+strings.Repeat("ä", 900)+`"`), 422, "url", "url may be 2048 bytes long at most"},
		{"NUL in the url", text, body("url", `"`+target+`\u0000"`), 422, "url", control},
		{"raw NUL", text, body("url", "\"\x00\""), 400, "", notJSON},
		{"NUL in a form", form, "item=queue&secret=s&url=" + url.QueryEscape(target) + "%00", 422, "url", control},
		{"line end in the url", text, body("url", `"`+target+`\r\nX-Evil: 1"`), 422, "url", control},
		{"line end in a form's url", form, "item=queue&secret=s&url=" + url.QueryEscape(target) + "%0d%0aX-Evil:+1", 422, "url", control},
		{"tab in the url", text, body("url", `"`+target+`\t"`), 422, "url", control},
		{"line separator in the url", text, body("url", `"`+target+`\u2028"`), 422, "url", control},
		{"lone surrogate in the url", text, body("url", `"`+target+`\ud800"`), 422, "url", "url holds a character that could not be read (U+FFFD)"},
		{"user and password", text, body("url", `"https://me:pw@127.0.0.1/"`), 422, "url", "url must not hold a user name or password"},
		{"empty user", text, body("url", `"https://@127.0.0.1/"`), 422, "url", "url must not hold a user name or password"},
		{"fragment", text, body("url", `"`+target+`#x"`), 422, "url", "url must not hold a fragment"},
		{"empty fragment", text, body("url", `"`+target+`#"`), 422, "url", "url must not hold a fragment"},
		{"port 0", text, body("url", `"https://127.0.0.1:0/"`), 422, "url", "url must have a port from 1 to 65535"},
		{"port 65536", text, body("url", `"https://127.0.0.1:65536/"`), 422, "url", "url must have a port from 1 to 65535"},
		{"port of letters", text, body("url", `"https://127.0.0.1:https/"`), 422, "url", "url is not a valid URL"},
		{"other scheme", text, body("url", `"gopher://127.0.0.1/"`), 422, "url", "url must use https"},
		{"script", text, body("url", `"javascript:alert(1)"`), 422, "url", "url must use https"},
		{"line end in the secret", text, body("secret", `"a\r\nX-Evil: 1"`), 422, "secret", ascii},
		{"line end in a form's secret", form, "item=queue&url=" + url.QueryEscape(target) + "&secret=a%0d%0aX-Evil:+1", 422, "secret", ascii},
		{"bare CR in the secret", text, body("secret", `"a\rb"`), 422, "secret", ascii},
		{"NUL in the secret", text, body("secret", `"a\u0000b"`), 422, "secret", ascii},
		{"tab in the secret", text, body("secret", `"a\tb"`), 422, "secret", ascii},
		{"DEL in the secret", text, body("secret", `"a\u007fb"`), 422, "secret", ascii},
		{"emoji in the secret", text, body("secret", `"\ud83d\ude00"`), 422, "secret", ascii},
		{"secret of 513", text, body("secret", `"`+strings.Repeat("s", 513)+`"`), 422, "secret", "secret may be 512 characters long at most"},
		{"secret of spaces", text, body("secret", `"   "`), 422, "secret", "secret must not begin or end with a space"},
		{"invalid UTF-8", text, body("secret", "\"\xff\""), 400, "", unreadable},
		{"overlong UTF-8", text, body("secret", "\"\xc0\x80\""), 400, "", unreadable},
		{"UTF-16", text, "\xff\xfe{\x00}\x00", 400, "", unreadable},
		{"invalid UTF-8 in a form", form, "secret=%ff", 400, "", "secret is not UTF-8"},
		{"key twice", text, `{"item":"queue","url":"` + target + `","secret":"a","secret":"b"}`, 400, "secret", "secret is given twice"},
		{"key twice, escaped", text, `{"secret":"a","\u0073ecret":"b"}`, 400, "secret", "secret is given twice"},
		{"key in capitals", text, `{"Item":"queue"}`, 422, "Item", `unknown field "Item"; allowed are item, url, secret`},
		{"__proto__", text, `{"__proto__":{}}`, 422, "__proto__", `unknown field "__proto__"; allowed are item, url, secret`},
		{"deep list", text, body("item", strings.Repeat("[", 30_000)+strings.Repeat("]", 30_000)), 422, "item", "item must be a string"},
		{"deep object", text, body("item", strings.Repeat(`{"a":`, 10_000)), 422, "item", "item must be a string"},
		{"number", text, body("item", "1e999999"), 422, "item", "item must be a string"},
		{"long number", text, body("item", strings.Repeat("9", 60_000)), 422, "item", "item must be a string"},
		{"a thousand keys", text, "{" + strings.Repeat(`"x":1,`, 1000) + `"y":1}`, 422, "x", `unknown field "x"; allowed are item, url, secret`},
		{"long key", text, `{"` + strings.Repeat("k", 60_000) + `":1}`, 422, strings.Repeat("k", 64), `unknown field "` + strings.Repeat("k", 64) + `"; allowed are item, url, secret`},
		{"two objects", text, body("item", `"queue"`) + `{}`, 400, "", "something follows the JSON object"},
		{"comment", text, "{/**/}", 400, "", notJSON},
		{"byte order mark", text, "\ufeff{}", 400, "", "the body must be a JSON object"},
		{"events for item", text, `{"events":["answer"]}`, 422, "events", "webhooks with events are registered at /webhooks/app; allowed are item, url, secret"},
		{"too long", text, strings.Repeat(" ", 64<<10+1), 413, "", "the body may be 64 KiB long at most"},
		{"a thousand form fields", form, strings.Repeat("item=queue&", 1000), 400, "item", "item is given twice"},
		{"semicolon in a form", form, "item=queue;secret=s", 400, "", "the body is not valid application/x-www-form-urlencoded"},
		{"no type", "", body("item", `"queue"`), 415, "", wrongType},
		{"XML", "text/xml", "<a/>", 415, "", wrongType},
		{"two types", "application/json, text/plain", body("item", `"queue"`), 415, "", wrongType},
		{"nearly JSON", "application/jsonp", body("item", `"queue"`), 415, "", wrongType},
		{"broken parameter", "application/json; charset", body("item", `"queue"`), 415, "", wrongType},
	} {
		tried++
		t.Run(c.name, func(t *testing.T) {
			got := p.call("POST", "/v1/webhooks", c.body, "Content-Type", c.contentType)
			if message := got.checkError(t, c.status, c.field); message != c.message {
				t.Errorf("%q, want %q", message, c.message)
			}
		})
	}
	got := p.call("POST", "/v1/webhooks", gzipped(body("item", `"queue"`)), "Content-Encoding", "gzip")
	if message := got.checkError(t, http.StatusUnsupportedMediaType, ""); message != "the body must not be compressed" {
		t.Errorf("message %q", message)
	}
	t.Logf("%d bodies", tried+1)
	if n := tr.connections.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
	if list := p.webhooks(); len(list) != 0 {
		t.Errorf("registered all the same: %+v", list)
	}
}

const wrongType = "the Content-Type must be application/json or application/x-www-form-urlencoded"

// TestStrangersLearnNothing compares what callers without a right get, wherever they knock.
func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	for mode, wrong := range map[string][][]string{
		"bearer right-token": {
			nil,
			{"Authorization", "Bearer wrong"},
			{"Authorization", "Bearer right-tokem"},
			{"Authorization", "Bearer right-token2"},
			{"Authorization", "Bearer right-toke"},
			{"Authorization", "Basic right-token"},
			{"Authorization", "Bearer " + strings.Repeat("x", 2<<10)},
			{"Authorization", "Bearer \xff"},
		},
		"user": {nil, {"Authorization", "Bearer right-token"}, {"Authorization", "Basic am86Y29ycmVjdA=="}, {"X-User", "jo"}},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			up, rc := newUpstream(t), newReceiver(t)
			p := site(t, up, config{handler: "authorize off"})
			w := p.register("ticket", rc.url("/"))
			p.ticket()
			id := rc.next().id()
			p.settled(w, "delivered")
			connections := rc.connections.Load()
			p.reload(config{handler: "authorize " + mode})
			var first *answer
			for _, header := range wrong {
				for _, path := range []string{
					"/v1/webhooks", "/webhooks/", "/v1/webhooks/app", w.path(), "/webhooks/" + strings.ToUpper(w.UUID), "/webhooks/00000000-0000-4000-8000-000000000000", "/webhooks/x",
					w.path() + "/deliveries", w.path() + "/deliveries?limit=x", w.path() + "/deliveries/" + id + "/redeliver", w.path() + "/ping", w.path() + "/nothing",
				} {
					for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"} {
						got := p.call(method, path, registration("ticket", rc.url("/"), "s"), header...)
						got.header.Del("Date")
						if method == "HEAD" {
							got.header.Del("Content-Length")
							if got.status != first.status || got.body != "" {
								t.Errorf("HEAD %s: %+v", path, got)
							}
							continue
						}
						if first == nil {
							first = got
						}
						if got.status != first.status || got.body != first.body || fmt.Sprint(got.header) != fmt.Sprint(first.header) {
							t.Errorf("%s %s with %.60q: %+v, want %+v", method, path, header, got, first)
						}
					}
				}
			}
			if first.status != http.StatusUnauthorized && first.status != http.StatusForbidden {
				t.Errorf("status %d", first.status)
			}
			if n := rc.connections.Load() - connections; n != 0 {
				t.Errorf("%d connections to the receiver", n)
			}
			p.reload(config{handler: "authorize off"})
			if now := p.get(w); now.URL != w.URL || now.Status != "active" {
				t.Errorf("the webhook is %+v", now)
			}
		})
	}
}

// TestAnothersWebhookIsLikeNone compares what a tenant gets for the webhook of another and for one that there is not.
func TestAnothersWebhookIsLikeNone(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	w := p.register("ticket", rc.url("/"), "X-Inbenta-Key", "its tenant")
	p.ticket("X-Inbenta-Key", "its tenant")
	id := rc.next().id()
	for _, below := range []string{"", "/deliveries", "/deliveries?limit=1&cursor=" + id, "/deliveries/" + id + "/redeliver", "/ping", "/nothing"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
			const none = "/v1/webhooks/00000000-0000-4000-8000-000000000000"
			got := p.call(method, w.path()+below, `{"item":"queue"}`, "X-Inbenta-Key", "another")
			want := p.call(method, none+below, `{"item":"queue"}`, "X-Inbenta-Key", "another")
			got.checkError(t, http.StatusNotFound, "")
			got.header.Del("Date")
			want.header.Del("Date")
			if got.body != want.body || fmt.Sprint(got.header) != fmt.Sprint(want.header) {
				t.Errorf("%s %s: %s, for one that there is not %s", method, below, got.body, want.body)
			}
		}
	}
	if now := p.get(w, "X-Inbenta-Key", "its tenant"); now.Item != "ticket" {
		t.Errorf("the webhook is %+v", now)
	}
	rc.none()
}

func TestHostsAreShownInPunycode(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	_, port, _ := strings.Cut(rc.address, ":")
	for given, want := range map[string]string{
		"https://１２７.0.0.1:" + port + "/a":  "https://127.0.0.1:" + port + "/a",
		"https://ｌｏｃａｌhost:0" + port + "/ä": "https://localhost:" + port + "/%C3%A4",
		"HTTPS://LOCALHOST:" + port + "/B":  "https://localhost:" + port + "/B",
	} {
		if w := p.register("ticket", given); p.get(w).URL != want {
			t.Errorf("%s is shown as %s, want %s", given, p.get(w).URL, want)
		}
	}
	for given, want := range map[string]string{
		"https://münchen.invalid/": "verifying the url: the receiver's host could not be resolved",
		"https://xn--ü/":           noName,
	} {
		checkRefused(t, p, given, want)
	}
}

// TestVerificationsThatFailAreLimited has a caller knock at a door again and again.
func TestVerificationsThatFailAreLimited(t *testing.T) {
	t.Parallel()
	const burst = 100
	up, tr := newUpstream(t), newTrap(t)
	p := site(t, up, config{})
	refused := 0
	for n := range 3 * burst {
		got := p.call("POST", "/v1/webhooks", registration("ticket", fmt.Sprintf("https://127.0.0.1:%d/%d", tr.port, n), "s"))
		if got.status != http.StatusTooManyRequests {
			got.checkError(t, http.StatusUnprocessableEntity, "url")
			continue
		}
		refused++
		if message := got.checkError(t, http.StatusTooManyRequests, ""); message != "too many verifications failed; try again later" || got.header.Get("Retry-After") == "" {
			t.Errorf("%q, Retry-After %q", message, got.header.Get("Retry-After"))
		}
	}
	if n := int(tr.connections.Load()); n != 3*burst-refused || refused == 0 {
		t.Errorf("%d connections for %d calls, of which %d were refused", n, 3*burst, refused)
	}
	rc := newReceiver(t)
	p.register("ticket", rc.url("/"), "X-Inbenta-Key", "another project")
}

// TestSlowHandshakesOfAllSitesTogetherAreBounded is about receivers that drip, and whom else they hold up.
func TestSlowHandshakesOfAllSitesTogetherAreBounded(t *testing.T) {
	t.Parallel()
	const most, ofProject = 64, 8
	up, slow, quick := newUpstream(t), newReceiver(t), newReceiver(t)
	second := freePort(t)
	p := site(t, up, config{delivery: "timeout 30s", caddyfile: standardCaddyfile + fmt.Sprintf("http://:%d {\n\tbenti_webhooks\n\treverse_proxy UPSTREAM\n}\n", second)})
	urls := []string{p.url, fmt.Sprintf("http://127.0.0.1:%d", second)}
	release := make(chan struct{})
	slow.answerHandshake(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, " ")
		http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		echo(w, r)
	})
	results := make(chan int, most)
	sites := [2]*proxy{p, {t: t, url: urls[1], client: p.client}}
	for n := range most {
		go func() {
			got, err := sites[n%2].do(t.Context(), "POST", "/webhooks", registration("ticket", fmt.Sprint(slow.url("/"), n), "s"), "X-Inbenta-Key", fmt.Sprint(n/ofProject))
			if err != nil {
				results <- 0
				return
			}
			results <- got.status
		}()
	}
	for range most {
		<-slow.handshakes
	}
	for _, s := range sites {
		got := s.call("POST", "/webhooks", registration("ticket", quick.url("/"), "s"), "X-Inbenta-Key", "one more")
		if message := got.checkError(t, http.StatusTooManyRequests, ""); !strings.Contains(message, "in flight") || got.header.Get("Retry-After") != "1" {
			t.Errorf("%q, Retry-After %q", message, got.header.Get("Retry-After"))
		}
		s.must(http.StatusOK, "GET", "/webhooks", "") // nothing else is held up
	}
	if n := quick.connections.Load(); n != 0 {
		t.Errorf("%d connections to a receiver beyond the bound", n)
	}
	close(release)
	for range most {
		if status := <-results; status != http.StatusCreated {
			t.Errorf("status %d", status)
		}
	}
	p.register("ticket", quick.url("/"), "X-Inbenta-Key", "one more")
}
