package caddymodule

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestRequestsWaitForTheirNotesOnlyAfterAStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		opens, asks time.Duration // after the start
		waits       time.Duration
	}{
		{"files that are open", 0, time.Second, 0},
		{"files that are slow to open", time.Second, 300 * time.Millisecond, 700 * time.Millisecond},
		{"files on a disk that hangs", time.Hour, time.Second, startPatience - time.Second},
		{"a disk that has hung for long", time.Hour, time.Minute, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				core := &core{born: time.Now(), noting: make(chan struct{})}
				opening := time.AfterFunc(c.opens, func() { close(core.noting) })
				defer opening.Stop()
				time.Sleep(c.asks)
				begin := time.Now()
				core.awaitJournals()
				if waited := time.Since(begin); waited != c.waits {
					t.Errorf("waited %v, want %v", waited, c.waits)
				}
			})
		})
	}
}
