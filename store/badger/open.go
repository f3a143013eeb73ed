package badger

import (
	"errors"
	"fmt"
	"os"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/bentihooks/bentihooks/store"
)

// Options say what to open.
type Options struct {
	// Dir is made, readable by its owner only, if it does not exist.
	Dir string
	// EncryptionKey has 16, 24 or 32 bytes (AES-128, -192, -256). Empty: no encryption.
	EncryptionKey []byte
	// FormerKeys are keys that the directory may still have, an empty one standing for no encryption. If so, Open
	// changes it to EncryptionKey. Changing keys takes no time; encrypting for the first time takes a copy of all there is.
	FormerKeys [][]byte
	// Room tells how many bytes may be written to the directory's disk. Open asks before it makes such a copy. Nil: any number.
	Room func() (uint64, error)
	// Logf gets what Badger has to say, one line a call, level being error, warn or info. It may be
	// called from many goroutines. Nil: nothing is logged.
	Logf func(level, msg string)

	// For tests.
	window int                                   // entries of a webhook's window; 0: windowSize
	look   look                                  // zero: ordinaryLook
	commit func(commit func() error) (err error) // around every commit
}

// formatVersion is the layout of keys and records. A directory of a newer one is refused. 1 had no marks.
const formatVersion = 2

var (
	// ErrLocked is returned by Open when another process, or another Store of this one, uses the directory.
	ErrLocked = errors.New("another process uses this directory; use caddy reload rather than a second caddy")
	// ErrNewerFormat is returned by Open when the directory was written by a newer version.
	ErrNewerFormat = errors.New("directory was written by a newer version of Bentihooks; upgrade, or use another directory")
)

const (
	// valueThreshold is the size in bytes from which on a record goes to the value log. Ordinary deliveries are
	// below it: they need no garbage collection, and Badger reports a failed sync of its write-ahead log,
	// while it only logs one of the value log.
	valueThreshold = 1 << 10

	// memTableSize and tableSize, in bytes, bound what is written to the disk at once, for which commits wait, and the memory
	// of compactions. Badger's limit of a transaction is a seventh of memTableSize: an event of a thousand webhooks has to
	// fit.
	memTableSize = 8 << 20
	tableSize    = 1 << 20

	// blockCache and indexCache are in bytes and used with encryption only, where Badger insists on them.
	blockCache = 16 << 20
	indexCache = 16 << 20
)

// badgerOptions are for a guest in somebody else's process: Badger's defaults take four times the memory.
func badgerOptions(o Options, log *logger) badger.Options {
	b := badger.DefaultOptions(o.Dir).
		WithSyncWrites(true).
		WithDetectConflicts(false). // there is one writer
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithMemTableSize(memTableSize).
		WithBaseTableSize(tableSize).
		WithNumMemtables(2).
		WithNumCompactors(2).
		WithValueLogFileSize(64 << 20).
		WithValueThreshold(valueThreshold).
		WithMetricsEnabled(false).
		WithLogger(log)
	if len(o.EncryptionKey) > 0 {
		b = b.WithEncryptionKey(o.EncryptionKey).WithBlockCacheSize(blockCache).WithIndexCacheSize(indexCache)
	}
	return b
}

// Open opens the store in a directory, or makes a new one there. Its errors say what to do about them; see
// [ErrLocked], [ErrNewerFormat], [ErrWrongKey] and [ErrDamaged]. Its time does not depend on how many deliveries are pending.
func Open(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("opening store: no directory given")
	}
	if err := o.checkKeys(); err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	log := &logger{logf: o.Logf}
	options := badgerOptions(o, log)
	if err := withLock(o.Dir, func() error { return o.prepareDir(log) }); err != nil {
		return nil, fmt.Errorf("opening store in %s: %w", o.Dir, err)
	}
	var db *badger.DB
	err := guarded(func() (err error) {
		db, err = badger.Open(options)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening store in %s: %w", o.Dir, err)
	}
	s := newStore(db, o, log)
	if err := guarded(s.load); err != nil {
		return nil, errors.Join(fmt.Errorf("opening store in %s: %w", o.Dir, err), guarded(db.Close))
	}
	s.makePrivate()
	s.warnOfReaders()
	s.start()
	return s, nil
}

func (o *Options) checkKeys() error {
	for i, key := range append([][]byte{o.EncryptionKey}, o.FormerKeys...) {
		switch len(key) {
		case 0, 16, 24, 32:
		default:
			return fmt.Errorf("encryption key has %d bytes, want 16, 24 or 32", len(key))
		}
		if i > 0 && len(o.EncryptionKey) == 0 {
			return errors.New("what is encrypted cannot be changed to plain text")
		}
	}
	return nil
}

