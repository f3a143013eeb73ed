package nats

import (
	"path/filepath"
	"strings"
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
	srv := startServer(t, t.TempDir())
	t.Run("one instance", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store { return open(t, alone(t, srv.ClientURL(), newPrefix())) })
	})
}

// TestDurability crashes by cutting the connection: what an instance has in memory is lost, and it says no farewell. The one
// that comes next has its name.
func TestDurability(t *testing.T) {
	srv := startServer(t, t.TempDir())
	places := make(map[string]string) // which prefix a directory stands for
	prefix := func(dir string) string {
		if places[dir] == "" {
			places[dir] = newPrefix()
		}
		return places[dir]
	}
	opened := make(map[string]*Store)
	_ = filepath.Base
	storetest.RunDurable(t, storetest.Engine{
		Open: func(dir string) (store.Store, error) {
			s, err := Open(alone(t, srv.ClientURL(), prefix(dir)))
			opened[dir] = s
			return s, err
		},
		Crash: func(from, into string) error {
			places[into] = prefix(from)
			opened[from].crash()
			return nil
		},
	})
}
