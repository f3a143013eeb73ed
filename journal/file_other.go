//go:build !linux

package journal

import (
	"errors"
	"os"
	"runtime"
)

// allocate has no portable form; the caller writes zeros.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

func syncData(f *os.File) error { return f.Sync() }

func syncOpenDirectory(d *os.File) error {
	// A directory cannot be flushed on Windows, and need not be.
	if runtime.GOOS == "windows" {
		return nil
	}
	return d.Sync()
}
