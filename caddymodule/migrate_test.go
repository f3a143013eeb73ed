package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
	"github.com/bentihooks/bentihooks/store/storetest"
)

func startNATS(t *testing.T) string {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not come up")
	}
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv.ClientURL()
}

// fillStore puts deliveries in the middle of their retries into a new directory: of each ten one is delivered and one dead.
func fillStore(t *testing.T, webhooks, each int) string {
	t.Helper()
	dir := t.TempDir()
	st, err := badger.Open(badger.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for range webhooks {
		w := storetest.Webhook("acme")
		if err := st.CreateWebhook(t.Context(), w, webhooks); err != nil {
			t.Fatal(err)
		}
		ds := make([]store.Delivery, each)
		for i := range ds {
			d := storetest.Delivery(w, storetest.Start.Add(time.Duration(i)*time.Second))
			d.Attempts = []store.Attempt{
				{N: 1, At: d.CreatedAt, Status: 503, Duration: time.Second, Error: "receiver answered 503", Response: []byte("busy")},
				{N: 2, At: d.CreatedAt.Add(time.Minute), Error: "connecting: refused"},
			}
			d.Due, d.Spent = storetest.Start.Add(time.Duration(i%97)*time.Hour), i%2
			d.State = map[int]store.State{8: store.Delivered, 9: store.Dead}[i%10]
			if d.State == "" {
				d.State = store.Pending
			}
			ds[i] = d
		}
		for len(ds) > 0 {
			n := min(len(ds), 500)
			if err := st.Import(t.Context(), ds[:n]...); err != nil {
				t.Fatal(err)
			}
			ds = ds[n:]
		}
	}
	return dir
}

func TestMigrationThereAndBackKeepsEverything(t *testing.T) {
	webhooks, each := 20, 5000
	if testing.Short() {
		webhooks, each = 4, 50
	}
	first := fillStore(t, webhooks, each)
	there := "nats:" + startNATS(t) + "?replicas=1&prefix=moved"
	second := t.TempDir()

	// The first try is cut off in the middle.
	ctx, cancel := context.WithCancel(t.Context())
	source, err := openNamed("badger:" + first)
	if err != nil {
		t.Fatal(err)
	}
	target, err := openNamed(there)
	if err != nil {
		t.Fatal(err)
	}
	_, err = migrate(ctx, source, target, func(m migrated) {
		if m.Deliveries > m.Total/2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	source.Close()
	target.Close()
	for _, step := range [][2]string{{"badger:" + first, there}, {there, "badger:" + second}, {there, "badger:" + second}} {
		var out bytes.Buffer
		begun := time.Now()
		if err := runMigrate(t.Context(), &out, step[0], step[1]); err != nil {
			t.Fatal(err)
		}
		all := webhooks * each
		want := fmt.Sprintf("Copied %d webhooks and %d deliveries. The store now holds %d pending, %d delivered and %d dead.\n",
			webhooks, all, all*8/10, all/10, all/10)
		if !strings.HasSuffix(out.String(), want) {
			t.Errorf("it says %q, want %q", out.String(), want)
		}
		t.Logf("%d deliveries in %s", all, time.Since(begun).Round(time.Millisecond))
	}
	compareStores(t, first, second)
}

func compareStores(t *testing.T, first, second string) {
	t.Helper()
	a, err := badger.Open(badger.Options{Dir: first})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := badger.Open(badger.Options{Dir: second})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, w := range a.Directory().All() {
		if got := b.Directory().Get(w.ID); !reflect.DeepEqual(got, w) {
			t.Fatalf("webhook is %+v, want %+v", got, w)
		}
		want, err := a.List(t.Context(), w.ID, "", 1_000_000)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.List(t.Context(), w.ID, "", 1_000_000)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("deliveries of webhook %s are not the same", w.ID)
		}
		for _, s := range []store.Store{a, b} { // and what is due when
			due, ok, err := s.NextDue(t.Context(), w.ID)
			if err != nil || !ok || !due.Equal(storetest.Start) {
				t.Errorf("the next is due at %v, %v, %v", due, ok, err)
			}
		}
	}
}

func TestMigrationRefusesWhatIsNoStore(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"redis:x", "badger:/tmp/x", `there is no store "redis"; allowed are badger:/path and nats:nats://host:4222`},
		{"badger:", "badger:/tmp/x", "badger needs a path"},
		{"badger:/tmp/x", "badger:/tmp/x", "the same store"},
		{"nats:http://a", "badger:/tmp/x", "allowed schemes are nats, tls, ws, wss"},
		{"nats:nats://a?stream=x", "badger:/tmp/x", `unrecognized setting "stream"; allowed are ca, cert, creds`},
		{"nats:nats://a?replicas=many", "badger:/tmp/x", `replicas must be from 1 to 5, not "many"`},
	} {
		if err := runMigrate(t.Context(), new(bytes.Buffer), c.from, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: error is %v, want it to say %q", c.from, c.to, err, c.want)
		}
	}
}
