package badger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

var (
	keyA = bytes.Repeat([]byte{1}, 32)
	keyB = bytes.Repeat([]byte{2}, 32)
	keyC = bytes.Repeat([]byte{3}, 16)
)

const plainWords = "plain to see"

// stocked makes a closed directory with 3 webhooks and deliveries in tables, write-ahead log and value log, all with
// plainWords in them, and returns what must be there later.
func stocked(t *testing.T, o Options) []store.Delivery {
	t.Helper()
	var all []store.Delivery
	for range 2 { // the second time there are tables
		s := open(t, o)
		ws := make([]store.Webhook, 3)
		for i := range ws {
			ws[i] = storetest.Webhook("acme")
			ws[i].Secret = plainWords
			if err := s.CreateWebhook(t.Context(), ws[i], 100); err != nil {
				t.Fatal(err)
			}
		}
		for i, w := range ws {
			d := storetest.Delivery(w, storetest.Start)
			d.Payload = bytes.Repeat([]byte(plainWords+" "), 1+200*i)
			if err := s.Enqueue(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		}
		s.Close()
	}
	return all
}

// checkStock fails unless a directory opens and has all that stocked put there.
func checkStock(t *testing.T, o Options, want []store.Delivery) {
	t.Helper()
	s := open(t, o)
	defer s.Close()
	for _, d := range want {
		got, err := s.Get(t.Context(), d.Webhook, d.ID)
		if err != nil || !bytes.Equal(got.Payload, d.Payload) || got.State != store.Pending {
			t.Errorf("delivery %s: %v", d.ID, err)
		}
		if w := s.Directory().Get(d.Webhook); w == nil || w.Secret != plainWords {
			t.Errorf("webhook %s is %+v", d.Webhook, w)
		}
		if ds, err := s.Claim(t.Context(), d.Webhook, storetest.Start, 10); err != nil || len(ds) != 1 {
			t.Errorf("claimed %d of webhook %s: %v", len(ds), d.Webhook, err)
		}
	}
	if c, err := s.Counts(t.Context()); err != nil || c.Enqueued != uint64(len(want)) || c.Delivering != uint64(len(want)) {
		t.Errorf("counts are %+v, %v", c, err)
	}
}

func TestKeyIsChangedAndTheFormerOneOpensNothingMore(t *testing.T) {
	t.Parallel()
	for name, to := range map[string][]byte{"same length": keyB, "shorter": keyC} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			want := stocked(t, Options{Dir: dir, EncryptionKey: keyA})
			wantOpenError(t, Options{Dir: dir, EncryptionKey: to}, ErrWrongKey, hintOther)
			checkStock(t, Options{Dir: dir, EncryptionKey: to, FormerKeys: [][]byte{keyA}}, want)
			checkStock(t, Options{Dir: dir, EncryptionKey: to, FormerKeys: [][]byte{keyA}}, want) // nothing to change
			checkStock(t, Options{Dir: dir, EncryptionKey: to}, want)
			wantOpenError(t, Options{Dir: dir, EncryptionKey: keyA}, ErrWrongKey, hintOther)
			wantOpenError(t, Options{Dir: dir, EncryptionKey: keyA, FormerKeys: [][]byte{nil}}, ErrWrongKey, hintNoneFound)
			wantOpenError(t, Options{Dir: dir}, ErrWrongKey, hintMissing)
		})
	}
}

func TestPlainDirectoryIsEncryptedIfAskedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := stocked(t, Options{Dir: dir})
	if !contains(t, dir, plainWords) {
		t.Fatal("the test is void: nothing is plain to see")
	}
	wantOpenError(t, Options{Dir: dir, EncryptionKey: keyA}, ErrWrongKey, hintPlain)
	o := Options{Dir: dir, EncryptionKey: keyA, FormerKeys: [][]byte{keyB, nil}}
	checkStock(t, o, want)
	if contains(t, dir, plainWords) {
		t.Error("something is plain to see")
	}
	checkStock(t, o, want)
	checkStock(t, Options{Dir: dir, EncryptionKey: keyA}, want)
	wantOpenError(t, Options{Dir: dir}, ErrWrongKey, hintMissing)
	for _, left := range []string{copyUnfinished, copyWhole, copyMoving} {
		if _, err := os.Stat(filepath.Join(dir, left)); err == nil {
			t.Errorf("%s is left over", left)
		}
	}
}

