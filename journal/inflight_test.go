package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

func openNotes(tb testing.TB, path string, slots int) (*InFlight, []Entry) {
	tb.Helper()
	f, left, err := OpenInFlight(path, slots)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f, left
}

// crash copies what f has on disk to where a next process finds it.
func crash(tb testing.TB, path string) string {
	tb.Helper()
	next := filepath.Join(tb.TempDir(), "inflight")
	for _, suffix := range []string{"", ".in-doubt"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(next+suffix, b, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return next
}

func paths(entries []Entry) string {
	var ps []string
	for _, e := range entries {
		ps = append(ps, e.Path)
	}
	return strings.Join(ps, " ")
}

func at(second int64, path string) Entry {
	return Entry{Time: time.Unix(second, 5), Method: "POST", Path: path, Project: "acme", Item: "ticket"}
}

func TestOnlyWhatHadNoOutcomeIsInDoubt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	f, left := openNotes(t, path, 8)
	if len(left) != 0 {
		t.Errorf("a fresh file has %v", left)
	}
	f.Begin(at(3, "/c"))
	f.End(f.Begin(at(2, "/b")))
	f.Begin(at(1, "/a"))
	f, left = openNotes(t, crash(t, path), 8)
	if paths(left) != "/a /c" || paths(f.InDoubt()) != "/a /c" {
		t.Errorf("left over %q, in doubt %q", paths(left), paths(f.InDoubt()))
	}
	e := left[0]
	if len(e.ID) != 32 || e.ID == left[1].ID {
		t.Errorf("ids %q and %q", e.ID, left[1].ID)
	}
	e.ID = ""
	expected := at(1, "/a")
	if !e.Time.Equal(expected.Time) {
		t.Errorf("time %v", e.Time)
	}
	e.Time = expected.Time
	if e != expected {
		t.Errorf("entry %+v", e)
	}
}

func TestDoubtsOutliveCrashesUntilAcknowledged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	f, _ := openNotes(t, path, 8)
	f.Begin(at(1, "/a"))
	f.Begin(at(2, "/b"))
	path = crash(t, path)
	f, _ = openNotes(t, path, 8)
	f.Begin(at(3, "/c"))
	path = crash(t, path)
	f, left := openNotes(t, path, 8)
	if paths(left) != "/c" || paths(f.InDoubt()) != "/a /b /c" {
		t.Fatalf("left over %q, in doubt %q", paths(left), paths(f.InDoubt()))
	}
	if ok, err := f.Acknowledge("nobody"); ok || err != nil {
		t.Errorf("unknown id: %v, %v", ok, err)
	}
	id := f.InDoubt()[1].ID
	if ok, err := f.Acknowledge(id); !ok || err != nil {
		t.Errorf("acknowledge: %v, %v", ok, err)
	}
	if ok, err := f.Acknowledge(id); ok || err != nil {
		t.Errorf("second acknowledge: %v, %v", ok, err)
	}
	f, left = openNotes(t, crash(t, path), 8)
	if len(left) != 0 || paths(f.InDoubt()) != "/a /c" {
		t.Errorf("left over %q, in doubt %q", paths(left), paths(f.InDoubt()))
	}
}

func TestCrashWhileMovingToTheDoubtsMakesNoTwins(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	f, _ := openNotes(t, path, 8)
	f.Begin(at(1, "/a"))
	next := crash(t, path)
	notes, err := os.ReadFile(next)
	if err != nil {
		t.Fatal(err)
	}
	f, _ = openNotes(t, next, 8)
	f.Close()
	// The slots as they were: the process died before it cleared them.
	if err := os.WriteFile(next, notes, 0o600); err != nil {
		t.Fatal(err)
	}
	f, left := openNotes(t, next, 8)
	if paths(left) != "/a" || paths(f.InDoubt()) != "/a" {
		t.Errorf("left over %q, in doubt %q", paths(left), paths(f.InDoubt()))
	}
}

func TestCleanCloseLeavesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	for _, inFlight := range []string{"", "/a"} {
		f, _ := openNotes(t, path, 2)
		f.End(f.Begin(at(1, "/ended")))
		if inFlight != "" {
			f.Begin(at(1, inFlight))
		}
		if err := errors.Join(f.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		f, left := openNotes(t, path, 2)
		if paths(left) != inFlight {
			t.Errorf("left over %q, want %q", paths(left), inFlight)
		}
		f.Close()
	}
}

func TestRequestsBeyondTheSlotsAreMissed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	f, _ := openNotes(t, path, 2)
	a := f.Begin(at(1, "/a"))
	f.Begin(at(2, "/b"))
	c := f.Begin(at(3, "/c"))
	if c != (Token{}) || f.Missed() != 1 {
		t.Errorf("token %v, %d missed", c, f.Missed())
	}
	f.End(c)
	f.End(a)
	f.Begin(at(4, "/d"))
	f.End(a) // again: its slot belongs to /d now
	if f.Begin(at(5, "/e")) != (Token{}) {
		t.Error("a second End of a token gave away somebody else's slot")
	}
	_, left := openNotes(t, crash(t, path), 2)
	if paths(left) != "/b /d" {
		t.Errorf("left over %q", paths(left))
	}
}

func TestNotesOfAClosedFileAreMissed(t *testing.T) {
	t.Parallel()
	f, _ := openNotes(t, filepath.Join(t.TempDir(), "inflight"), 2)
	a := f.Begin(at(1, "/a"))
	f.Close()
	f.End(a)
	f.End(f.Begin(at(1, "/b")))
	if f.Missed() != 1 {
		t.Errorf("%d missed", f.Missed())
	}
	if _, err := f.Acknowledge("x"); !errors.Is(err, ErrClosed) {
		t.Errorf("acknowledge: %v", err)
	}
}

