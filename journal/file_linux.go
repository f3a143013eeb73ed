package journal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate makes sure that the first size bytes of the file have their place on disk, and that the file is
// at least that long. It returns an error that is errors.ErrUnsupported where the file system cannot.
func allocate(f *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	return retryInterrupted(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
}

// syncData makes written bytes durable. The length and the place of the file's blocks never change after it has
// been made, so its metadata need not be.
func syncData(f *os.File) error {
	return retryInterrupted(func() error { return unix.Fdatasync(int(f.Fd())) })
}

func syncOpenDirectory(d *os.File) error { return d.Sync() }

// retryInterrupted is for calls that end early when a signal comes; the Go scheduler sends many.
func retryInterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
