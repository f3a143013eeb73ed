package nats

import (
	"strings"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// twins are the options of two instances of which one has a copy of the other's directory.
func twins(t *testing.T) (a, b Options) {
	t.Helper()
	a = Options{URLs: []string{serverURL(t)}, Prefix: newPrefix(), Replicas: 1, Name: "n", Place: "host1:/data", Logf: logTo(t), beat: testBeat}
	b = a
	b.Place = "host2:/data"
	return a, b
}

func wantCopied(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "host1:/data") || !strings.Contains(err.Error(), "host2:/data") {
		t.Fatalf("error is %v, want one that names both places", err)
	}
}

func TestACopiedNameIsRefusedWhileItsOwnerLives(t *testing.T) {
	t.Parallel()
	a, b := twins(t)
	b.beat = 10 * testBeat // it listens for three of these, on a machine that may be busy
	first := open(t, a)
	for range 2 {
		_, err := Open(b)
		wantCopied(t, err)
	}
	w := subscribed(t, []*Store{first}, 1)[0]
	ok(t, first.Enqueue(t.Context(), storetest.Delivery(w, storetest.Start)))
	eventually(t, "the first delivers", func() bool { return len(claimAll(t, first, []store.Webhook{w})) == 1 })
	ok(t, first.Broken())
	first.crash()
	ok(t, open(t, b).Broken()) // as the directory has moved
}

// Two that start at a time have seen nothing of each other.
func TestOfTwoWithOneNameTheLaterOneBreaks(t *testing.T) {
	t.Parallel()
	a, b := twins(t)
	opened := make(chan *Store, 2)
	broken := make(chan error, 2)
	for _, o := range []Options{a, b} {
		go func() {
			s, err := Open(o)
			if err != nil {
				broken <- err
			} else {
				opened <- s
			}
		}()
	}
	var ss []*Store
	for range 2 {
		select {
		case s := <-opened:
			t.Cleanup(func() { s.Close() })
			ss = append(ss, s)
		case err := <-broken:
			wantCopied(t, err)
		case <-time.After(20 * time.Second):
			t.Fatal("an instance does not open")
		}
	}
	if len(ss) == 1 {
		ok(t, ss[0].Broken())
		return
	}
	eventually(t, "one is broken", func() bool { return ss[0].Broken() != nil || ss[1].Broken() != nil })
	if ss[0].Broken() != nil {
		ss[0], ss[1] = ss[1], ss[0]
	}
	wantCopied(t, ss[1].Broken())
	ss[1].crash()
	eventually(t, "the other is the only member", func() bool {
		ss[0].mu.Lock()
		defer ss[0].mu.Unlock()
		return len(ss[0].current) == 1 && ss[0].current[0] == ss[0].instance
	})
	ok(t, ss[0].Broken())
}

// After a restart in the same place nobody waits.
func TestARestartTakesTheFormerPlaceAtOnce(t *testing.T) {
	t.Parallel()
	a, _ := twins(t)
	a.beat = 10 * time.Second
	open(t, a).crash()
	begun := time.Now()
	s := open(t, a)
	if took := time.Since(begun); took > 9*time.Second {
		t.Errorf("it took %s", took)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.current) != 1 || s.current[0] != s.instance {
		t.Errorf("members are %v", s.current)
	}
}
