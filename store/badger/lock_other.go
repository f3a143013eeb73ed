//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package badger

// withLock calls fn without a lock. On Windows files in use cannot be removed, and Badger itself refuses
// a directory that is in use.
func withLock(_ string, fn func() error) error { return fn() }