func TestFailedWritesAreMissedAndLeaveNothingTaken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	f, _ := openNotes(t, path, 2)
	t.Cleanup(func() { f.notes.close() })
	a := f.Begin(at(1, "/a"))
	good := f.notes.file
	readOnly, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	f.notes.file = readOnly
	for range 5 {
		f.End(f.Begin(at(2, "/b")))
	}
	f.End(a) // cannot be cleared now
	if f.Missed() != 5 || len(f.free) != 2 {
		t.Errorf("%d missed, %d free", f.Missed(), len(f.free))
	}
	f.notes.file = good
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, left := openNotes(t, path, 2); len(left) != 0 {
		t.Errorf("left over %q though all had ended by the clean close", paths(left))
	}
}

func TestTextsAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	f, _ := openNotes(t, path, 4)
	f.Begin(Entry{
		Time: time.Unix(1, 0), Method: strings.Repeat("M", 99), Path: "x" + strings.Repeat("é", 200),
		Project: strings.Repeat("p", 500), Item: strings.Repeat("\x80", 500),
	})
	f.Begin(Entry{})
	_, left := openNotes(t, crash(t, path), 4)
	if len(left) != 2 {
		t.Fatalf("left over %+v", left)
	}
	e := left[0]
	if len(e.Method) != maxMethod || len(e.Path) != maxPath-1 || !utf8.ValidString(e.Path) ||
		len(e.Project) != maxProject || len(e.Item) != maxItem {
		t.Errorf("entry %+v", e)
	}
	if time.Since(left[1].Time) > time.Hour {
		t.Errorf("no time given became %v", left[1].Time)
	}
}

func TestDamagedSlotsAreSkipped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	f, _ := openNotes(t, path, 3)
	for i := range 3 {
		f.Begin(at(int64(i), fmt.Sprint("/", i)))
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(0); n < slotAt(3); n++ {
		if n == 100 {
			n = blockSize - 100
		}
		broken := append([]byte(nil), content...)
		broken[n] ^= 0x10
		next := filepath.Join(t.TempDir(), "inflight")
		if err := os.WriteFile(next, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		notes, left, err := openSlots(next, notesMagic, 3)
		if err != nil {
			t.Fatal(err)
		}
		notes.close()
		expected := 3
		if n >= blockSize {
			expected = 2
		}
		if len(left) != expected {
			t.Fatalf("byte %d: %d entries, want %d", n, len(left), expected)
		}
	}
}

func TestSlotsMayChangeInNumber(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	for _, slots := range []int{4, 100, 2} {
		f, left := openNotes(t, path, slots)
		for i := range slots {
			if f.Begin(at(int64(i), "/x")) == (Token{}) {
				t.Errorf("slot %d of %d is not there", i, slots)
			}
		}
		t.Logf("%d slots, %d left over", slots, len(left))
		f.Close()
	}
	f, left := openNotes(t, path, 1)
	if len(left) != 2 || len(f.InDoubt()) != 106 {
		t.Errorf("%d left over, %d in doubt", len(left), len(f.InDoubt()))
	}
}

func TestDoubtsAreBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	const slots = 6000
	for round := range 2 {
		f, _ := openNotes(t, path, slots)
		for i := range slots {
			f.Begin(at(int64(round*slots+i), "/x"))
		}
		f.Close()
	}
	f, left := openNotes(t, path, slots)
	doubts := f.InDoubt()
	if len(left) != slots || len(doubts) != maxDoubts || f.Dropped() != 2*slots-maxDoubts {
		t.Fatalf("%d left over, %d in doubt, %d dropped", len(left), len(doubts), f.Dropped())
	}
	if got := doubts[maxDoubts-1].Time.Unix(); got != maxDoubts-1 {
		t.Errorf("the newest kept is of second %d", got)
	}
	if ok, err := f.Acknowledge(doubts[17].ID); !ok || err != nil {
		t.Error(ok, err)
	}
	f.Begin(at(20_000, "/new"))
	f.Close()
	f, _ = openNotes(t, path, slots)
	doubts = f.InDoubt()
	if len(doubts) != maxDoubts || doubts[maxDoubts-1].Path != "/new" {
		t.Errorf("%d in doubt, the newest %+v", len(doubts), doubts[len(doubts)-1])
	}
}

func TestSecondOpenOfNotesIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	openNotes(t, path, 2)
	if _, _, err := OpenInFlight(path, 2); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
}

func TestNotesOfANewerVersionAreLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	if err := os.WriteFile(path, header{version: version + 1}.encode(notesMagic), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenInFlight(path, 2); err == nil || !strings.Contains(err.Error(), "format version 2") {
		t.Error(err)
	}
	if info, _ := os.Stat(path); info.Size() != blockSize {
		t.Errorf("the file has %d bytes now", info.Size())
	}
}

func TestConcurrentNotes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	f, _ := openNotes(t, path, 16)
	var wg sync.WaitGroup
	for w := range 20 { // more than slots
		wg.Go(func() {
			for i := range 300 {
				f.End(f.Begin(at(int64(i), fmt.Sprint(w))))
			}
			if w < 5 {
				for f.Begin(at(int64(w), fmt.Sprint("/", w))) == (Token{}) {
				}
			}
			f.InDoubt()
		})
	}
	wg.Wait()
	_, left := openNotes(t, crash(t, path), 16)
	if paths(left) != "/0 /1 /2 /3 /4" {
		t.Errorf("left over %q", paths(left))
	}
}
