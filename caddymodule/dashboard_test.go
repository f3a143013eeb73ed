package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/html"

	"github.com/bentihooks/bentihooks/store"
)

// fetched is an answer of the dashboard.
type fetched struct {
	url    *url.URL
	status int
	header http.Header
	body   string
}

// fetch makes a request without following redirects. header holds names and values in turn.
func (s *scene) fetch(method, address, body string, header ...string) fetched {
	s.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = s.site + address
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
		}
		request.Header.Set(header[i], header[i+1])
	}
	request.Close = true
	response, err := http.DefaultTransport.RoundTrip(request)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) { // as in scene.post
		return s.fetch(method, address, body, header...)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return fetched{url: request.URL, status: response.StatusCode, header: response.Header, body: string(text)}
}

// elements calls fn for each element of a page.
func (f *fetched) elements(t testing.TB, fn func(*html.Node)) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(f.body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			fn(n)
		}
	}
}

func attributeOf(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// checkInert fails if a page holds anything that runs or loads what it should not.
func (f *fetched) checkInert(t testing.TB) {
	t.Helper()
	if policy := f.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("%s: Content-Security-Policy %q", f.url, policy)
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin"} {
		if got := f.header.Get(name); got != want {
			t.Errorf("%s: %s is %q", f.url, name, got)
		}
	}
	f.elements(t, func(n *html.Node) {
		if slices.Contains([]string{"style", "iframe", "object", "embed", "base", "img", "meta"}, n.Data) && attributeOf(n, "http-equiv")+attributeOf(n, "src")+n.Data != "meta" {
			t.Errorf("%s: <%s>", f.url, n.Data)
		}
		if n.Data == "script" && (n.FirstChild != nil || !strings.Contains(attributeOf(n, "src"), "assets/app.")) {
			t.Errorf("%s: script %v", f.url, n.Attr)
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("%s: <%s %s=%q>", f.url, n.Data, a.Key, a.Val)
			}
			if slices.Contains([]string{"href", "src", "action", "formaction"}, a.Key) {
				if u, err := url.Parse(a.Val); err != nil || u.IsAbs() || u.Host != "" || strings.HasPrefix(a.Val, "/") {
					t.Errorf("%s: <%s %s=%q> is not relative", f.url, n.Data, a.Key, a.Val)
				}
			}
		}
	})
}

// crawl visits all that can be reached by links from an address, each page once, and returns the paths.
func (s *scene) crawl(from string) map[string]fetched {
	s.t.Helper()
	start, err := url.Parse(s.site + from)
	if err != nil {
		s.t.Fatal(err)
	}
	seen := make(map[string]fetched)
	for queue := []*url.URL{start}; len(queue) > 0; queue = queue[1:] {
		here := *queue[0]
		here.Fragment = ""
		if _, ok := seen[here.RequestURI()]; ok {
			continue
		}
		got := s.fetch(http.MethodGet, here.String(), "")
		seen[here.RequestURI()] = got
		if got.status != http.StatusOK {
			s.t.Errorf("GET %s: status %d", here.RequestURI(), got.status)
		}
		if !strings.HasPrefix(here.EscapedPath(), from) {
			s.t.Errorf("%s leads out of %s", here.RequestURI(), from)
		}
		if !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			continue
		}
		got.checkInert(s.t)
		got.elements(s.t, func(n *html.Node) {
			for _, name := range []string{"href", "src"} {
				if to := attributeOf(n, name); to != "" {
					if next, err := here.Parse(to); err == nil {
						queue = append(queue, next)
					}
				}
			}
		})
	}
	return seen
}