// A directory that a kill left while it was being encrypted, at every step: nothing is lost, and the next open goes on.
func TestEncryptingGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	o := Options{EncryptionKey: keyA, FormerKeys: [][]byte{nil}}
	log := new(logger)
	whole := func(t *testing.T, dir string) {
		o := o
		o.Dir = dir
		if err := o.copyEncrypted(log); err != nil {
			t.Fatal(err)
		}
	}
	for name, cut := range map[string]func(t *testing.T, dir string){
		"while copying": func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, copyUnfinished), 0o700); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, copyUnfinished, "000001.sst"), "half a table")
		},
		"after copying": whole,
		"while dropping the plain files": func(t *testing.T, dir string) {
			whole(t, dir)
			files, err := databaseFiles(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files[:len(files)/2] {
				os.Remove(file)
			}
		},
		"after dropping the plain files": func(t *testing.T, dir string) {
			whole(t, dir)
			if err := dropPlain(dir); err != nil {
				t.Fatal(err)
			}
		},
		"while moving the copy": func(t *testing.T, dir string) {
			whole(t, dir)
			if err := dropPlain(dir); err != nil {
				t.Fatal(err)
			}
			files, err := databaseFiles(filepath.Join(dir, copyMoving))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files[len(files)/2:] {
				if err := os.Rename(file, filepath.Join(dir, filepath.Base(file))); err != nil {
					t.Fatal(err)
				}
			}
		},
		"after moving the copy": func(t *testing.T, dir string) {
			whole(t, dir)
			if err := errors.Join(dropPlain(dir), moveUp(dir), os.Mkdir(filepath.Join(dir, copyMoving), 0o700)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := o
			o.Dir = t.TempDir()
			want := stocked(t, Options{Dir: o.Dir})
			cut(t, o.Dir)
			checkStock(t, o, want)
			if contains(t, o.Dir, plainWords) {
				t.Error("something is plain to see")
			}
		})
	}
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEncryptingNeedsRoomForACopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := stocked(t, Options{Dir: dir})
	room := uint64(1 << 20)
	o := Options{Dir: dir, EncryptionKey: keyA, FormerKeys: [][]byte{nil}, Room: func() (uint64, error) { return room, nil }}
	wantOpenError(t, o, nil, "1 are free")
	o.Room = func() (uint64, error) { return 0, errors.New("no answer") }
	wantOpenError(t, o, nil, "no answer")
	o.Room = func() (uint64, error) { return 10 << 30, nil }
	checkStock(t, o, want)
}

// One that a kill left before there was anything in it.
func TestDirectoryThatWasJustMadeIsEncryptedToo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, Options{Dir: dir}).Close()
	files, err := filesLike(dir, "MANIFEST", "*.sst", "*.vlog", "*.mem", "DISCARD")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		os.Remove(file)
	}
	open(t, Options{Dir: dir, EncryptionKey: keyA, FormerKeys: [][]byte{nil}})
}

func TestEncryptedIsNotMadePlain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, Options{Dir: dir, EncryptionKey: keyA}).Close()
	wantOpenError(t, Options{Dir: dir, FormerKeys: [][]byte{keyA}}, nil, "plain text")
}

func TestKeyIsCheckedWithoutOpening(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, Options{Dir: dir, EncryptionKey: keyA})
	for name, c := range map[string]struct {
		o    Options
		want error
	}{
		"right":     {Options{Dir: dir, EncryptionKey: keyA}, nil},
		"former":    {Options{Dir: dir, EncryptionKey: keyB, FormerKeys: [][]byte{nil, keyA}}, nil},
		"wrong":     {Options{Dir: dir, EncryptionKey: keyB}, ErrWrongKey},
		"none":      {Options{Dir: dir}, ErrWrongKey},
		"no folder": {Options{Dir: filepath.Join(dir, "x"), EncryptionKey: keyB}, nil},
	} {
		if err := CheckKey(c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamagedKeyRegistryIsNoWrongKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, Options{Dir: dir, EncryptionKey: keyA}).Close()
	writeFile(t, filepath.Join(dir, "KEYREGISTRY"), "")
	wantOpenError(t, Options{Dir: dir, EncryptionKey: keyA}, ErrDamaged, "KEYREGISTRY")
}

// What is kept aside of a record of an encrypted store is not its content.
func TestCorruptRecordOfAnEncryptedStoreIsNotCopiedInPlainText(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Dir: dir, EncryptionKey: keyA}
	s := open(t, o)
	w := webhooks(t, s, 1)[0]
	id, _ := parseUUID(w.ID)
	set(t, s, webhookKey(prefixWebhook, id), []byte("\x01{"+plainWords), 0)
	s.Close()
	if s = open(t, o); s.Corrupt() != 1 {
		t.Fatalf("%d corrupt", s.Corrupt())
	}
	kept, err := os.ReadFile(filepath.Join(dir, "corrupt", "records"))
	if err != nil || !strings.Contains(string(kept), fmt.Sprintf("%x", id[:])) || strings.Contains(string(kept), fmt.Sprintf("%x", plainWords)) {
		t.Errorf("kept aside: %q, %v", kept, err)
	}
}
