package badger

import (
	"sync"

	"github.com/bentihooks/bentihooks/store"
)

// tally is the counters in memory, which only the committer changes, and how many deliveries are claimed.
type tally struct {
	mu         sync.Mutex
	kept       counters
	delivering uint64
}

func (t *tally) load() counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept
}

// publish replaces the counters and ends claims in one step, so that the sum holds at every moment.
func (t *tally) publish(c counters, finished uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = c
	t.delivering -= finished
}

func (t *tally) revert(c counters, finished uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = c
	t.delivering += finished
}

func (t *tally) claim(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delivering += uint64(n) //nolint:gosec // a number of deliveries
}

func (t *tally) release(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delivering -= uint64(n) //nolint:gosec // a number of deliveries
}

func (t *tally) counts() store.Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return store.Counts{
		Enqueued:   t.kept.enqueued,
		Pending:    t.kept.unfinished - t.delivering,
		Delivering: t.delivering,
		Delivered:  t.kept.delivered,
		Dead:       t.kept.dead,
		Dropped:    t.kept.dropped,
		Pruned:     t.kept.pruned,
	}
}
