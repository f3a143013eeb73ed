//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package badger

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockPatience is how long a lock that somebody has is asked for again. It outlasts a process that is just being stopped,
// and a child of ours between its fork and its exec, which has our descriptors and their locks for that moment.
const lockPatience = time.Second

// withLock calls fn while no other process has the directory open. It takes the same lock as Badger
// (flock on the directory), which the kernel drops with the process: a LOCK file left by a kill does not matter.
func withLock(dir string, fn func() error) error {
	d, err := os.Open(dir) //nolint:gosec // from the configuration
	if err != nil {
		return err
	}
	defer d.Close()
	if err := lock(d); err != nil {
		return err
	}
	err = fn()
	// Closing would leave the lock to a child that has the descriptor, too.
	if unlockErr := syscall.Flock(int(d.Fd()), syscall.LOCK_UN); err == nil && unlockErr != nil {
		err = fmt.Errorf("unlocking directory: %w", unlockErr)
	}
	return err
}

func lock(d *os.File) error {
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("locking directory: %w", err)
		}
		if time.Now().After(end) {
			return ErrLocked
		}
	}
}
