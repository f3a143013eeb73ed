package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/dgraph-io/badger/v4"
)

// A directory that is not encrypted becomes so by way of a copy: Badger by itself would leave in plain text what it does
// not happen to rewrite. Folders in the directory tell how far that has got, whenever the process may be killed:
//
//   - copyUnfinished is being filled. It is worth nothing.
//   - copyWhole is complete. The plain files are worth nothing any more and are being removed.
//   - copyMoving has taken their place as far as its files have been moved up. There are no plain files any more.
const (
	copyUnfinished = "encrypting"
	copyWhole      = "encrypted"
	copyMoving     = "encrypted-moving"
)

// copyMargin is how much room, in bytes, there has to be beyond the size of the plain files.
const copyMargin = 64 << 20

// encrypt makes an encrypted copy of the directory's plain files and puts it in their place.
func (o *Options) encrypt(log *logger) error {
	if isNew(o.Dir) { // what there is of it is only a list without keys
		return ignoreMissing(os.Remove(filepath.Join(o.Dir, badger.KeyRegistryFileName)))
	}
	log.log("warn", "encrypting %s", []any{o.Dir})
	if err := o.checkRoom(); err != nil {
		return fmt.Errorf("encrypting: %w", err)
	}
	if err := o.copyEncrypted(log); err != nil {
		return fmt.Errorf("encrypting: %w", err)
	}
	if err := finishEncrypting(o.Dir); err != nil {
		return err
	}
	log.log("warn", "%s is encrypted now; what was deleted in plain text may still be found on the disk itself, and in backups", []any{o.Dir})
	return nil
}

func (o *Options) checkRoom() error {
	if o.Room == nil {
		return nil
	}
	need := uint64(copyMargin)
	files, err := databaseFiles(o.Dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			need += uint64(info.Size()) //nolint:gosec // a size
		}
	}
	room, err := o.Room()
	if err != nil {
		return err
	}
	if room < need {
		return fmt.Errorf("it takes a copy, for which %d MiB are needed on the disk and %d are free beyond min_free", need>>20, room>>20)
	}
	return nil
}

// copyEncrypted makes copyWhole. The caller holds the lock of the directory.
func (o *Options) copyEncrypted(log *logger) error {
	into := filepath.Join(o.Dir, copyUnfinished)
	if err := errors.Join(os.RemoveAll(into), os.Mkdir(into, 0o700)); err != nil {
		return err
	}
	plain := Options{Dir: o.Dir}
	from, err := badger.Open(badgerOptions(plain, log).WithBypassLockGuard(true))
	if err != nil {
		return err
	}
	err = copyInto(from, badgerOptions(Options{Dir: into, EncryptionKey: o.EncryptionKey}, log))
	if err := errors.Join(err, from.Close()); err != nil {
		return err
	}
	files, err := databaseFiles(into)
	if err != nil {
		return err
	}
	for _, file := range append(files, into) {
		if err := syncPath(file); err != nil {
			return err
		}
	}
	if err := os.Rename(into, filepath.Join(o.Dir, copyWhole)); err != nil {
		return err
	}
	return syncPath(o.Dir)
}

// copyInto copies record by record. Badger's own streams would take hundreds of MiB of memory.
func copyInto(from *badger.DB, o badger.Options) error {
	to, err := badger.Open(o.WithSyncWrites(false)) // its files are synced when they are all there
	if err != nil {
		return err
	}
	batch := to.NewWriteBatch()
	defer batch.Cancel()
	err = from.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			value, err := item.ValueCopy(nil)
			if err != nil {
				return err
			}
			if err := batch.SetEntry(badger.NewEntry(item.KeyCopy(nil), value).WithMeta(item.UserMeta())); err != nil {
				return err
			}
		}
		return batch.Flush()
	})
	return errors.Join(err, to.Close())
}

// finishEncrypting puts a whole copy, if there is one, in the place of the plain files. It goes on where it was
// interrupted. The caller holds the lock of the directory.
func finishEncrypting(dir string) error {
	err := errors.Join(dropPlain(dir), moveUp(dir), os.RemoveAll(filepath.Join(dir, copyUnfinished)))
	if err != nil {
		return fmt.Errorf("putting the encrypted copy in place: %w", err)
	}
	return nil
}

func dropPlain(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, copyWhole)); err != nil {
		return ignoreMissing(err)
	}
	files, err := databaseFiles(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	if err := syncPath(dir); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, copyWhole), filepath.Join(dir, copyMoving)); err != nil {
		return err
	}
	return syncPath(dir)
}

func moveUp(dir string) error {
	from := filepath.Join(dir, copyMoving)
	if _, err := os.Stat(from); err != nil {
		return ignoreMissing(err)
	}
	files, err := databaseFiles(from)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Rename(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			return err
		}
	}
	if err := syncPath(dir); err != nil {
		return err
	}
	return os.RemoveAll(from)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// databaseFiles are the files in a directory that are Badger's, but for its lock.
func databaseFiles(dir string) ([]string, error) {
	return filesLike(dir, "*.sst", "*.vlog", "*.mem", badger.ManifestFilename, badger.KeyRegistryFileName, "DISCARD")
}

// filesLike is filepath.Glob for names in a directory whose own name may hold anything.
func filesLike(dir string, patterns ...string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		for _, pattern := range patterns {
			if ok, _ := filepath.Match(pattern, e.Name()); ok && !e.IsDir() {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	return files, nil
}

// syncPath makes a file, or the names in a directory, durable.
func syncPath(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	mode := os.O_RDWR
	if info.IsDir() {
		if runtime.GOOS == "windows" {
			return nil // cannot be flushed, and need not be
		}
		mode = os.O_RDONLY
	}
	f, err := os.OpenFile(path, mode, 0) //nolint:gosec // in our own directory
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
