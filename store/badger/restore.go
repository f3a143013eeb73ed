package badger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// iterateAll goes through the latest versions of all keys.
var iterateAll = badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100}

// ErrNotEmpty is returned by Restore when there is something in the directory already.
var ErrNotEmpty = errors.New("the directory is not empty, so it may be a store in use; move it aside first")

// Restore makes a store out of a backup, in a directory that does not exist or is empty. The directory appears whole
// or not at all: it is made under another name beside its place, checked by opening it, and then renamed.
func Restore(o Options, backup io.ReadSeeker) (err error) {
	if err := ReadBackup(backup, nil); err != nil {
		return fmt.Errorf("checking backup: %w", err)
	}
	if _, err := backup.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading backup: %w", err)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("restoring: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("restoring into %s: %w", dir, ErrNotEmpty)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".restoring-")
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	o.Dir = temporary
	if err := o.fill(backup); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	s, err := Open(o)
	if err != nil {
		return fmt.Errorf("checking what was restored: %w", err)
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("checking what was restored: %w", err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("restoring: %w", err)
	}
	if err := os.Rename(temporary, dir); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	return nil
}

// fill writes the records of a backup into a new database.
func (o Options) fill(backup io.Reader) (err error) {
	db, err := badger.Open(badgerOptions(o, &logger{logf: o.Logf}).WithSyncWrites(false)) // until it is closed
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	err = ReadBackup(backup, func(key, value []byte, meta byte) error {
		entry := badger.NewEntry(append([]byte(nil), key...), append([]byte(nil), value...)).WithMeta(meta)
		return batch.SetEntry(entry)
	})
	if err != nil {
		return err
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	return db.Sync()
}
