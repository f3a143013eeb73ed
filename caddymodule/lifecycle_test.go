package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
)

// scene is a Caddy in this process, before an API that answers each POST with 201.
type scene struct {
	t    testing.TB
	dir  string
	site string
	api  *httptest.Server
	hold chan struct{} // an answer to /tickets waits for it, unless nil
	held chan struct{} // gets an element for each answer that waits
}

func newScene(t testing.TB) *scene {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, dir: filepath.Join(t.TempDir(), "data"), site: fmt.Sprintf("http://localhost:%d", port), held: make(chan struct{}, 1)}
	s.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.hold != nil && strings.HasPrefix(r.URL.Path, "/tickets") {
			s.held <- struct{}{}
			<-s.hold
		}
		w.Header().Set("Connection", "close") // the proxy's idle connections would count as goroutines
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":7}`)
	}))
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
		s.api.Close()
	})
	return s
}

// caddyfile is a configuration with the given settings of benti and lines of the site.
func (s *scene) caddyfile(benti, site string) string {
	return fmt.Sprintf("{\n\tadmin off\n\tgrace_period 5s\n\tlog {\n\t\tlevel ERROR\n\t}\n\tbenti {\n\t\tstore badger %s\n\t\t%s\n\t}\n}\n%s {\n\t%s\n\treverse_proxy %s\n}\n",
		s.dir, benti, s.site, site, s.api.URL)
}

func (s *scene) load(caddyfile string) error {
	config, err := adapt(caddyfile)
	if err != nil {
		return err
	}
	return caddy.Load([]byte(strings.Replace(string(config), `"disabled":true`, `"disabled":true,"config":{"persist":false}`, 1)), true)
}

func (s *scene) mustLoad(caddyfile string) {
	s.t.Helper()
	if err := s.load(caddyfile); err != nil {
		s.t.Fatal(err)
	}
}

// post creates a ticket. While a configuration takes over from another, Caddy may close a connection that
// no request was read from yet, also without us, so that counts as not posted.
func (s *scene) post() int {
	s.t.Helper()
	for {
		request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.site+"/tickets", strings.NewReader(`{}`))
		if err != nil {
			s.t.Fatal(err)
		}
		request.Close = true
		response, err := http.DefaultClient.Do(request)
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			continue
		}
		if err != nil {
			s.t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			s.t.Fatal(err)
		}
		return response.StatusCode
	}
}

func (s *scene) identity() string { return "badger:" + s.dir }

// engine returns the open store's.
func (s *scene) engine() *engine {
	s.t.Helper()
	var e *engine
	cores.Range(func(key, value any) bool {
		if key == s.identity() {
			e = value.(*core).opened.Load()
		}
		return e == nil
	})
	if e == nil {
		s.t.Fatal("the store is not open")
	}
	return e
}

// subscribe adds a webhook whose receiver does not answer.
func (s *scene) subscribe(item string) store.Webhook {
	s.t.Helper()
	now := time.Now()
	w := store.Webhook{
		ID: uuid.NewString(), Project: defaultProject, Item: item, URL: "https://receiver.invalid/", Secret: "x",
		Status: store.Active, CreatedAt: now, UpdatedAt: now,
	}
	if err := s.engine().store.CreateWebhook(s.t.Context(), w, maxWebhooks); err != nil {
		s.t.Fatal(err)
	}
	return w
}

