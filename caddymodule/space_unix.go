//go:build unix

package caddymodule

import "golang.org/x/sys/unix"

// freeSpace is how many bytes a process like ours may still write to the disk that holds a directory.
func freeSpace(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return stat.Bavail * uint64(stat.Bsize), nil //nolint:gosec // a size of blocks is positive
}