func TestDashboardLinksWorkWhereverItIsMounted(t *testing.T) {
	const settings = "benti_dashboard {\n\tauthorize loopback\n}\n"
	s := newDashboardScene(t, true)
	for from, site := range map[string]string{
		"/hooks/":          openDashboard,
		"/":                settings,
		"/a/b%20c/":        "handle_path \"/a/b c/*\" {\n" + settings + "}",
		"/ops/webhooks/":   "handle_path /ops/webhooks/* {\n" + settings + "}",
		"/not/stripped/":   "handle /not/stripped/* {\n" + settings + "}",
		"/as/a/matcher/":   strings.Replace(settings, "benti_dashboard", "benti_dashboard /as/a/matcher/*", 1),
		"/deliveries/":     "route /deliveries/* {\n" + settings + "}",
		"/twice/stripped/": "handle_path /twice/* {\nhandle_path /stripped/* {\n" + settings + "}\n}",
	} {
		s.mustLoad(s.caddyfile("", site))
		pages := s.crawl(from)
		// At least: the overview twice, three assets, lists, 7 webhooks, deliveries.
		if len(pages) < 60 {
			t.Errorf("%s: %d pages", from, len(pages))
		}
	}
}

func TestDashboardAddsTheSlashThatItsLinksNeed(t *testing.T) {
	s := newDashboardScene(t, false)
	s.mustLoad(s.caddyfile("", "handle_path /x/hooks* {\n\tbenti_dashboard {\n\t\tauthorize loopback\n\t}\n}"))
	got := s.fetch(http.MethodGet, "/x/hooks", "")
	if got.status != http.StatusPermanentRedirect || got.header.Get("Location") != "hooks/" {
		t.Errorf("status %d, Location %q", got.status, got.header.Get("Location"))
	}
	if got := s.fetch(http.MethodGet, "/x/hooks/", ""); got.status != http.StatusOK {
		t.Errorf("status %d", got.status)
	}
}

func TestDashboardServesWhomItShould(t *testing.T) {
	s := newDashboardScene(t, false)
	// Whatever name is asked for.
	s.mustLoad(strings.Replace(s.caddyfile("", `handle_path /user/* {
		benti_dashboard
	}
	handle_path /known/* {
		basic_auth {
			alice $2a$04$DxCkPBwqb75lGpKBnCbVcu90H/SN7gMhF7EFxokAOn.jKrnngyxZO
		}
		benti_dashboard {
			authorize user
		}
	}
	handle_path /loopback/* {
		benti_dashboard {
			authorize loopback
		}
	}
	handle_path /off/* {
		benti_dashboard {
			authorize off
		}
	}`), s.site, strings.Replace(s.site, "localhost", "", 1), 1))
	port := s.site[strings.LastIndexByte(s.site, ':'):]
	for _, c := range []struct {
		name, path string
		header     []string
		want       int
	}{
		{"nobody where a user is needed", "/user/", nil, 403},
		{"a user who only says so", "/user/", []string{"Remote-User", "alice", "Authorization", "Basic YWxpY2U6Ymx1ZQ=="}, 403},
		{"no password", "/known/", nil, 401},
		{"the right password", "/known/", []string{"Authorization", "Basic YWxpY2U6Ymx1ZQ=="}, 200},
		{"this machine", "/loopback/", nil, 200},
		{"this machine by number", "/loopback/", []string{"Host", "127.0.0.1" + port}, 200},
		{"a name that leads here", "/loopback/", []string{"Host", "rebound.example" + port}, 403},
		{"somebody else through a proxy here", "/loopback/", []string{"X-Forwarded-For", "192.0.2.1"}, 403},
		{"anybody", "/off/", []string{"X-Forwarded-For", "192.0.2.1"}, 200},
	} {
		address := strings.Replace(s.site, "localhost", "127.0.0.1", 1) + c.path
		header := c.header
		if !slices.Contains(header, "Host") {
			header = append(header, "Host", "localhost"+port)
		}
		got := s.fetch(http.MethodGet, address, "", header...)
		if got.status != c.want {
			t.Errorf("%s: status %d, want %d", c.name, got.status, c.want)
		}
		if got.status == http.StatusForbidden {
			got.checkInert(t)
			if !strings.Contains(got.body, "Who is there?") || strings.Contains(got.body, "All projects") {
				t.Errorf("%s: %s", c.name, got.body)
			}
		}
	}
	if got := s.fetch(http.MethodPost, "/user/webhooks/"+uuid.NewString()+"/ping", "a=b"); got.status != http.StatusForbidden {
		t.Errorf("an action of nobody: status %d", got.status)
	}
	if got := s.fetch(http.MethodGet, "/user/live", ""); got.status != http.StatusForbidden {
		t.Errorf("an event stream for nobody: status %d", got.status)
	}
}

