package caddymodule

import (
	"context"

	"github.com/caddyserver/caddy/v2"
)

// turns has, by the identity of their store, the cores whose turn it is to have its files open. The pool of cores lets go
// of a core before that closes, so that another may come while it does: without the files it would keep events in memory
// only, and a crash would lose them.
var turns = caddy.NewUsagePool()

// turn is over when its core has closed, or has given up closing.
type turn struct {
	identity string
	over     chan struct{}
}

// Destruct has nothing to do: a turn is over when its core says so.
func (*turn) Destruct() error { return nil }

// takeTurn waits until the core before has closed. It returns nil if ctx ends first, or if that takes too long.
func takeTurn(ctx context.Context, identity string) *turn {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	for {
		mine := &turn{identity: identity, over: make(chan struct{})}
		before, taken := turns.LoadOrStore(identity, mine)
		if !taken {
			return mine
		}
		select {
		case <-before.(*turn).over:
		case <-ctx.Done():
		}
		_, _ = turns.Delete(identity) // of which nothing can fail
		if ctx.Err() != nil {
			return nil
		}
	}
}

// end lets the next core have its turn.
func (t *turn) end() {
	if t == nil {
		return
	}
	close(t.over)
	_, _ = turns.Delete(t.identity)
}
