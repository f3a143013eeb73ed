package badger

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// keepPrivate leaves the database's files to their owner. Badger makes most of them with mode 0666, as far as the umask lets
// it, which belongs to the process and so is not ours to change. The directory keeps others out meanwhile; the
// files' own mode counts where they are copied to.
func keepPrivate(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	files, err := databaseFiles(dir)
	errs := []error{err}
	for _, file := range append(files, filepath.Join(dir, "LOCK")) {
		info, err := os.Lstat(file)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(file, 0o600)
		}
		errs = append(errs, ignoreMissing(err)) // it may have gone meanwhile
	}
	return errors.Join(errs...)
}

// makePrivate is keepPrivate where nobody could make anything of an error but log it.
func (s *Store) makePrivate() {
	if err := keepPrivate(s.dir); err != nil {
		s.log.log("warn", "leaving the files to their owner: %v", []any{err})
	}
}

// warnOfReaders tells of a directory that others can look into. We make ours with mode 0700; one that was there before may
// have other uses, so its mode is its owner's to change.
func (s *Store) warnOfReaders() {
	info, err := os.Stat(s.dir)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		s.log.log("warn", "others than its owner may read the directory %s (mode %04o); chmod 700 would keep them out", []any{s.dir, info.Mode().Perm()})
	}
}
