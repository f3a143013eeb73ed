package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/dgraph-io/ristretto/v2/z"
)

// ErrDamaged is returned by Open when a file that Badger cannot do without is damaged.
var ErrDamaged = errors.New("a file of the database is damaged; restore the directory from a backup, " +
	"or move it aside to start anew (webhooks must then be registered again)")

// checkTime bounds how long the contents of tables are looked at when opening. What is left then is checked by its
// indexes only; as the order is random, another start looks at other tables.
const checkTime = time.Second

// guarded makes an error of a panic: the process has other things to do than to fail with its store.
func guarded(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %.200q", ErrDamaged, fmt.Sprint(r))
		}
	}()
	return do()
}

// checkTables opens the tables that the manifest lists as Badger will, because Badger does it in goroutines of its own:
// with a damaged index they leave the table out, so that deliveries vanish, or panic, which ends the process.
func checkTables(o badger.Options, keys *badger.KeyRegistry) error {
	name := filepath.Join(o.Dir, badger.ManifestFilename)
	file, err := os.Open(name) //nolint:gosec // in our own directory
	if errors.Is(err, os.ErrNotExist) {
		return nil // a new directory
	}
	if err != nil {
		return fmt.Errorf("reading manifest: %w", err)
	}
	defer file.Close()
	manifest, _, err := badger.ReplayManifestFile(file, o.ExternalMagicVersion, o)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	indexes, err := ristretto.NewCache(&ristretto.Config[uint64, *fb.TableIndex]{NumCounters: 100, MaxCost: 1 << 20, BufferItems: 64})
	if err != nil {
		return err
	}
	defer indexes.Close()
	begin := time.Now()
	for id, t := range manifest.Tables {
		key, err := keys.DataKey(t.KeyID)
		if err != nil {
			return fmt.Errorf("reading encryption keys: %w", err)
		}
		name := table.NewFilename(id, o.Dir)
		options := table.Options{
			ReadOnly: true, BlockSize: o.BlockSize, ChkMode: o.ChecksumVerificationMode, Compression: t.Compression,
			DataKey: key, IndexCache: indexes,
		}
		err = guarded(func() error { return checkTable(name, options, time.Since(begin) < checkTime) })
		if err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
	}
	return nil
}

func checkTable(name string, o table.Options, contents bool) error {
	file, err := z.OpenMmapFile(name, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer file.Close(-1)
	t, err := table.OpenTable(file, o)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !contents || guarded(t.VerifyChecksum) == nil {
		return nil
	}
	return walk(t)
}

// walk tells a table with damage inside of values, which costs these records only, from one with damage that
// makes Badger panic when it compacts.
func walk(t *table.Table) error {
	it := t.NewIterator(table.NOCACHE)
	defer it.Close()
	var last []byte
	var n uint32
	for it.Rewind(); it.Valid(); it.Next() {
		if key := it.Key(); len(key) <= 8 || last != nil && y.CompareKeys(last, key) >= 0 {
			return fmt.Errorf("%w: keys are out of order", ErrDamaged)
		}
		it.Value()
		last = append(last[:0], it.Key()...)
		n++
	}
	if n != t.KeyCount() {
		return fmt.Errorf("%w: it has %d of %d keys", ErrDamaged, n, t.KeyCount())
	}
	return nil
}