func (s *scene) enqueued() uint64 {
	s.t.Helper()
	counts, err := s.engine().store.Counts(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return counts.Enqueued
}

func (s *scene) open() bool {
	_, ok := cores.References(s.identity())
	return ok
}

func TestReloadHandsTheStoreOver(t *testing.T) {
	s := newScene(t)
	s.mustLoad(s.caddyfile("", "benti_webhooks"))
	s.subscribe("ticket")
	first := s.engine()
	var goroutines int
	for i := range 40 {
		s.mustLoad(s.caddyfile(fmt.Sprintf("retention %dh", i+1), "benti_webhooks"))
		if s.post() != http.StatusCreated {
			t.Fatal("call failed")
		}
		if s.engine() != first {
			t.Fatal("the store was opened anew")
		}
		if i == 5 {
			goroutines = settledGoroutines()
		}
	}
	if n := s.enqueued(); n != 40 {
		t.Errorf("%d events of 40", n)
	}
	if after := settledGoroutines(); after > goroutines+5 {
		t.Errorf("%d goroutines after 40 reloads, %d after 5", after, goroutines)
	}
}

// settledGoroutines is the number of goroutines when it has stopped falling.
func settledGoroutines() int {
	n := runtime.NumGoroutine()
	for range 20 {
		time.Sleep(50 * time.Millisecond) // what ends inside the runtime and Caddy cannot be waited for
		now := runtime.NumGoroutine()
		if now >= n {
			return n
		}
		n = now
	}
	return n
}

func TestRequestInFlightKeepsTheStoreOpenWhenTheDirectiveIsRemoved(t *testing.T) {
	s := newScene(t)
	s.hold = make(chan struct{})
	s.mustLoad(s.caddyfile("", "benti_webhooks"))
	w := s.subscribe("ticket")
	status := make(chan int)
	go func() { status <- s.post() }()
	<-s.held
	s.mustLoad(strings.Replace(s.caddyfile("", ""), "\tbenti {\n\t\tstore badger "+s.dir+"\n\t\t\n\t}\n", "", 1))
	if !s.open() {
		t.Fatal("the store was closed under the request")
	}
	close(s.hold)
	if got := <-status; got != http.StatusCreated {
		t.Errorf("status %d", got)
	}
	// The last reference is given back after the answer has left.
	for s.open() {
		runtime.Gosched()
	}
	s.hold = nil
	s.mustLoad(s.caddyfile("", "benti_webhooks"))
	deliveries, err := s.engine().store.List(t.Context(), w.ID, "", 10)
	if err != nil || len(deliveries) != 1 {
		t.Errorf("deliveries after the directive came back: %v, %v", deliveries, err)
	}
}

func TestFailedReloadLeavesTheOldSettingsInForce(t *testing.T) {
	s := newScene(t)
	s.mustLoad(s.caddyfile("retention 1h", "benti_webhooks"))
	s.subscribe("ticket")
	// The second site cannot listen: what it asks for is taken by the API.
	bad := s.caddyfile("retention 2h", "benti_webhooks") + strings.Replace(s.api.URL, "127.0.0.1", "localhost", 1) + " {\n\tbind 127.0.0.1\n\trespond ok\n}\n"
	if err := s.load(bad); err == nil {
		t.Fatal("the reload succeeded")
	}
	if s.post() != http.StatusCreated || s.enqueued() != 1 {
		t.Error("no event after a failed reload")
	}
	cores.Range(func(_, value any) bool {
		if got := time.Duration(value.(*core).settings.Load().Retention); got != time.Hour {
			t.Errorf("retention %s rules, not that of the running configuration", got)
		}
		return true
	})
}

func TestStoreMovesToAnotherDirectoryOnReload(t *testing.T) {
	s := newScene(t)
	s.mustLoad(s.caddyfile("", "benti_webhooks"))
	old := s.identity()
	s.dir += "2"
	s.mustLoad(s.caddyfile("", "benti_webhooks"))
	if _, open := cores.References(old); open {
		t.Error("the former store is still open")
	}
	s.subscribe("ticket")
	if s.post() != http.StatusCreated || s.enqueued() != 1 {
		t.Error("no event in the new store")
	}
}

func TestValidateDoesNotTouchTheDirectory(t *testing.T) {
	s := newScene(t)
	caddyfile := s.caddyfile("", "benti_webhooks")
	validate := func() error {
		config, err := adapt(caddyfile)
		if err != nil {
			return err
		}
		var c caddy.Config
		if err := caddy.StrictUnmarshalJSON(config, &c); err != nil {
			return err
		}
		return caddy.Validate(&c)
	}
	if err := validate(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("validating made the directory: %v", err)
	}
	s.mustLoad(caddyfile)
	if err := validate(); err != nil {
		t.Errorf("beside a running server: %v", err)
	}
}

func TestTrafficGoesOnWithoutAStoreAndEventsFollowWhenItOpens(t *testing.T) {
	s := newScene(t)
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o700); err != nil {
		t.Fatal(err)
	}
	// A file stands where the directory should be.
	if err := os.WriteFile(s.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.mustLoad(s.caddyfile("", "benti_webhooks"))
	if s.post() != http.StatusCreated {
		t.Error("call failed")
	}
	s.mustLoad(s.caddyfile("", "benti_webhooks {\n\t\ton_store_failure reject\n\t}"))
	if got := s.post(); got != http.StatusServiceUnavailable {
		t.Errorf("status %d with on_store_failure reject", got)
	}
	if err := os.Remove(s.dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for s.post() != http.StatusCreated {
		if ctx.Err() != nil {
			t.Fatal("the store did not open by itself")
		}
	}
}