// prepareDir does what has to be done before Badger opens a directory. The key is tried here because Badger's own Open
// leaves goroutines behind when it fails.
func (o *Options) prepareDir(log *logger) error {
	if err := finishEncrypting(o.Dir); err != nil {
		return err
	}
	keys, present, err := o.findKey()
	if err != nil {
		return err
	}
	if err := checkTables(badgerOptions(Options{Dir: o.Dir, EncryptionKey: present}, log), keys); err != nil {
		return err
	}
	if err := removeDebris(o.Dir); err != nil {
		return err
	}
	return o.rekey(keys, present, log)
}

// removeDebris removes files that a kill left between their creation and their first byte. They hold
// nothing, but Badger refuses to open with them ("Create a new file").
func removeDebris(dir string) error {
	files, err := filesLike(dir, "*.mem", "*.vlog")
	if err != nil {
		return err
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 0 {
			continue
		}
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("removing empty file: %w", err)
		}
	}
	return nil
}

func newStore(db *badger.DB, o Options, log *logger) *Store {
	s := &Store{
		db:       db,
		dir:      o.Dir,
		sealed:   len(o.EncryptionKey) > 0,
		log:      log,
		updating: make(chan struct{}, 1),
		looking:  make(chan struct{}, 1),
		// As many as a batch takes can wait without their goroutines being parked twice.
		ops:     make(chan *op, maxBatch),
		lanes:   make(map[uuid]*lane),
		window:  o.window,
		closing: make(chan struct{}),
		drained: make(chan struct{}),
		purge:   make(chan struct{}, 1),
		gc:      make(chan struct{}, 1),
		// Room for the counters and for what Badger adds itself.
		maxKeys:   int(db.MaxBatchCount()) - 8,
		maxSize:   db.MaxBatchSize() - 4<<10,
		threshold: valueThreshold,
	}
	if s.window == 0 {
		s.window = windowSize
	}
	if s.look = o.look; s.look == (look{}) {
		s.look = ordinaryLook
	}
	s.commit = s.commitTxn
	if o.commit != nil {
		s.commit = func(txn *badger.Txn) error { return o.commit(func() error { return s.commitTxn(txn) }) }
	}
	return s
}

// load checks the format and reads what is kept in memory: counters and webhooks, but no deliveries.
func (s *Store) load() error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	kept, err := s.readCounters()
	if err != nil {
		return fmt.Errorf("reading counters: %w", err)
	}
	if kept.enqueued != kept.unfinished+kept.delivered+kept.dead+kept.dropped+kept.pruned {
		s.log.Errorf("counters do not add up: %+v", kept)
	}
	s.counts.publish(kept, 0)
	ws, err := s.readWebhooks()
	if err != nil {
		return fmt.Errorf("reading webhooks: %w", err)
	}
	s.directory.Reset(ws)
	doomed, err := s.tombstones()
	if err != nil {
		return fmt.Errorf("reading tombstones: %w", err)
	}
	for _, webhook := range doomed {
		s.retire(webhook)
	}
	return nil
}

func (s *Store) checkFormat() error {
	version, err := s.readFormat()
	switch {
	case err != nil:
		return fmt.Errorf("reading format: %w", err)
	case version > formatVersion:
		return fmt.Errorf("format %d: %w", version, ErrNewerFormat)
	case version == formatVersion:
		s.markedAll.Store(true)
		return nil
	case version >= 0:
		return nil // the marker will say when it is up to date
	}
	err = s.db.Update(func(txn *badger.Txn) error { return txn.Set(formatKey, []byte{formatVersion}) })
	if err != nil {
		return fmt.Errorf("writing format: %w", err)
	}
	s.markedAll.Store(true)
	return nil
}

func (s *Store) start() {
	s.wg.Go(s.committer)
	s.wg.Go(s.purger)
	s.wg.Go(s.collector)
	if !s.markedAll.Load() {
		s.wg.Go(s.marker)
	}
	signal(s.purge)
}

// readWebhooks reads all webhooks. One that cannot be read is left out: its deliveries stay where they are.
func (s *Store) readWebhooks() ([]store.Webhook, error) {
	var ws []store.Webhook
	err := s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{prefixWebhook}, PrefetchValues: true, PrefetchSize: 100})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			v, err := item.ValueCopy(nil)
			if err != nil {
				return err
			}
			w, err := decodeWebhook(v)
			if err != nil {
				s.aside(item.Key(), v, err)
				continue
			}
			ws = append(ws, w)
		}
		return nil
	})
	return ws, err
}
