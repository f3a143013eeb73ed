package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/store"
)

func init() {
	caddy.RegisterModule(new(faultyStore))
}

// faultyStore is the badger store with faults that tests switch on.
type faultyStore struct{ BadgerStore }

var (
	faultOnOpen    atomic.Pointer[error]
	faultOnEnqueue atomic.Pointer[error]
	enqueueDelay   atomic.Int64
	pruneHangs     atomic.Bool
	pruneHanging   atomic.Bool
	closeDelay     atomic.Int64
)

func (*faultyStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "benti.stores.faulty", New: func() caddy.Module { return new(faultyStore) }}
}

func (s *faultyStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return s.BadgerStore.UnmarshalCaddyfile(d)
}

func (s *faultyStore) Open(logger *zap.Logger) (store.Store, error) {
	if err := faultOnOpen.Load(); err != nil {
		return nil, *err
	}
	st, err := s.BadgerStore.Open(logger)
	if err != nil {
		return nil, err
	}
	return &faultyEngine{st}, nil
}

type faultyEngine struct{ store.Store }

func (e *faultyEngine) Enqueue(ctx context.Context, deliveries ...store.Delivery) error {
	time.Sleep(time.Duration(enqueueDelay.Load()))
	if err := faultOnEnqueue.Load(); err != nil {
		return *err
	}
	return e.Store.Enqueue(ctx, deliveries...)
}

func (e *faultyEngine) Close() error {
	time.Sleep(time.Duration(closeDelay.Load()))
	return e.Store.Close()
}

// Prune may take as long as it takes to erase millions.
func (e *faultyEngine) Prune(ctx context.Context, before time.Time) (int, error) {
	if pruneHangs.Load() {
		pruneHanging.Store(true)
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return e.Store.Prune(ctx, before)
}

func faultyScene(t *testing.T) *scene {
	t.Helper()
	faultOnOpen.Store(nil)
	faultOnEnqueue.Store(nil)
	enqueueDelay.Store(0)
	pruneHangs.Store(false)
	pruneHanging.Store(false)
	closeDelay.Store(0)
	return newScene(t)
}

func (s *scene) faulty(site string) string {
	return strings.Replace(s.caddyfile("", site), "store badger", "store faulty", 1)
}

func (s *scene) core() *core {
	s.t.Helper()
	var found *core
	cores.Range(func(key, value any) bool {
		if key == s.identity() {
			found = value.(*core)
		}
		return true
	})
	if found == nil {
		s.t.Fatal("no core")
	}
	return found
}

// eventually polls, because what is waited for happens in Caddy's goroutines.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestEventsThatTheStoreRefusesGoToTheReserveAndFollow(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	w := s.subscribe("ticket")
	broken := errors.New("input/output error")
	faultOnEnqueue.Store(&broken)
	for range 300 {
		if got := s.post(); got != http.StatusCreated {
			t.Fatalf("status %d while the store fails", got)
		}
	}
	if inReserve, inMemory := s.core().intake.kept(); inReserve != 300 || inMemory != 0 {
		t.Errorf("%d events in the reserve, %d in memory, of 300", inReserve, inMemory)
	}
	faultOnEnqueue.Store(nil)
	eventually(t, "the store gets the events", func() bool { return s.core().healthy() && s.enqueued() == 300 })
	deliveries, err := s.engine().store.List(t.Context(), w.ID, "", 500)
	if err != nil || len(deliveries) != 300 {
		t.Errorf("%d deliveries, %v", len(deliveries), err)
	}
}

func TestEventsInTheReserveSurviveARestart(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	s.subscribe("ticket")
	broken := errors.New("input/output error")
	faultOnEnqueue.Store(&broken)
	for range 20 {
		s.post()
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	faultOnEnqueue.Store(nil)
	s.mustLoad(s.faulty("benti_webhooks"))
	eventually(t, "the store gets the events of before", func() bool { return s.enqueued() == 20 })
}

func TestSlowStoreDelaysTheAnswerAndNothingElse(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	s.subscribe("ticket")
	enqueueDelay.Store(int64(300 * time.Millisecond))
	begun := time.Now()
	if got := s.post(); got != http.StatusCreated || s.enqueued() != 1 {
		t.Errorf("status %d", got)
	}
	if took := time.Since(begun); took < 300*time.Millisecond {
		t.Errorf("answered after %s, before the event was stored", took)
	}
	s.mustLoad(s.faulty("benti_webhooks {\n\t\tdurability async\n\t}"))
	begun = time.Now()
	if got := s.post(); got != http.StatusCreated {
		t.Errorf("status %d", got)
	}
	if took := time.Since(begun); took > 200*time.Millisecond {
		t.Errorf("answered after %s with durability async", took)
	}
	eventually(t, "the event of async is stored", func() bool { return s.enqueued() == 2 })
}

func TestStoreThatTakesNothingWhileOpenIsOpenedAnew(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	s.subscribe("ticket")
	first := s.engine()
	broken := errors.New("input/output error")
	faultOnEnqueue.Store(&broken)
	s.post()
	eventually(t, "another engine", func() bool { e := s.core().opened.Load(); return e != nil && e != first })
	faultOnEnqueue.Store(nil)
	eventually(t, "the event is stored", func() bool { return s.core().healthy() && s.enqueued() == 1 })
}

func TestStoreThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	s := faultyScene(t)
	broken := errors.New("too many open files")
	faultOnOpen.Store(&broken)
	s.mustLoad(s.faulty("benti_webhooks"))
	if got := s.post(); got != http.StatusCreated {
		t.Errorf("status %d", got)
	}
	if state := s.core().state.Load(); state.Name != stateFailed || !strings.Contains(state.Reason, "too many open files") {
		t.Errorf("state %+v", state)
	}
	if inReserve, _ := s.core().intake.kept(); inReserve != 1 {
		t.Errorf("%d events in the reserve: while the webhooks are not known, all are wanted", inReserve)
	}
	s.mustLoad(s.faulty("benti_webhooks {\n\t\ton_store_failure reject\n\t}"))
	if got := s.post(); got != http.StatusServiceUnavailable {
		t.Errorf("status %d with reject", got)
	}
	faultOnOpen.Store(nil)
	eventually(t, "the store opens", func() bool { return s.core().healthy() })
	if state := s.core().state.Load(); state.Name != stateOpen {
		t.Errorf("state %+v", state)
	}
	if got := s.post(); got != http.StatusCreated {
		t.Errorf("status %d after the store has opened", got)
	}
}

