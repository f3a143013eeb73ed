package caddymodule

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/bentihooks/bentihooks/journal"
)

func TestEventsGoToMemoryWhenTheReserveIsFull(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	s.subscribe("ticket")
	broken := errors.New("input/output error")
	faultOnOpen.Store(&broken) // so that it stays closed
	faultOnEnqueue.Store(&broken)
	c := s.core()
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = ' '
	}
	for {
		if _, inMemory := c.intake.kept(); inMemory >= 3 {
			break
		}
		events := []event{{Project: defaultProject, Item: "ticket", Action: "add", Payload: append(big, "{}"...), At: time.Now()}}
		c.derived(events)
		c.keep(events)
	}
	if inReserve, _ := c.intake.kept(); inReserve < 5 {
		t.Errorf("only %d events of 1 MiB went to the reserve", inReserve)
	}
}

// TestEventsInMemoryGoToTheReserveAsSoonAsItIsThere has another process hold the reserve at first.
func TestEventsInMemoryGoToTheReserveAsSoonAsItIsThere(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	s.subscribe("ticket")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	other, err := journal.OpenReserve(filepath.Join(s.dir, "reserve"), defaultReserve)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	faultOnOpen.Store(&broken)
	s.mustLoad(s.faulty("benti_webhooks"))
	for range 3 {
		s.post()
	}
	if inReserve, inMemory := s.core().intake.kept(); inReserve != 0 || inMemory != 3 {
		t.Fatalf("%d events in the reserve, %d in memory, of 3", inReserve, inMemory)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reserve has the events", func() bool {
		inReserve, inMemory := s.core().intake.kept()
		return inReserve == 3 && inMemory == 0
	})
	if n := s.core().unaccounted(); n != 0 {
		t.Errorf("%d events are unaccounted for", n)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	faultOnOpen.Store(nil)
	s.mustLoad(s.faulty("benti_webhooks"))
	eventually(t, "the store gets the events of before", func() bool { return s.enqueued() == 3 })
}

func TestLostEventGivesBackTheSlotOfItsRequest(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	s.subscribe("ticket")
	c := s.core()
	broken := errors.New("input/output error")
	faultOnEnqueue.Store(&broken)
	kept := slices.Repeat([]event{{Project: defaultProject, Item: "ticket", Action: "add"}}, maxInMemory)
	c.intake.mu.Lock()
	reserve := c.intake.reserve
	c.intake.reserve, c.intake.memory = nil, kept
	c.intake.mu.Unlock()
	defer func() {
		c.intake.mu.Lock()
		c.intake.reserve, c.intake.memory = reserve, nil
		c.intake.mu.Unlock()
	}()
	for range inFlightSlots + 1 {
		c.keepAside(event{
			Project: defaultProject, Item: "ticket", Action: "add", Payload: []byte("{}"), At: time.Now(),
			token: c.inFlight.begin(journal.Entry{Method: http.MethodPost, Path: "/tickets"}),
		})
	}
	if n := c.inFlight.missed(); n != 0 {
		t.Errorf("%d requests could not be noted, as lost events have their slots", n)
	}
}

// TestCoreWaitsForTheOneBeforeItToClose has a request outlive its configuration, so that its core closes while the next
// configuration starts, and takes longer for it than a start waits for a store.
func TestCoreWaitsForTheOneBeforeItToClose(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	s.subscribe("ticket")
	config := s.core().settings.Load()
	if _, err := holdCore(config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	closeDelay.Store(int64(startPatience + time.Second))
	released := make(chan error, 1)
	go func() {
		_, err := cores.Delete(s.identity())
		released <- err
	}()
	eventually(t, "the core is let go of", func() bool {
		_, held := cores.References(s.identity())
		return !held
	})
	s.mustLoad(s.faulty("benti_webhooks"))
	s.post()
	if inReserve, inMemory := s.core().intake.kept(); inReserve != 0 || inMemory != 0 {
		t.Errorf("%d events in the reserve, %d in memory", inReserve, inMemory)
	}
	if err := <-released; err != nil {
		t.Error(err)
	}
	closeDelay.Store(0)
}