func TestDashboardShowsHostileContentAsText(t *testing.T) {
	s := newDashboardScene(t, false)
	const hostile = `"'><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}&lt;</title></textarea></svg>` + "\u202e\x00"
	clean := strings.TrimRight(hostile, "\x00")
	now := time.Now()
	w := store.Webhook{
		ID: uuid.NewString(), Project: clean, Item: "ticket", Secret: "never to be shown", Status: store.Active, CreatedAt: now, UpdatedAt: now,
		URL: "https://receiver.invalid/" + clean + "?x=javascript:alert(3)",
	}
	odd := w
	odd.ID, odd.Item, odd.Events, odd.URL = uuid.NewString(), "", []string{"answer", clean}, "javascript:alert(4)//"+clean
	for _, w := range []store.Webhook{w, odd} {
		if err := s.engine().store.CreateWebhook(t.Context(), w, maxWebhooks); err != nil {
			t.Fatal(err)
		}
		d := store.Delivery{
			ID: idAt(now), Webhook: w.ID, Project: w.Project, Item: clean, Action: clean, State: store.Pending, CreatedAt: now, Due: now.Add(time.Hour),
			Payload: []byte(`{"id":"` + strings.ReplaceAll(clean, `"`, `\"`) + `"}` + hostile), TraceContext: clean,
		}
		s.deliver(d, store.Dead, 1)
		claimed := d
		claimed.ID = idAt(now.Add(time.Millisecond))
		if err := s.engine().store.Enqueue(t.Context(), claimed); err != nil {
			t.Fatal(err)
		}
		ds, err := s.engine().store.Claim(t.Context(), w.ID, now.Add(2*time.Hour), 1)
		if err != nil || len(ds) != 1 {
			t.Fatal(ds, err)
		}
		err = s.engine().store.Finish(t.Context(), store.Outcome{
			Delivery: ds[0], State: store.Dead, Attempt: store.Attempt{N: 1, At: now, Error: hostile, Response: []byte(hostile + "\xff\xfe")},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	pages := s.crawl("/hooks/")
	for _, query := range []string{"state", "item", "project", "webhook", "since", "until", "cursor", "done", "n", "q", "status", "page", "span"} {
		for _, path := range []string{"", "webhooks", "deliveries"} {
			got := s.fetch(http.MethodGet, "/hooks/"+path+"?"+url.Values{query: {hostile}}.Encode(), "")
			got.checkInert(t)
			pages[got.url.RequestURI()] = got
		}
	}
	found := 0
	for _, page := range pages {
		if strings.Contains(page.body, w.Secret) {
			t.Errorf("%s: a secret is shown", page.url)
		}
		if strings.Contains(page.body, "&lt;script&gt;alert(1)") {
			found++
		}
	}
	if found < 10 {
		t.Errorf("the content is on %d pages of %d", found, len(pages))
	}
}

func TestDashboardFilesNeverChangeUnderTheirNames(t *testing.T) {
	s := newDashboardScene(t, false)
	page := s.fetch(http.MethodGet, "/hooks/", "")
	total := len(page.body)
	page.elements(t, func(n *html.Node) {
		name := attributeOf(n, "href") + attributeOf(n, "src")
		if !strings.Contains(name, "assets/") {
			return
		}
		to, err := page.url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		got := s.fetch(http.MethodGet, to.String(), "")
		total += len(got.body)
		if got.status != http.StatusOK || !strings.Contains(got.header.Get("Cache-Control"), "immutable") || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: status %d, %v", name, got.status, got.header)
		}
		if old := s.fetch(http.MethodGet, strings.Replace(to.String(), ".", ".0", 1), ""); old.status != http.StatusNotFound {
			t.Errorf("a name of before: status %d", old.status)
		}
	})
	if files, err := filepath.Glob("dashboard/assets/*"); err != nil || len(files) != 3 {
		t.Errorf("%v, %v", files, err)
	}
	if total < 10_000 || total > 200<<10 {
		t.Errorf("the overview and its files are %d bytes", total)
	}
	if got := s.fetch(http.MethodGet, "/hooks/assets/layout.html", ""); got.status != http.StatusNotFound {
		t.Errorf("a template: status %d", got.status)
	}
}

func TestDashboardRefusesWhatItDoesNotKnow(t *testing.T) {
	s := newDashboardScene(t, true)
	w := s.webhooks["0"]
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "nowhere", 404},
		{"GET", "webhooks/" + uuid.NewString(), 404},
		{"GET", "deliveries/" + uuid.NewString(), 404},
		{"GET", "deliveries?state=lost", 400},
		{"GET", "deliveries?webhook=x", 400},
		{"GET", "deliveries?since=yesterday", 400},
		{"GET", "deliveries?cursor=x", 400},
		{"GET", "webhooks?page=-3", 200},
		{"GET", "webhooks?page=x", 200},
		{"POST", "webhooks", 405},
		{"DELETE", "webhooks/" + w.ID, 405},
		{"POST", "live", 405},
		{"GET", "webhooks/" + w.ID + "/disable", 405},
		{"GET", "deliveries/replay", 405},
		{"HEAD", "webhooks/" + w.ID + "/ping", 405},
		{"PUT", "in-doubt/x/acknowledge", 405},
		{"POST", "webhooks/" + w.ID + "/erase", 404},
		{"POST", "in-doubt/x/acknowledge", 404},
		{"POST", "webhooks/" + uuid.NewString() + "/ping", 404},
		{"POST", "deliveries/" + uuid.NewString() + "/replay", 404},
		{"POST", "deliveries/replay", 400},
		{"HEAD", "deliveries", 200},
	} {
		got := s.fetch(c.method, "/hooks/"+c.path, "")
		if got.status != c.want {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, got.status, c.want)
		}
		got.checkInert(t)
		if got.status == http.StatusMethodNotAllowed && got.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
	if got := s.fetch("POST", "/hooks/deliveries/replay", "state=dead&x="+strings.Repeat("x", 1<<20)); got.status != http.StatusBadRequest {
		t.Errorf("a form of a megabyte: status %d", got.status)
	}
}

