package badger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// victimDir names the directory to the child process that is to be killed.
const victimDir = "BENTI_VICTIM_DIR"

// TestVictim is the child of TestKill, and does nothing by itself: 16 callers enqueue, claim and finish, and each line
// it prints is an acknowledgement.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		t.Skip("run by TestKill")
	}
	s, err := Open(Options{Dir: dir, EncryptionKey: keyOf(dir)})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var ws []store.Webhook
	for _, w := range s.Directory().All() {
		ws = append(ws, *w)
	}
	if len(ws) == 0 {
		ws = webhooks(t, s, 4)
	}
	var out sync.Mutex
	say := func(words ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(words...)
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() { live(s, ws[i%len(ws)], say) })
	}
	wg.Wait()
}

// live goes on until it is killed.
func live(s *Store, w store.Webhook, say func(...any)) {
	ctx := context.Background()
	for {
		d := storetest.Delivery(w, time.Now())
		if err := s.Enqueue(ctx, d); err != nil {
			say("error", err)
		}
		say("enqueued", w.ID, d.ID)
		ds, err := s.Claim(ctx, w.ID, time.Now(), 1)
		if err != nil {
			say("error", err)
		}
		for _, d := range ds {
			if rand.IntN(2) == 0 {
				continue // its claim ends with the process
			}
			if err := s.Finish(ctx, storetest.Outcome(d, store.Delivered, time.Time{})); err != nil {
				say("error", err)
			}
			say("delivered", w.ID, d.ID)
		}
	}
}

// TestKill kills a process at work, again and again in one directory: nothing acknowledged may be missing. Set
// BENTI_KILLS for more than three rounds.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds, _ := strconv.Atoi(os.Getenv("BENTI_KILLS"))
	if rounds == 0 {
		rounds = 3
	}
	for _, kind := range []string{"plain", "encrypted"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			testKill(t, filepath.Join(t.TempDir(), kind), rounds)
		})
	}
}

func testKill(t *testing.T, dir string, rounds int) {
	t.Helper()
	enqueued, delivered := make(map[string]string), make(map[string]bool)
	for round := range rounds {
		for line := range strings.Lines(killOne(t, dir)) {
			words := strings.Fields(line)
			switch {
			case !strings.HasSuffix(line, "\n") || len(words) != 3:
			case words[0] == "enqueued":
				enqueued[words[2]] = words[1]
			case words[0] == "delivered":
				delivered[words[2]] = true
			}
			if strings.HasPrefix(line, "error") {
				t.Fatal(line)
			}
		}
		checkSurvivors(t, dir, enqueued, delivered)
		t.Logf("round %d: %d enqueued, %d delivered, none lost", round, len(enqueued), len(delivered))
	}
	if len(enqueued) == 0 {
		t.Error("no round got as far as enqueueing")
	}
}

// killOne runs a victim for a moment after its first word, kills it, and returns what it said.
func killOne(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	first, _ := out.ReadString('\n')
	kill := time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { cmd.Process.Kill() })
	defer kill.Stop()
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("victim ended by itself: %v\n%s", err, rest)
	}
	return first + string(rest)
}

func checkSurvivors(t *testing.T, dir string, enqueued map[string]string, delivered map[string]bool) {
	t.Helper()
	s := open(t, Options{Dir: dir, EncryptionKey: keyOf(dir)})
	defer s.Close()
	for id, webhook := range enqueued {
		d, err := s.Get(t.Context(), webhook, id)
		if err != nil {
			t.Fatalf("delivery %s was acknowledged: %v", id, err)
		}
		if delivered[id] && d.State != store.Delivered {
			t.Errorf("delivery %s was acknowledged as delivered, and is %s", id, d.State)
		}
	}
	c, err := s.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.Enqueued < uint64(len(enqueued)) || c.Delivered < uint64(len(delivered)) || c.Enqueued != c.Pending+c.Delivered {
		t.Errorf("counts are %+v after %d enqueued and %d delivered", c, len(enqueued), len(delivered))
	}
	pending := uint64(0)
	for _, w := range s.Directory().All() {
		for {
			ds, err := s.Claim(t.Context(), w.ID, time.Now(), 1000)
			if err != nil {
				t.Fatal(err)
			}
			if len(ds) == 0 {
				break
			}
			pending += uint64(len(ds))
		}
	}
	if pending != c.Pending {
		t.Errorf("%d deliveries can be claimed, %d are pending", pending, c.Pending)
	}
}
