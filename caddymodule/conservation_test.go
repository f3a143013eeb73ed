package caddymodule

import (
	"errors"
	"net/http"
	"testing"
)

// An event that falls out on its way, by whatever bug, shows. One that is kept, moved or lost and counted does not.
func TestAnEventThatVanishesIsUnaccountedFor(t *testing.T) {
	s := faultyScene(t)
	s.mustLoad(s.faulty("benti_webhooks"))
	s.subscribe("ticket")
	c := s.core()
	want := func(when string, n int64) {
		t.Helper()
		eventually(t, when, func() bool { return c.conservation(t.Context()).sum() == n })
	}
	post := func(n int) {
		t.Helper()
		for range n {
			if got := s.post(); got != http.StatusCreated {
				t.Fatalf("status %d", got)
			}
		}
	}
	post(5)
	want("all accounted for in the store", 0)
	broken := errors.New("input/output error")
	faultOnEnqueue.Store(&broken)
	post(5)
	want("all accounted for in the reserve", 0)
	c.intake.mu.Lock()
	reserve := c.intake.reserve
	c.intake.reserve = nil
	c.intake.mu.Unlock()
	post(5) // into memory
	want("without the reserve, what is in it is missing", 5)
	c.intake.mu.Lock()
	c.intake.reserve = reserve
	c.intake.memory = c.intake.memory[2:]
	c.intake.mu.Unlock()
	want("two fell out of the memory", 2)
	faultOnEnqueue.Store(nil)
	eventually(t, "the store gets the events", c.healthy)
	want("and are still missing when the rest is stored", 2)
	c.lose(event{}, "found by the test", nil)
	c.lose(event{}, "found by the test", nil)
	want("but not when they are counted as lost", 0)
}
