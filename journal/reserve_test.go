package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func open(tb testing.TB, path string) *Reserve { return openSized(tb, path, minReserve) }

func openSized(tb testing.TB, path string, size int64) *Reserve {
	tb.Helper()
	r, err := OpenReserve(path, size)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

func shut(tb testing.TB, r *Reserve) {
	tb.Helper()
	if err := r.Close(); err != nil {
		tb.Fatal(err)
	}
}

func fill(tb testing.TB, r *Reserve, records ...string) {
	tb.Helper()
	for _, record := range records {
		if err := r.Append([]byte(record)); err != nil {
			tb.Fatal(err)
		}
	}
}

// numbered makes n different records.
func numbered(n int) []string {
	records := make([]string, n)
	for i := range records {
		records[i] = fmt.Sprintf("record %d%s", i, strings.Repeat(".", i%23))
	}
	return records
}

// contents reads what a Drain would hand out.
func contents(tb testing.TB, r *Reserve) [][]byte {
	tb.Helper()
	records, _, err := r.read(r.records)
	if err != nil {
		tb.Fatal(err)
	}
	return records
}

func texts(records [][]byte) []string {
	out := make([]string, len(records))
	for i, record := range records {
		out[i] = string(record)
	}
	return out
}

func drain(tb testing.TB, r *Reserve) []string {
	tb.Helper()
	var out []string
	err := r.Drain(func(records [][]byte) error {
		out = append(out, texts(records)...)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func want(tb testing.TB, got []string, expected ...string) {
	tb.Helper()
	if !slices.Equal(got, expected) {
		tb.Fatalf("got %d records %.300q, want %d %.300q", len(got), got, len(expected), expected)
	}
}

// topUp appends until the reserve is full.
func topUp(tb testing.TB, r *Reserve, size int) (n int) {
	tb.Helper()
	for record := make([]byte, size); ; n++ {
		err := r.Append(record)
		if errors.Is(err, ErrFull) {
			return n
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func TestRecordsComeBackInOrderAfterReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reserve")
	records := append(numbered(500), "", strings.Repeat("long", 5000))
	r := open(t, path)
	fill(t, r, records...)
	shut(t, r)
	r = open(t, path)
	if r.Len() != len(records) {
		t.Errorf("Len is %d, want %d", r.Len(), len(records))
	}
	want(t, drain(t, r), records...)
	if r.Len() != 0 || r.Corrupt() != 0 {
		t.Errorf("Len %d, Corrupt %d after the drain", r.Len(), r.Corrupt())
	}
	shut(t, r)
	want(t, drain(t, open(t, path)))
}

func TestDrainHandsOutBoundedBatches(t *testing.T) {
	t.Parallel()
	r := openSized(t, filepath.Join(t.TempDir(), "reserve"), 16<<20)
	fill(t, r, numbered(drainRecords+1)...)
	big := strings.Repeat("b", drainBytes/2)
	fill(t, r, big, big, big)
	var sizes []int
	err := r.Drain(func(records [][]byte) error {
		sizes = append(sizes, len(records))
		return nil
	})
	if err != nil || !slices.Equal(sizes, []int{drainRecords, 2, 1, 1}) {
		t.Errorf("batches of %v, %v", sizes, err)
	}
}

func TestBatchThatFailsComesAgain(t *testing.T) {
	t.Parallel()
	r := open(t, filepath.Join(t.TempDir(), "reserve"))
	records := numbered(2*drainRecords + 50)
	fill(t, r, records...)
	refusal, calls := errors.New("refused"), 0
	err := r.Drain(func([][]byte) error {
		if calls++; calls == 2 {
			return refusal
		}
		return nil
	})
	if !errors.Is(err, refusal) || r.Len() != drainRecords+50 {
		t.Fatalf("Drain: %v, Len %d", err, r.Len())
	}
	want(t, drain(t, r), records[drainRecords:]...)
}

func TestFullReserveHasItsRoomBackOnceDrained(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reserve")
	r := open(t, path)
	n := topUp(t, r, 1000)
	if least := (minReserve - recordsStart) / (1000 + 24); n != least {
		t.Errorf("%d records of 1000 bytes fit, want %d", n, least)
	}
	before, _ := os.ReadFile(path)
	if err := r.Append(make([]byte, 1000)); !errors.Is(err, ErrFull) {
		t.Errorf("append to the full reserve: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("a refused append wrote")
	}
	fill(t, r, "small") // still fits
	if got := len(drain(t, r)); got != n+1 {
		t.Errorf("drained %d, want %d", got, n+1)
	}
	if again := topUp(t, r, 1000); again != n {
		t.Errorf("%d fit after the drain, %d before", again, n)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != minReserve || info.Mode().Perm() != 0o600 {
		t.Errorf("file is %v, %v", info, err)
	}
}

func TestRecordTooLargeForAnyReserveIsRefused(t *testing.T) {
	t.Parallel()
	r := open(t, filepath.Join(t.TempDir(), "reserve"))
	if err := r.Append(make([]byte, minReserve)); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	whole := make([]byte, minReserve-recordsStart-recordHeader)
	if err := r.Append(whole); err != nil {
		t.Error("a record that takes all the room:", err)
	}
}

func TestAppendsGoOnWhileDraining(t *testing.T) {
	t.Parallel()
	r := open(t, filepath.Join(t.TempDir(), "reserve"))
	fill(t, r, "one")
	var got []string
	err := r.Drain(func(records [][]byte) error {
		if len(got) == 0 {
			fill(t, r, "two") // would deadlock if Drain held what Append needs
		}
		got = append(got, texts(records)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, "one", "two")
}

func TestDrainEndsUnderASteadyStreamOfAppends(t *testing.T) {
	t.Parallel()
	r := open(t, filepath.Join(t.TempDir(), "reserve"))
	fill(t, r, "n")
	n := 0
	err := r.Drain(func(records [][]byte) error {
		n += len(records)
		fill(t, r, "n") // there is always one more
		return nil
	})
	if err != nil || n != drainRounds || r.Len() != 1 {
		t.Errorf("%v after %d records, %d left", err, n, r.Len())
	}
	want(t, drain(t, r), "n")
	topUp(t, r, 1000)
}

func TestConcurrentAppendsShareFlushes(t *testing.T) {
	t.Parallel()
	r := openSized(t, filepath.Join(t.TempDir(), "reserve"), 1<<20)
	// The first flush is held until everybody else has queued up.
	const n = 50
	var syncs atomic.Int32
	entered, release, sync1 := make(chan struct{}), make(chan struct{}), r.sync
	r.sync = func() error {
		if syncs.Add(1) == 1 {
			close(entered)
			<-release
		}
		return sync1()
	}
	var wg sync.WaitGroup
	wg.Go(func() { fill(t, r, "first") })
	<-entered
	for _, record := range numbered(n) {
		wg.Go(func() { fill(t, r, record) })
	}
	for queued := 0; queued < n; {
		r.mu.Lock()
		queued = len(r.queue)
		r.mu.Unlock()
	}
	close(release)
	wg.Wait()
	if syncs.Load() != 2 {
		t.Errorf("%d flushes for 1 + %d appends, want 2", syncs.Load(), n)
	}
	if got := len(drain(t, r)); got != n+1 {
		t.Errorf("drained %d", got)
	}
}

func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	r := open(t, filepath.Join(t.TempDir(), "reserve"))
	var mu sync.Mutex
	added, got := make(map[string]bool), make(map[string]int)
	take := func(records [][]byte) error {
		mu.Lock()
		defer mu.Unlock()
		for _, record := range texts(records) {
			got[record]++
		}
		return nil
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 200 {
				record := fmt.Sprintf("%d-%d-%s", w, i, strings.Repeat("p", i))
				for {
					err := r.Append([]byte(record))
					if err == nil {
						break
					}
					if !errors.Is(err, ErrFull) {
						t.Error(err)
						return
					}
					if err := r.Drain(take); err != nil {
						t.Error(err)
						return
					}
				}
				mu.Lock()
				added[record] = true
				mu.Unlock()
				_, _, _ = r.Len(), r.Size(), r.Corrupt()
			}
		})
	}
	wg.Wait()
	if err := r.Drain(take); err != nil {
		t.Fatal(err)
	}
	for record := range added {
		if got[record] != 1 {
			t.Errorf("%.20q came %d times", record, got[record])
		}
	}
	if len(got) != len(added) {
		t.Errorf("%d came, %d were appended", len(got), len(added))
	}
}

func TestFailedFlushIsReportedAndAppendingGoesOn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reserve")
	r := open(t, path)
	fill(t, r, "before")
	sync1, writeAt := r.sync, r.writeAt
	r.sync = func() error { return syscall.EIO }
	if err := r.Append([]byte("unflushed")); !errors.Is(err, syscall.EIO) {
		t.Errorf("append with a failing flush: %v", err)
	}
	r.sync = sync1
	r.writeAt = func(p []byte, at int64) (int, error) {
		n, _ := writeAt(p[:len(p)/2], at)
		return n, syscall.ENOSPC
	}
	if err := r.Append([]byte("half")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("append with a failing write: %v", err)
	}
	r.writeAt = writeAt
	fill(t, r, "after")
	want(t, texts(contents(t, r)), "before", "after")
	shut(t, r)
	want(t, drain(t, open(t, path)), "before", "after")
}

func TestFailedResetIsTriedAgainBeforeTheNextAppend(t *testing.T) {
	t.Parallel()
	for failAt := 1; failAt <= 2; failAt++ {
		path := filepath.Join(t.TempDir(), "reserve")
		r := open(t, path)
		fill(t, r, "old")
		n, sync1 := 0, r.sync
		r.sync = func() error {
			if n++; n >= failAt {
				return syscall.EIO
			}
			return sync1()
		}
		if err := r.Drain(func([][]byte) error { return nil }); !errors.Is(err, syscall.EIO) {
			t.Errorf("drain: %v", err)
		}
		if err := r.Append([]byte("refused")); !errors.Is(err, syscall.EIO) {
			t.Errorf("append before the header could be written: %v", err)
		}
		r.sync = sync1
		fill(t, r, "new")
		shut(t, r)
		want(t, drain(t, open(t, path)), "new")
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reserve")
	r := open(t, path)
	if _, err := OpenReserve(path, minReserve); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	shut(t, r)
	shut(t, open(t, path))
}

func TestSizeIsChangedWhereItCan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		records       int
		size          int64
		open, drained int64
	}{
		"empty, grown":      {0, 128 << 10, 128 << 10, 128 << 10},
		"empty, shrunk":     {0, 64 << 10, 64 << 10, 64 << 10},
		"records, grown":    {3, 128 << 10, 128 << 10, 128 << 10},
		"records, shrunk":   {3, 64 << 10, 96 << 10, 64 << 10},
		"odd size":          {3, 100_001, 100_001, 100_001},
		"records, the same": {3, 96 << 10, 96 << 10, 96 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "reserve")
			r := openSized(t, path, 96<<10)
			fill(t, r, numbered(c.records)...)
			shut(t, r)
			r = openSized(t, path, c.size)
			if r.Size() != c.open {
				t.Errorf("size %d after open, want %d", r.Size(), c.open)
			}
			want(t, drain(t, r), numbered(c.records)...)
			if r.Size() != c.drained {
				t.Errorf("size %d after drain, want %d", r.Size(), c.drained)
			}
			topUp(t, r, 100)
			if info, _ := os.Stat(path); info.Size() != c.drained {
				t.Errorf("file of %d bytes once full", info.Size())
			}
		})
	}
}

func TestOpenRefusesWhatCannotBeAReserve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer")
	content := append(header{version + 1, 7}.encode(reserveMagic), make([]byte, minReserve)...)
	if err := os.WriteFile(newer, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		size int64
		says string
	}{
		{filepath.Join(dir, "small"), minReserve - 1, "less than"},
		{dir, minReserve, "directory"},
		{filepath.Join(dir, "no", "such"), minReserve, "no such"},
		{newer, minReserve, "format version 2"},
	} {
		if _, err := OpenReserve(c.path, c.size); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q in it", c.path, err, c.says)
		}
	}
	if after, _ := os.ReadFile(newer); !bytes.Equal(after, content) {
		t.Error("the file of a newer version was changed")
	}
}

func TestClosedReserveRefuses(t *testing.T) {
	t.Parallel()
	r := open(t, filepath.Join(t.TempDir(), "reserve"))
	fill(t, r, numbered(drainRecords+1)...)
	err := r.Drain(func([][]byte) error { return r.Close() })
	if !errors.Is(err, ErrClosed) {
		t.Errorf("a Drain that meets Close: %v", err)
	}
	if err := r.Append(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if err := r.Drain(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("drain: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestCloseWaitsForAppendsInFlight(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reserve")
	r := open(t, path)
	entered, release, sync1 := make(chan struct{}), make(chan struct{}), r.sync
	var once sync.Once
	r.sync = func() error {
		once.Do(func() {
			close(entered)
			<-release
		})
		return sync1()
	}
	const n = 20
	var appends, closing sync.WaitGroup
	for range n {
		appends.Go(func() { fill(t, r, "x") })
	}
	<-entered
	for queued := 0; queued < n-1; {
		r.mu.Lock()
		queued = max(queued, len(r.queue))
		r.mu.Unlock()
		if queued < n-1 {
			runtime.Gosched()
		}
	}
	closing.Go(func() { shut(t, r) })
	close(release)
	appends.Wait()
	closing.Wait()
	if got := open(t, path).Len(); got != n {
		t.Errorf("%d records, want %d", got, n)
	}
}

func TestDrainedRecordsAreWiped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reserve")
	r := openSized(t, path, 1<<20)
	const words = "plain to see"
	record := strings.Repeat(words, 25_000) // more than is wiped at a time
	fill(t, r, words, record, words)
	want(t, drain(t, r), words, record, words)
	content, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(content), words) {
		t.Errorf("drained records can be read, or not the file: %v", err)
	}
	fill(t, r, "next")
	shut(t, r)
	want(t, drain(t, open(t, path)), "next")
}
