package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// smallDisk mounts a file system in memory until the test ends, and returns where. Call it before what uses it is
// made, so that it goes last.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	needRoot(t)
	dir := mountPoint(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		t.Skipf("mounting a small tmpfs: %v", err)
	}
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}

// grow makes a small disk larger.
func grow(t *testing.T, dir, size string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount file systems")
	}
}

// mountPoint is a directory that is not in the one of a proxy, which is removed while the mount may still be there.
func mountPoint(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "benti-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	return dir
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	err := syscall.Unmount(dir, 0)
	// A process that is just being forked, here or elsewhere on the machine, has it open for a moment.
	for end := time.Now().Add(patience); errors.Is(err, syscall.EBUSY) && time.Now().Before(end); err = syscall.Unmount(dir, 0) {
		<-time.After(10 * time.Millisecond)
	}
	if err != nil {
		// Better a mount that goes when its last user does than one that stays.
		err = errors.Join(err, syscall.Unmount(dir, syscall.MNT_DETACH))
		t.Errorf("unmounting %s: %v", dir, err)
	}
}

// foreign is another program that takes all room of a disk.
type foreign struct {
	t    *testing.T
	file string
}

// fill takes the room in about the given time, and returns when not a byte is left. A second call takes what has
// come free since.
func (f *foreign) fill(within time.Duration) {
	f.t.Helper()
	const step = 2 << 20
	file, err := os.OpenFile(f.file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	steps := max(1, freeBytes(f.t, f.file)/step)
	ticker := time.NewTicker(max(within/time.Duration(steps), time.Millisecond))
	defer ticker.Stop()
	data := make([]byte, step)
	for len(data) > 0 {
		<-ticker.C
		// Less and less at the end, to get at the last block.
		if _, err := file.Write(data); errors.Is(err, syscall.ENOSPC) {
			data = data[:len(data)/2]
		} else if err != nil {
			f.t.Fatal(err)
		}
	}
	if err := file.Sync(); err != nil {
		f.t.Fatal(err)
	}
}

// leave gives the room back.
func (f *foreign) leave() {
	f.t.Helper()
	if err := os.Remove(f.file); err != nil {
		f.t.Fatal(err)
	}
}

func freeBytes(t *testing.T, file string) int {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(file), &s); err != nil {
		t.Fatal(err)
	}
	return int(s.Bavail) * int(s.Bsize)
}