func TestStoreIsClosedBelowMinFreeAndOpenedAboveIt(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.caddyfile("", "benti_webhooks"))
	s.subscribe("ticket")
	// As much as no disk has: the file system runs full under the open store.
	full := strings.Replace(s.caddyfile("", "benti_webhooks"), "store badger "+s.dir, "store badger "+s.dir+" {\n\t\t\tmin_free 900TiB\n\t\t}", 1)
	s.mustLoad(full)
	eventually(t, "the store is closed", func() bool { return s.core().opened.Load() == nil })
	if state := s.core().state.Load(); state.Name != stateLowSpace {
		t.Errorf("state %+v", state)
	}
	for range 10 {
		if got := s.post(); got != http.StatusCreated {
			t.Errorf("status %d", got)
		}
	}
	if inReserve, _ := s.core().intake.kept(); inReserve != 10 {
		t.Errorf("%d events in the reserve", inReserve)
	}
	s.mustLoad(s.caddyfile("", "benti_webhooks"))
	eventually(t, "the store gets the events", func() bool { return s.core().healthy() && s.enqueued() == 10 })
}

func TestStoreIsClosedBelowMinFreeWhileItErasesALot(t *testing.T) {
	s := faultyScene(t)
	pruneHangs.Store(true)
	s.mustLoad(s.faulty("benti_webhooks"))
	eventually(t, "something is erased", pruneHanging.Load)
	s.mustLoad(strings.Replace(s.faulty("benti_webhooks"), "store faulty "+s.dir, "store faulty "+s.dir+" {\n\t\t\tmin_free 900TiB\n\t\t}", 1))
	eventually(t, "the store is closed", func() bool { return s.core().opened.Load() == nil })
	if state := s.core().state.Load(); state.Name != stateLowSpace {
		t.Errorf("state %+v", state)
	}
}

func TestRequestOutlivesItsClientByAMinuteAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, leave := context.WithCancel(t.Context())
		ctx, rejoin := detach(client, time.Minute)
		defer rejoin()
		time.Sleep(time.Hour)
		if ctx.Err() != nil {
			t.Fatal("ended while its client was there")
		}
		leave()
		time.Sleep(59 * time.Second)
		if ctx.Err() != nil {
			t.Fatal("ended with its client")
		}
		time.Sleep(2 * time.Second)
		if ctx.Err() == nil {
			t.Fatal("did not end")
		}
	})
}

func TestRequestThatIsDoneEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"client", "handler"} {
		synctest.Test(t, func(t *testing.T) {
			client, leave := context.WithCancel(t.Context())
			ctx, rejoin := detach(client, time.Minute)
			if first == "client" {
				leave()
				synctest.Wait()
			}
			rejoin()
			synctest.Wait()
			if gone := first == "client"; gone != (ctx.Err() != nil) {
				t.Errorf("%s first: %v as soon as the handler is done", first, ctx.Err())
			}
			leave()
			synctest.Wait()
			if ctx.Err() == nil {
				t.Errorf("%s first: goes on without its client", first)
			}
		})
	}
}

func TestManyEventsForManyWebhooksLeaveTheReserveInSteps(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	const webhooks, events = 300, 150
	for i := range webhooks {
		now := time.Now()
		w := store.Webhook{
			ID: uuid.NewString(), Project: defaultProject, Item: "ticket", URL: fmt.Sprintf("https://receiver.invalid/%d", i), Secret: "x",
			Status: store.Active, CreatedAt: now, UpdatedAt: now,
		}
		if err := s.engine().store.CreateWebhook(t.Context(), w, maxWebhooks); err != nil {
			t.Fatal(err)
		}
	}
	broken := errors.New("input/output error")
	faultOnEnqueue.Store(&broken)
	for range events {
		s.post()
	}
	faultOnEnqueue.Store(nil)
	eventually(t, "the store gets all deliveries", func() bool { return s.core().healthy() && s.enqueued() == webhooks*events })
}
