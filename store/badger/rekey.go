package badger

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// ErrWrongKey is returned by Open when the directory was made with another encryption key, or with none.
var ErrWrongKey = errors.New("wrong encryption key for this directory")

// The words that follow ErrWrongKey.
const (
	hintMissing   = "it is encrypted; give the encryption_key that it was made with"
	hintPlain     = "it is not encrypted; to have that done, write none behind the key: encryption_key <key> none"
	hintOther     = "if the key was changed, give the former one behind the new one: encryption_key <key> <former key>"
	hintNoneFound = "it was made with none of those given"
)

// CheckKey reports, without opening a directory, whether Open would find one of the keys to be its own ([ErrWrongKey]). A
// directory that is new, or cannot be read, is no error.
func CheckKey(o Options) error {
	_, _, err := o.findKey()
	if errors.Is(err, ErrWrongKey) {
		return err
	}
	return nil
}

// findKey returns the data keys of the directory and the one of the given keys that opened them; an empty one if the
// directory is not encrypted.
func (o *Options) findKey() (*badger.KeyRegistry, []byte, error) {
	for _, key := range append([][]byte{o.EncryptionKey}, o.FormerKeys...) {
		registry, err := readRegistry(o.Dir, key)
		if !errors.Is(err, badger.ErrEncryptionKeyMismatch) {
			return registry, key, err
		}
	}
	hint := hintOther
	_, err := readRegistry(o.Dir, nil)
	switch {
	case len(o.EncryptionKey) == 0:
		hint = hintMissing
	case err == nil:
		hint = hintPlain
	case len(o.FormerKeys) > 0:
		hint = hintNoneFound
	}
	return nil, nil, fmt.Errorf("%w: %s", ErrWrongKey, hint)
}

func readRegistry(dir string, key []byte) (*badger.KeyRegistry, error) {
	registry, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: key})
	if err != nil && !errors.Is(err, badger.ErrEncryptionKeyMismatch) {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Join(dir, badger.KeyRegistryFileName), err)
	}
	return registry, err
}

// rekey changes a directory from the key that it has to the one that is wanted. Badger encrypts with data keys of its
// own, and only these with the key that it is given: changing that is one small file, replaced at once.
func (o *Options) rekey(registry *badger.KeyRegistry, present []byte, log *logger) error {
	if string(present) == string(o.EncryptionKey) {
		return nil
	}
	if len(present) == 0 {
		return o.encrypt(log)
	}
	err := badger.WriteKeyRegistry(registry, badger.KeyRegistryOptions{Dir: o.Dir, EncryptionKey: o.EncryptionKey})
	if err != nil {
		return fmt.Errorf("changing the encryption key: %w", err)
	}
	log.log("warn", "the encryption key of %s was changed; the former one is not needed any more", []any{o.Dir})
	return nil
}

// isNew reports whether no database has been made in a directory yet.
func isNew(dir string) bool {
	files, err := filesLike(dir, badger.ManifestFilename, "*.sst", "*.vlog")
	return err == nil && len(files) == 0
}
