package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// refusedHandshake fails unless another handshake is refused, and returns how many seconds the caller shall wait.
func refusedHandshake(t *testing.T, h *handshakes, project string, now time.Time) int {
	t.Helper()
	_, err := h.begin(project, now)
	p, ok := errors.AsType[problem](err)
	if !ok || p.Code != http.StatusTooManyRequests {
		t.Fatalf("%s: %v", project, err)
	}
	return p.retryAfter
}

func TestHandshakesOfAllProjectsTogetherAreBounded(t *testing.T) {
	t.Parallel()
	var h handshakes
	now := time.Now()
	var ends []func(bool, time.Time)
	for i := range maxHandshakes {
		project := fmt.Sprint("project ", i/maxProjectHandshakes)
		end, err := h.begin(project, now)
		if err != nil {
			t.Fatalf("handshake %d: %v", i, err)
		}
		ends = append(ends, end)
		if i%maxProjectHandshakes == maxProjectHandshakes-1 {
			refusedHandshake(t, &h, project, now)
		}
	}
	refusedHandshake(t, &h, "another", now)
	ends[0](false, now)
	if _, err := h.begin("another", now); err != nil {
		t.Error(err)
	}
	refusedHandshake(t, &h, "another", now)
}

func TestHandshakesThatFailAreLimited(t *testing.T) {
	t.Parallel()
	var h handshakes
	now := time.Now()
	try := func(project string, failed bool) {
		t.Helper()
		end, err := h.begin(project, now)
		if err != nil {
			t.Fatal(err)
		}
		end(failed, now)
	}
	for range maxFailures {
		try("scanner", true)
	}
	if wait := refusedHandshake(t, &h, "scanner", now); wait != 1 {
		t.Errorf("told to wait %d s", wait)
	}
	for range 10 * maxFailures {
		try("other", false) // those that pass are not counted
	}
	for range 5 {
		now = now.Add(failureInterval)
		try("scanner", true)
		refusedHandshake(t, &h, "scanner", now)
	}
	now = now.Add(-time.Hour) // a clock set back takes nothing off and adds nothing
	refusedHandshake(t, &h, "scanner", now)
	now = now.Add(maxFailures * failureInterval)
	for range maxFailures {
		try("scanner", true)
	}
	refusedHandshake(t, &h, "scanner", now)
}

// Whoever can choose the project cannot thereby fill the memory.
func TestProjectsWhoseHandshakesAreLongPastAreForgotten(t *testing.T) {
	t.Parallel()
	var h handshakes
	now := time.Now()
	for i := range 20 * manyProjects {
		end, err := h.begin(fmt.Sprint("project ", i), now)
		if err != nil {
			t.Fatal(err)
		}
		end(true, now)
		now = now.Add(10 * time.Millisecond)
	}
	if n := len(h.projects); n > manyProjects {
		t.Errorf("%d projects are remembered", n)
	}
}
