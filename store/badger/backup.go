package badger

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/dgraph-io/badger/v4"
)

// A backup is its first line, then a record for each key, then the end:
//
//	"bentihooks backup 1\n"
//	uvarint len(key), key, uvarint len(value), value, user meta byte
//	uvarint 0, SHA-256 of everything before
//
// It is not Badger's own, which reads with several transactions at different times while the database is written
// to, leaves out what it cannot read, and does not show where it was cut off.
const (
	backupHead = "bentihooks backup 1\n"
	// maxBackupKey and maxBackupValue bound what is read of a file that is no backup.
	maxBackupKey   = 1 << 10
	maxBackupValue = 64 << 20
	backupChunk    = 256 << 10
)

// ErrNoBackup is returned for a file that is no backup, or only a part of one.
var ErrNoBackup = errors.New("not a whole backup")

// Backup writes all that the store holds at this moment to w, unencrypted. The store can be used meanwhile. A w
// that blocks does not keep the store from being closed, which ends the backup with store.ErrClosed.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks, read := make(chan []byte), make(chan error, 1)
	go func() {
		defer close(chunks)
		read <- s.readBackup(ctx, chunks)
	}()
	var failed error
	for chunk := range chunks {
		if failed != nil {
			continue
		}
		if _, failed = w.Write(chunk); failed != nil {
			cancel()
		}
	}
	if err := <-read; err != nil && failed == nil {
		failed = err
	}
	if failed != nil {
		return fmt.Errorf("backing up: %w", failed)
	}
	return nil
}

// readBackup makes a backup in pieces. It reads in one transaction, so all is as of one moment.
func (s *Store) readBackup(ctx context.Context, chunks chan<- []byte) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(iterateAll)
	defer it.Close()
	sum := sha256.New()
	chunk := []byte(backupHead)
	send := func() error {
		sum.Write(chunk)
		select {
		case chunks <- chunk:
			chunk = make([]byte, 0, backupChunk)
			return nil
		case <-s.closing:
			return s.interrupted(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		chunk = binary.AppendUvarint(chunk, uint64(len(item.Key())))
		chunk = append(chunk, item.Key()...)
		chunk = binary.AppendUvarint(chunk, uint64(item.ValueSize())) //nolint:gosec // a size
		length := len(chunk)
		var err error
		if chunk, err = appendValue(chunk, item); err != nil {
			return fmt.Errorf("reading key %x: %w", item.Key(), err)
		}
		if len(chunk)-length != int(item.ValueSize()) {
			return fmt.Errorf("reading key %x: %d bytes, want %d", item.Key(), len(chunk)-length, item.ValueSize())
		}
		chunk = append(chunk, item.UserMeta())
		if len(chunk) < backupChunk {
			continue
		}
		if err := send(); err != nil {
			return err
		}
	}
	chunk = binary.AppendUvarint(chunk, 0)
	if err := send(); err != nil {
		return err
	}
	chunk = sum.Sum(chunk)
	return send()
}

// ReadBackup reads a backup to its end and calls fn, unless it is nil, for each of its records. The slices are valid
// only during the call. An error wraps [ErrNoBackup], or is that of fn or r.
func ReadBackup(r io.Reader, fn func(key, value []byte, meta byte) error) error {
	b := &backupReader{sum: sha256.New(), in: bufio.NewReaderSize(r, backupChunk)}
	head, err := b.next(nil, len(backupHead))
	if err != nil || string(head) != backupHead {
		return fmt.Errorf("%w: it does not begin with %q", ErrNoBackup, backupHead)
	}
	var key, value []byte
	for {
		if key, err = b.field(key, maxBackupKey); err != nil {
			return err
		}
		if len(key) == 0 {
			return b.end()
		}
		if value, err = b.field(value, maxBackupValue); err != nil {
			return err
		}
		meta, err := b.ReadByte()
		if err != nil {
			return cutOff(err)
		}
		if fn == nil {
			continue
		}
		if err := fn(key, value, meta); err != nil {
			return err
		}
	}
}

// backupReader sums up what it reads.
type backupReader struct {
	in     *bufio.Reader
	sum    hash.Hash
	failed error // of in
}

// ReadByte implements io.ByteReader.
func (b *backupReader) ReadByte() (byte, error) {
	c, err := b.in.ReadByte()
	if err != nil {
		b.failed = err
		return 0, err
	}
	b.sum.Write([]byte{c})
	return c, nil
}

func (b *backupReader) next(buffer []byte, n int) ([]byte, error) {
	if cap(buffer) < n {
		buffer = make([]byte, n)
	}
	buffer = buffer[:n]
	if _, err := io.ReadFull(b.in, buffer); err != nil {
		return nil, err
	}
	b.sum.Write(buffer)
	return buffer, nil
}

// field reads a length and so many bytes.
func (b *backupReader) field(buffer []byte, limit uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(b)
	if err != nil && b.failed != nil {
		return nil, cutOff(err)
	}
	if err != nil || n > limit {
		return nil, fmt.Errorf("%w: a record has a field that is too long", ErrNoBackup)
	}
	field, err := b.next(buffer, int(n)) //nolint:gosec // bounded above
	if err != nil {
		return nil, cutOff(err)
	}
	return field, nil
}

func (b *backupReader) end() error {
	want := b.sum.Sum(nil)
	got, err := b.next(nil, len(want))
	if err != nil {
		return cutOff(err)
	}
	if string(got) != string(want) {
		return fmt.Errorf("%w: its checksum is wrong", ErrNoBackup)
	}
	if _, err := b.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there is something behind its end", ErrNoBackup)
	}
	return nil
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut off", ErrNoBackup)
	}
	return fmt.Errorf("reading backup: %w", err)
}

func appendValue(dst []byte, item *badger.Item) ([]byte, error) {
	err := item.Value(func(v []byte) error {
		dst = append(dst, v...)
		return nil
	})
	return dst, err
}
