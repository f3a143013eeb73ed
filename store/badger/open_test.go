package badger

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/goleak"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
	"github.com/bentihooks/bentihooks/store/storetest"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	t.Run("no directory", func(t *testing.T) {
		t.Parallel()
		wantOpenError(t, Options{}, nil, "no directory")
	})
	t.Run("a key of a wrong length", func(t *testing.T) {
		t.Parallel()
		wantOpenError(t, Options{Dir: t.TempDir(), EncryptionKey: make([]byte, 17)}, nil, "17 bytes")
	})
	t.Run("a directory that is in use", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		open(t, Options{Dir: dir})
		wantOpenError(t, Options{Dir: dir}, ErrLocked, dir)
	})
	t.Run("a newer format", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := open(t, Options{Dir: dir})
		set(t, s, formatKey, []byte{formatVersion + 1}, 0)
		s.Close()
		wantOpenError(t, Options{Dir: dir}, ErrNewerFormat, "format 3")
	})
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	for name, keys := range map[string][2][]byte{
		"another key":                       {key, other},
		"no key for an encrypted directory": {key, nil},
		"a key for an ordinary directory":   {nil, key},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			open(t, Options{Dir: dir, EncryptionKey: keys[0]}).Close()
			wantOpenError(t, Options{Dir: dir, EncryptionKey: keys[1]}, ErrWrongKey, dir)
			open(t, Options{Dir: dir, EncryptionKey: keys[0]}).Close()
		})
	}
}

func wantOpenError(t *testing.T, o Options, want error, part string) {
	t.Helper()
	s, err := Open(o)
	if err == nil {
		s.Close()
		t.Fatal("opened")
	}
	if want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), part) {
		t.Errorf("error is %q, want %v with %q", err, want, part)
	}
}

// set writes a key behind the engine's back.
func set(t *testing.T, s *Store, key, value []byte, meta byte) {
	t.Helper()
	err := s.db.Update(func(txn *badger.Txn) error {
		return txn.SetEntry(badger.NewEntry(key, value).WithMeta(meta))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenSurvivesDebrisOfAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	w := webhooks(t, s, 1)[0]
	s.Close()
	for _, name := range []string{"00042.mem", "000042.vlog", "LOCK"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s = open(t, Options{Dir: dir}); s.Directory().Get(w.ID) == nil {
		t.Error("webhook is lost")
	}
}

func TestDirectoryIsForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	open(t, Options{Dir: dir})
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode is %v", info.Mode())
	}
}

func TestEncryptedDirectoryHidesPayloads(t *testing.T) {
	t.Parallel()
	for name, key := range map[string][]byte{"with a key": bytes.Repeat([]byte{7}, 16), "without": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, Options{Dir: dir, EncryptionKey: key})
			ds := fanOut(webhooks(t, s, 1))
			ds[0].Payload = bytes.Repeat([]byte("plain to see "), 200)
			if err := s.Enqueue(t.Context(), ds...); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if got := contains(t, dir, "plain to see"); got != (key == nil) {
				t.Errorf("payload is found in the files: %v", got)
			}
			s = open(t, Options{Dir: dir, EncryptionKey: key})
			if _, err := s.Get(t.Context(), ds[0].Webhook, ds[0].ID); err != nil {
				t.Error(err)
			}
		})
	}
}

// contains reports whether a file under dir has text in it.
func contains(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestCloseLeavesNothingBehind is not parallel: it counts the goroutines of the whole process.
func TestCloseLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := t.TempDir()
	for range 3 {
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Enqueue(t.Context(), fanOut(webhooks(t, s, 2))...); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		goleak.VerifyNone(t, before)
	}
}

func TestCorruptRecordsAreSkippedCountedAndKeptAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	w := webhooks(t, s, 1)[0]
	ds := []store.Delivery{
		storetest.Delivery(w, storetest.Start), storetest.Delivery(w, storetest.Start), storetest.Delivery(w, storetest.Start),
	}
	if err := s.Enqueue(t.Context(), ds...); err != nil {
		t.Fatal(err)
	}
	webhook, _ := parseUUID(w.ID)
	broken, _ := parseUUID(ds[0].ID)
	missing, _ := parseUUID(ds[1].ID)
	record := encodeDelivery(&ds[0])
	record[20] ^= 1
	set(t, s, deliveryKey(webhook, broken), record, codec.Pending)
	remove(t, s, deliveryKey(webhook, missing))
	s.Close()

	s = open(t, Options{Dir: dir})
	list, err := s.List(t.Context(), w.ID, "", 10)
	if err != nil || len(list) != 1 || list[0].ID != ds[2].ID {
		t.Errorf("listed %v, %v", list, err)
	}
	if _, err := s.Get(t.Context(), w.ID, ds[0].ID); !errors.Is(err, errCorrupt) {
		t.Errorf("getting a corrupt delivery: %v", err)
	}
	for range 2 {
		got, err := s.Claim(t.Context(), w.ID, storetest.Start, 10)
		if err != nil || len(got) != 1 || got[0].ID != ds[2].ID {
			t.Fatalf("claimed %v, %v", got, err)
		}
		if err := s.Release(t.Context(), got...); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Corrupt(); got != 2 {
		t.Errorf("%d records are counted as corrupt, want 2", got)
	}
	kept, err := os.ReadFile(filepath.Join(dir, "corrupt", "records"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(kept), "\n"); lines != 2 {
		t.Errorf("%d lines kept aside, want 2:\n%s", lines, kept)
	}
	// Deleting the webhook gets rid of them, and the sum still holds.
	if err := s.DeleteWebhook(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		if c, err := s.Counts(t.Context()); err != nil || c.Dropped == 3 {
			break
		}
	}
}

func remove(t *testing.T, s *Store, key []byte) {
	t.Helper()
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Delete(key) }); err != nil {
		t.Fatal(err)
	}
}

func TestCorruptWebhookDoesNotKeepTheStoreShut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	ws := webhooks(t, s, 2)
	id, _ := parseUUID(ws[0].ID)
	set(t, s, webhookKey(prefixWebhook, id), []byte("\x01{half"), 0)
	s.Close()
	s = open(t, Options{Dir: dir})
	if s.Directory().Len() != 1 || s.Corrupt() != 1 {
		t.Errorf("%d webhooks, %d corrupt", s.Directory().Len(), s.Corrupt())
	}
}
