package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

var (
	// ErrFull is returned by [Reserve.Append] when the record does not fit into what room is left. Nothing
	// was written. A shorter record may still fit.
	ErrFull = errors.New("reserve is full")
	// ErrClosed is returned by every call that would have to touch a file after its Close.
	ErrClosed = errors.New("journal is closed")
)

// ErrLocked is returned by the functions that open when another process, or another part of this one, has the file open.
var ErrLocked = errors.New("file is in use by another process")

// openFile opens the file at path, or makes an empty one, and takes the lock on it.
func openFile(path string) (*os.File, error) {
	// Whoever moves a file aside does so under its lock. What was opened just before that is no longer the file
	// of this name once the lock has been had, and counts for nothing.
	for range 10 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // from the configuration
		if err != nil {
			return nil, err
		}
		current, err := claimFile(f, path)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if current {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: %w", path, ErrLocked)
}

// claimFile locks f and reports whether it still is the file at path.
func claimFile(f *os.File, path string) (current bool, err error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !opened.Mode().IsRegular() {
		return false, fmt.Errorf("%s: not a regular file", path)
	}
	if err := lock(f); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	named, err := os.Stat(path) //nolint:gosec // from the configuration
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil || !os.SameFile(opened, named) {
		return false, err
	}
	if opened.Mode().Perm() != 0o600 {
		return true, f.Chmod(0o600)
	}
	return true, nil
}

// closeFile gives up the lock at once, even while a read of another goroutine keeps the file open for some
// microseconds more.
func closeFile(f *os.File) error {
	unlock(f)
	return f.Close()
}

// reach gives the file at least size bytes, all of them on disk, and makes that durable. What it held stays. When
// there is no room it is as long as before.
func reach(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	old := info.Size()
	// A restored backup may have holes where the file had room. A failure leaves things no worse than they were.
	_ = allocate(f, old)
	if old >= size {
		return nil
	}
	if err := extend(f, old, size); err != nil {
		return errors.Join(fmt.Errorf("preallocating %d bytes: %w", size, err), f.Truncate(old))
	}
	return nil
}

func extend(f *os.File, old, size int64) error {
	if err := allocate(f, size); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	// Zeros are written even over allocated room: extents that were never written have to be converted on the
	// first write, which is a metadata change that each fdatasync would have to carry to the disk.
	zeros := make([]byte, min(size-old, 1<<20))
	for at := old; at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// blank reports whether the file holds nothing but zeros: one just made, or one whose making was cut short.
func blank(f *os.File) (bool, error) {
	buf, zeros := make([]byte, 256<<10), make([]byte, 256<<10)
	for at := int64(0); ; {
		n, err := f.ReadAt(buf, at)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		at += int64(n)
	}
}

// syncDirectory makes the name of a file durable.
func syncDirectory(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = syncOpenDirectory(d)
	return errors.Join(err, d.Close())
}

// readTolerant fills p from offset at. What cannot be read is zero, which no structure here takes for content.
func readTolerant(r io.ReaderAt, p []byte, at int64) {
	n, err := r.ReadAt(p, at)
	if err == nil || errors.Is(err, io.EOF) {
		clear(p[n:])
		return
	}
	for len(p) > 0 {
		// One block at a time, so that a bad one takes no neighbour with it.
		part := p[:min(int64(len(p)), blockSize-at%blockSize)]
		if n, err := r.ReadAt(part, at); err != nil {
			clear(part[n:])
		}
		p, at = p[len(part):], at+int64(len(part))
	}
}
