package nats

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alone are options for one instance on a machine that may be too busy to keep a lease.
func alone(t testing.TB, url, prefix string) Options {
	return Options{URLs: []string{url}, Prefix: prefix, Replicas: 1, Name: prefix, Logf: logTo(t), beat: 10 * time.Second}
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newPrefix() string { return "t" + strings.ReplaceAll(uuid.NewString(), "-", "") }

func TestConformance(t *testing.T) {
	url := serverURL(t)
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, alone(t, url, newPrefix())) })
}

// TestDurability crashes by cutting the connection: what an instance has in memory is lost, and it says no farewell. The one
// that comes next has its name.
func TestDurability(t *testing.T) {
	url := serverURL(t)
	for name, keep := range map[string]time.Duration{"whole log": 0, "snapshots and a log cut off all the time": 5 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			prefixes, opened := make(map[string]string), make(map[string]*Store) // by the directory that they stand for
			storetest.RunDurable(t, storetest.Engine{
				Open: func(dir string) (store.Store, error) {
					mu.Lock()
					defer mu.Unlock()
					if prefixes[dir] == "" {
						prefixes[dir] = newPrefix()
					}
					o := alone(t, url, prefixes[dir])
					if keep > 0 {
						o.keepEvery, o.snapshotTail, o.purgeAge = keep, 3, 2*keep
					}
					s, err := Open(o)
					opened[dir] = s
					return s, err
				},
				Crash: func(from, into string) error {
					mu.Lock()
					defer mu.Unlock()
					prefixes[into] = prefixes[from]
					opened[from].crash()
					return nil
				},
			})
		})
	}
}