func TestDashboardTellsThatTheStoreIsNotOpen(t *testing.T) {
	s := newScene(t)
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.dir, nil, 0o600); err != nil { // where the directory should be
		t.Fatal(err)
	}
	s.mustLoad(s.caddyfile("", openDashboard))
	for path, want := range map[string]int{"": 200, "webhooks": 503, "deliveries": 503, "in-doubt": 200, "deliveries/" + uuid.NewString(): 503} {
		got := s.fetch(http.MethodGet, "/hooks/"+path, "")
		if got.status != want || !strings.Contains(got.body, "Store not open") {
			t.Errorf("%s: status %d: %s", path, got.status, got.body)
		}
	}
}

// press does what a button of a page does, and returns the page it leads to.
func (s *scene) press(path, form string) fetched {
	s.t.Helper()
	done := s.fetch(http.MethodPost, "/hooks/"+path, form, "Sec-Fetch-Site", "same-origin")
	if done.status != http.StatusSeeOther {
		s.t.Fatalf("POST %s: status %d: %s", path, done.status, done.body)
	}
	to, err := done.url.Parse(done.header.Get("Location"))
	if err != nil {
		s.t.Fatal(err)
	}
	page := s.fetch(http.MethodGet, to.String(), "")
	if page.status != http.StatusOK || !strings.Contains(page.body, `class="message good"`) {
		s.t.Errorf("POST %s leads to %s: status %d, %s", path, to, page.status, page.body)
	}
	return page
}

