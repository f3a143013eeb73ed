package badger

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(victimDir) != "" {
		os.Exit(m.Run()) // a child; an open that fails in Badger leaves goroutines of Badger's behind
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Both have every look end as soon as it may: shortLook merges lanes, markedLook goes from mark to mark.
var (
	shortLook  = look{time: -time.Second, keys: 1, least: 1, most: 2, lanes: 1 << 20}
	markedLook = look{time: -time.Second, keys: 1, least: 1, most: 2}
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"as ever": {}, "small window, short looks": {window: 3, look: shortLook}, "by marks": {window: 3, look: markedLook}, "encrypted": {EncryptionKey: keyA},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) store.Store { return open(t, o) })
		})
	}
}

func TestDurability(t *testing.T) {
	t.Parallel()
	for name, key := range map[string][]byte{"plain": nil, "encrypted": keyA} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.RunDurable(t, storetest.Engine{
				Open: func(dir string) (store.Store, error) {
					return Open(Options{Dir: dir, EncryptionKey: key, window: 4, look: markedLook})
				},
				Crash: copyDir,
			})
		})
	}
}

// copyDir takes an image of an open store at rest: what is in the page cache is what a kill would leave. Badger may
// still be flushing what an earlier crash left, so it is taken again until nothing has changed meanwhile.
func copyDir(from, into string) error {
	for {
		before, err := listDir(from)
		if err != nil {
			return err
		}
		for name := range before {
			err = errors.Join(err, copySparse(filepath.Join(from, name), filepath.Join(into, name)))
		}
		after, lerr := listDir(from)
		if lerr != nil {
			return lerr
		}
		if err == nil && maps.Equal(before, after) {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for name := range before {
			os.Remove(filepath.Join(into, name))
		}
	}
}

// listDir returns the files of a directory with their sizes.
func listDir(dir string) (map[string]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make(map[string]int64)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && !e.IsDir() {
			files[e.Name()] = info.Size()
		}
	}
	return files, nil
}

// copySparse leaves out what is all zeros: Badger's files are large and mostly empty.
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	buf, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	var at int64
	for {
		n, err := in.ReadAt(buf, at)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return out.Truncate(at)
		}
		if err != nil {
			return err
		}
	}
}
