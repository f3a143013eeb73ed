//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package badger

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// withLock calls fn while no other process has the directory open. It takes the same lock as Badger
// (flock on the directory), which the kernel drops with the process: a LOCK file left by a kill does not matter.
func withLock(dir string, fn func() error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	if err != nil {
		return fmt.Errorf("locking directory: %w", err)
	}
	return fn()
}
