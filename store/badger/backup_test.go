package badger

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// someStore has a webhook with a delivery in each state, one of which has a payload that is in the value log.
func someStore(t *testing.T, o Options) (*Store, store.Webhook) {
	t.Helper()
	s := open(t, o)
	w := storetest.Webhook("acme")
	if err := s.CreateWebhook(t.Context(), w, 10); err != nil {
		t.Fatal(err)
	}
	for i, state := range []store.State{store.Delivered, store.Dead, store.Pending} {
		d := storetest.Delivery(w, storetest.Start)
		d.Payload = bytes.Repeat([]byte{'x'}, 1+i*valueThreshold)
		if err := s.Enqueue(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if state == store.Pending {
			continue
		}
		claimed := claimOne(t, s, w)
		if err := s.Finish(t.Context(), store.Outcome{Delivery: claimed, State: state, Attempt: store.Attempt{N: 1, At: storetest.Start}}); err != nil {
			t.Fatal(err)
		}
	}
	return s, w
}

func TestRestoredStoreHoldsWhatWasBackedUp(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{1}, 32)
	for name, keys := range map[string][2][]byte{"plain": {nil, nil}, "encrypted anew": {key, bytes.Repeat([]byte{2}, 16)}, "decrypted": {key, nil}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, w := someStore(t, Options{Dir: t.TempDir(), EncryptionKey: keys[0]})
			var backup bytes.Buffer
			if err := s.Backup(t.Context(), &backup); err != nil {
				t.Fatal(err)
			}
			o := Options{Dir: filepath.Join(t.TempDir(), "not", "yet"), EncryptionKey: keys[1]}
			if err := Restore(o, bytes.NewReader(backup.Bytes())); err != nil {
				t.Fatal(err)
			}
			restored := open(t, o)
			want, err := s.List(t.Context(), w.ID, "", 10)
			if err != nil {
				t.Fatal(err)
			}
			got, err := restored.List(t.Context(), w.ID, "", 10)
			if err != nil || len(got) != 3 || !slices.EqualFunc(got, want, func(a, b store.Delivery) bool {
				return a.ID == b.ID && a.State == b.State && bytes.Equal(a.Payload, b.Payload) && len(a.Attempts) == len(b.Attempts)
			}) {
				t.Errorf("restored %+v, %v, want %+v", got, err, want)
			}
			if restored.Directory().Get(w.ID) == nil {
				t.Error("the webhook is gone")
			}
			counts, _ := s.Counts(t.Context())
			wantCounts(t, restored, counts)
			if d := claimOne(t, restored, w); d.State != store.Delivering {
				t.Errorf("claimed %+v", d)
			}
			checkSum(t, restored)
		})
	}
}

// Badger's own backup fails this: it reads with several transactions at different times.
func TestBackupIsAsOfOneMomentWhileTheStoreIsUsed(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Dir: t.TempDir()})
	w := storetest.Webhook("acme")
	if err := s.CreateWebhook(t.Context(), w, 10); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for ctx.Err() == nil {
				d := storetest.Delivery(w, time.Now())
				if s.Enqueue(ctx, d) != nil {
					return
				}
				claimed, err := s.Claim(ctx, w.ID, time.Now(), 1)
				if err != nil || len(claimed) == 0 {
					continue
				}
				_ = s.Finish(context.WithoutCancel(ctx), store.Outcome{Delivery: claimed[0], State: store.Delivered})
			}
		})
	}
	for range 5 {
		var backup bytes.Buffer
		if err := s.Backup(t.Context(), &backup); err != nil {
			t.Fatal(err)
		}
		o := Options{Dir: filepath.Join(t.TempDir(), "store")}
		if err := Restore(o, bytes.NewReader(backup.Bytes())); err != nil {
			t.Fatal(err)
		}
		restored := open(t, o)
		counts, _ := restored.Counts(t.Context())
		all, pending := 0, uint64(0)
		for before := ""; ; {
			page, err := restored.List(t.Context(), w.ID, before, 500)
			if err != nil {
				t.Fatal(err)
			}
			for i := range page {
				if page[i].State == store.Pending {
					pending++
				}
			}
			if all += len(page); len(page) < 500 {
				break
			}
			before = page[len(page)-1].ID
		}
		if uint64(all) != counts.Enqueued || pending != counts.Pending {
			t.Errorf("%d deliveries, %d of them pending; counted %+v", all, pending, counts)
		}
		restored.Close()
	}
	cancel()
	busy.Wait()
}

func TestBackupThatIsNotWholeIsRefused(t *testing.T) {
	t.Parallel()
	s, _ := someStore(t, Options{Dir: t.TempDir()})
	var buffer bytes.Buffer
	if err := s.Backup(t.Context(), &buffer); err != nil {
		t.Fatal(err)
	}
	whole := buffer.Bytes()
	parent := t.TempDir()
	refuse := func(what string, backup []byte) {
		err := Restore(Options{Dir: filepath.Join(parent, "store")}, bytes.NewReader(backup))
		if !errors.Is(err, ErrNoBackup) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for at := range whole {
		if at%7 == 0 || at > len(whole)-40 {
			refuse("cut off", whole[:at])
			changed := bytes.Clone(whole)
			changed[at] ^= 0x10
			refuse("changed", changed)
		}
	}
	refuse("with a tail", append(bytes.Clone(whole), 0))
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRestoreLeavesAStoreInUseAlone(t *testing.T) {
	t.Parallel()
	s, w := someStore(t, Options{Dir: t.TempDir()})
	var backup bytes.Buffer
	if err := s.Backup(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	if err := Restore(Options{Dir: s.dir}, bytes.NewReader(backup.Bytes())); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("restored over a store in use: %v", err)
	}
	if left, _ := filepath.Glob(s.dir + ".restoring-*"); len(left) > 0 || s.Directory().Get(w.ID) == nil {
		t.Errorf("left behind: %v", left)
	}
	empty := t.TempDir()
	if err := Restore(Options{Dir: empty}, bytes.NewReader(backup.Bytes())); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestSlowReaderOfABackupDoesNotKeepTheStoreOpen(t *testing.T) {
	t.Parallel()
	s, _ := someStore(t, Options{Dir: t.TempDir()})
	r, w := io.Pipe() // nobody reads
	ended := make(chan error, 1)
	go func() { ended <- s.Backup(t.Context(), w) }()
	if err := s.Close(); err != nil { // hangs, if the backup holds it up
		t.Fatal(err)
	}
	r.CloseWithError(io.ErrClosedPipe)
	if err := <-ended; err == nil || !(errors.Is(err, store.ErrClosed) || errors.Is(err, io.ErrClosedPipe)) {
		t.Errorf("ended with %v", err)
	}
	if err := s.Backup(t.Context(), io.Discard); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func FuzzReadBackup(f *testing.F) {
	f.Add([]byte(backupHead))
	f.Add([]byte(backupHead + "\x01f\x01\x01\x00\x00" + strings.Repeat("s", 32)))
	f.Fuzz(func(t *testing.T, data []byte) {
		records := 0
		err := ReadBackup(bytes.NewReader(data), func(key, value []byte, _ byte) error {
			if records++; len(key) == 0 || len(key) > maxBackupKey || len(value) > maxBackupValue {
				t.Error("a record out of bounds")
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrNoBackup) {
			t.Errorf("error %v", err)
		}
	})
}