func TestDashboardActs(t *testing.T) {
	s := newDashboardScene(t, true)
	st, w := s.engine().store, s.webhooks["0"]
	status := func() store.Status { return st.Directory().Get(w.ID).Status }
	count := func() uint64 {
		counts, err := st.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return counts.Enqueued
	}

	s.press("webhooks/"+w.ID+"/disable", "")
	if status() != store.Disabled {
		t.Errorf("status %s", status())
	}
	if got := s.fetch(http.MethodPost, "/hooks/webhooks/"+w.ID+"/ping", ""); got.status != http.StatusConflict {
		t.Errorf("a ping of a disabled webhook: status %d", got.status)
	}
	s.press("webhooks/"+w.ID+"/enable", "")
	if status() != store.Active {
		t.Errorf("status %s", status())
	}
	gone := s.webhooks["6"].ID
	s.press("webhooks/"+gone+"/enable", "")
	if got := st.Directory().Get(gone).Status; got != store.Active {
		t.Errorf("status of one that was gone: %s", got)
	}
	before := count()
	s.press("webhooks/"+w.ID+"/ping", "")
	if after := count(); after != before+1 {
		t.Errorf("%d deliveries after a ping, %d before", after, before)
	}

	dead := s.ids["dead"]
	s.press("deliveries/"+dead+"/replay", "")
	d, err := s.core().findDelivery(t.Context(), dead)
	if err != nil || d.State == store.Dead && d.Spent == 0 {
		t.Errorf("after a replay: %+v, %v", d, err)
	}
	// The delivered ones of one webhook, and nothing else.
	page := s.press("deliveries/replay", url.Values{"webhook": {s.webhooks["1"].ID}, "state": {"delivered"}}.Encode())
	if !strings.Contains(page.body, "30 deliveries are due now.") {
		t.Error(page.body)
	}
	ds, err := st.List(t.Context(), s.webhooks["1"].ID, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ds {
		if ds[i].State == store.Delivered || ds[i].Spent == 0 {
			t.Errorf("%s is %s, %d spent", ds[i].ID, ds[i].State, ds[i].Spent)
		}
	}
	if page := s.press("deliveries/replay", "project=nobody"); !strings.Contains(page.body, "0 deliveries are due now.") {
		t.Error(page.body)
	}

	entries := s.core().inFlight.inDoubt()
	if len(entries) != 2 {
		t.Fatalf("%d in doubt", len(entries))
	}
	s.press("in-doubt/"+entries[0].ID+"/acknowledge", "")
	if left := s.core().inFlight.inDoubt(); len(left) != 1 || left[0].ID != entries[1].ID {
		t.Errorf("left in doubt: %+v", left)
	}
}

func TestDashboardRefusesOtherSitesForms(t *testing.T) {
	s := newDashboardScene(t, true)
	w := s.webhooks["0"]
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "cross-site", "Origin", s.site},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		for _, path := range []string{"webhooks/" + w.ID + "/disable", "deliveries/" + s.ids["dead"] + "/replay", "deliveries/replay", "in-doubt/x/acknowledge"} {
			if got := s.fetch(http.MethodPost, "/hooks/"+path, "state=dead", header...); got.status != http.StatusForbidden {
				t.Errorf("%v %s: status %d", header, path, got.status)
			}
		}
	}
	if got := s.engine().store.Directory().Get(w.ID).Status; got != store.Active {
		t.Errorf("the webhook is %s", got)
	}
	// The browser tells where a form was posted from, and so do browsers without Sec-Fetch-Site.
	for _, header := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", s.site}, nil} {
		if got := s.fetch(http.MethodPost, "/hooks/webhooks/"+w.ID+"/enable", "", header...); got.status != http.StatusSeeOther {
			t.Errorf("%v: status %d", header, got.status)
		}
	}
}

func BenchmarkDashboardPages(b *testing.B) {
	s := newDashboardScene(b, true)
	for name, path := range map[string]string{"overview": "", "webhooks": "webhooks", "deliveries": "deliveries"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got := s.fetch(http.MethodGet, "/hooks/"+path, ""); got.status != http.StatusOK {
					b.Fatal(got.status)
				}
			}
			b.ReportMetric(float64(len(s.fetch(http.MethodGet, "/hooks/"+path, "").body)), "bytes")
		})
	}
}
