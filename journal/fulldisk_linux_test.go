package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of 8 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("needs the right to mount a small file system: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes what room is left, to the last byte.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func TestReserveWorksOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	path := filepath.Join(dir, "reserve")
	r := openSized(t, path, 1<<20)
	fillDisk(t, dir)
	n := topUp(t, r, 1000)
	if got := len(drain(t, r)); got != n || n < 1000 {
		t.Errorf("drained %d of %d", got, n)
	}
	if again := topUp(t, r, 1000); again != n {
		t.Errorf("%d fit after the drain, %d before", again, n)
	}
	shut(t, r)
	// A restart on the disk that is still full, with a larger reserve wished.
	r = openSized(t, path, 2<<20)
	if r.Len() != n || r.Size() != 1<<20 {
		t.Errorf("Len %d, Size %d after reopening", r.Len(), r.Size())
	}
	drain(t, r)
	if again := topUp(t, r, 1000); again != n {
		t.Errorf("%d fit after reopening, %d before", again, n)
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	drain(t, r)
	if again := topUp(t, r, 1000); r.Size() != 2<<20 || again < 2*n {
		t.Errorf("Size %d and room for %d when there was room again", r.Size(), again)
	}
}

func TestHolesAreFilledAtOpen(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	path := filepath.Join(dir, "reserve")
	r := openSized(t, path, 1<<20)
	fill(t, r, "kept")
	shut(t, r)
	// What a backup that knows about holes gives back.
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content[:recordsStart+blockSize], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	r = openSized(t, path, 1<<20)
	fillDisk(t, dir)
	topUp(t, r, 1000)
}

func TestNoRoomForAReserveIsAnError(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	fillDisk(t, dir)
	path := filepath.Join(dir, "reserve")
	if _, err := OpenReserve(path, 1<<20); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("opening: %v", err)
	}
	if _, _, err := OpenInFlight(filepath.Join(dir, "inflight"), 100); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("opening notes: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	fill(t, openSized(t, path, 1<<20), "one")
}

func TestCrashOnAFullDiskIsListedAndAcknowledged(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	path := filepath.Join(dir, "inflight")
	f, _ := openNotes(t, path, 100)
	fillDisk(t, dir)
	for i := range 100 {
		f.Begin(at(int64(i), "/a"))
	}
	f.Close()
	f, left := openNotes(t, path, 100)
	if len(left) != 100 || f.Missed() != 0 {
		t.Errorf("%d left over, %d missed", len(left), f.Missed())
	}
	for _, e := range left[1:] {
		if ok, err := f.Acknowledge(e.ID); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	f.Close()
	f, _ = openNotes(t, path, 100)
	if got := f.InDoubt(); len(got) != 1 || got[0] != left[0] {
		t.Errorf("in doubt %+v", got)
	}
}
