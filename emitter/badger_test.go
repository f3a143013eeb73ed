package emitter_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

// TestEverythingArrivesThroughTheRealStore runs the whole way: embedded store, scheduler, TLS, with a receiver
// that fails one request in three, a restart of the emitter in the middle, and nothing may be missing.
func TestEverythingArrivesThroughTheRealStore(t *testing.T) {
	t.Parallel()
	const webhooks, events = 5, 60
	var mu sync.Mutex
	arrived := make(map[string]int)
	requests := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests%3 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		arrived[r.URL.Path+r.Header.Get("X-Hook-Delivery")]++
	}))
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()

	st, err := badger.Open(badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	left := make(chan struct{}, webhooks*events*20)
	e := emitter.New(st, emitter.Config{
		RootCAs:   pool,
		AllowCIDR: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		Retry:     slices.Repeat([]time.Duration{time.Millisecond}, 50),
		Report: func(r emitter.Report) {
			if r.State == store.Delivered {
				left <- struct{}{}
			}
		},
		StoreError: func(err error) { t.Error(err) },
	})
	e.Start()
	for w := range webhooks {
		id := fmt.Sprintf("6f9619ff-8b86-4d01-b42d-00cf4fc964f%d", w)
		hook := store.Webhook{
			ID: id, Project: "p", Item: "ticket", URL: fmt.Sprintf("%s/%s/", srv.URL, id),
			Secret: "secret", Status: store.Active, CreatedAt: time.Now(), UpdatedAt: time.Now(),
		}
		if err := st.CreateWebhook(t.Context(), hook, 1000); err != nil {
			t.Fatal(err)
		}
		for i := range events {
			d := store.Delivery{
				ID: fmt.Sprintf("0198c0de-0000-7000-8000-%06d%06d", w, i), Webhook: id, Project: "p", Item: "ticket", Action: "add",
				Payload: []byte("{}"), State: store.Pending, CreatedAt: time.Now(), Due: time.Now(),
			}
			if err := st.Enqueue(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if w == webhooks/2 {
			if err := e.Stop(context.Background()); err != nil {
				t.Fatal(err)
			}
			e.Start()
		}
	}
	for range webhooks * events {
		select {
		case <-left:
		case <-time.After(time.Minute):
			t.Fatal("not everything arrived within a minute")
		}
	}
	if err := e.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	counts, err := st.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if counts.Delivered != webhooks*events || len(arrived) != webhooks*events {
		t.Errorf("%d deliveries arrived, counts are %+v", len(arrived), counts)
	}
}

// TestEveryInstanceEventArrivesThroughTheRealStore does the same with deliveries that share requests: each event
// arrives once, in far fewer requests, though one request in seven fails.
func TestEveryInstanceEventArrivesThroughTheRealStore(t *testing.T) {
	t.Parallel()
	const id, events = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff", 1200
	var mu sync.Mutex
	arrived := make(map[string]int)
	requests := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Events []struct{ ID string } }
		err := json.NewDecoder(r.Body).Decode(&body)
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests%7 == 0 || err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		for _, event := range body.Events {
			arrived[event.ID]++
		}
	}))
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()

	st, err := badger.Open(badger.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	left, attempts := make(chan struct{}, events), make(chan struct{}, events*20)
	e := emitter.New(st, emitter.Config{
		RootCAs:   pool,
		AllowCIDR: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		Retry:     slices.Repeat([]time.Duration{time.Millisecond}, 50),
		Report: func(r emitter.Report) {
			if r.Place == 0 {
				attempts <- struct{}{}
			}
			if r.State == store.Delivered {
				left <- struct{}{}
			}
		},
		StoreError: func(err error) { t.Error(err) },
	})
	hook := store.Webhook{
		ID: id, Project: "p", Events: []string{"answer"}, URL: srv.URL, Secret: "secret", Status: store.Active,
		CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}
	if err := st.CreateWebhook(t.Context(), hook, 1000); err != nil {
		t.Fatal(err)
	}
	for begin := 0; begin < events; begin += 100 {
		ds := make([]store.Delivery, 100)
		for i := range ds {
			event := fmt.Sprintf("0198c0de-0000-7000-8000-%012d", begin+i)
			ds[i] = store.Delivery{
				ID: event, Webhook: id, Project: "p", Item: "ticket", Action: "answer",
				// Some are longer than what the store keeps in memory.
				Payload: fmt.Appendf(nil, `{"id":%q,"text":%q}`, event, strings.Repeat("x", (begin+i)%10*600)),
				State:   store.Pending, CreatedAt: time.Now(), Due: time.Now(),
			}
		}
		if err := st.Enqueue(t.Context(), ds...); err != nil {
			t.Fatal(err)
		}
	}
	e.Start()
	for range events {
		select {
		case <-left:
		case <-time.After(time.Minute):
			t.Fatal("not everything arrived within a minute")
		}
	}
	if err := e.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	counts, err := st.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if counts.Delivered != events || len(arrived) != events || slices.Max(slices.Collect(maps.Values(arrived))) != 1 {
		t.Errorf("%d events arrived, counts are %+v", len(arrived), counts)
	}
	if requests > events/3 || len(attempts) != requests {
		t.Errorf("%d requests for %d events, %d attempts reported", requests, events, len(attempts))
	}
}
