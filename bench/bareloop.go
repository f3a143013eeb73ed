package main

import (
	"errors"
	"runtime"
	"time"

	"github.com/google/uuid"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/bentihooks/bentihooks/store"
)

// bareLoop is the least that makes deliveries durable in the same database: a goroutine that writes whatever is waiting
// in one transaction. It keeps a record and an entry in an index for each, and neither looks for what it has already,
// nor counts, nor keeps a schedule.
type bareLoop struct {
	db    *badgerdb.DB
	calls chan *bareCall
	done  chan struct{}
}

type bareCall struct {
	keys, values [][]byte
	done         chan error
}

func openBareLoop(dir string) (*bareLoop, error) {
	db, err := badgerdb.Open(badgerdb.DefaultOptions(dir).
		WithSyncWrites(true).WithDetectConflicts(false).WithCompression(options.None).WithBlockCacheSize(0).
		WithMemTableSize(16 << 20).WithNumMemtables(2).WithNumCompactors(2).WithValueLogFileSize(64 << 20).
		WithValueThreshold(1 << 10).WithMetricsEnabled(false).WithLogger(nil))
	if err != nil {
		return nil, err
	}
	l := &bareLoop{db: db, calls: make(chan *bareCall, 1024), done: make(chan struct{})}
	go l.run()
	return l, nil
}

func (l *bareLoop) close() error {
	close(l.calls)
	<-l.done
	return l.db.Close()
}

// enqueue returns when the deliveries are durable.
func (l *bareLoop) enqueue(ds []store.Delivery) error {
	c := &bareCall{done: make(chan error, 1)}
	for i := range ds {
		record, index := bareRecord(&ds[i])
		c.keys = append(c.keys, record, index)
		c.values = append(c.values, bareValue(&ds[i]), nil)
	}
	l.calls <- c
	return <-c.done
}

// bareRecord makes the keys: the delivery's own, and one that sorts by webhook and due time.
func bareRecord(d *store.Delivery) (record, index []byte) {
	webhook, id := uuid.MustParse(d.Webhook), uuid.MustParse(d.ID)
	record = append(append([]byte{'d'}, webhook[:]...), id[:]...)
	due := uint64(d.Due.UnixNano())
	index = append([]byte{'q'}, webhook[:]...)
	for shift := 56; shift >= 0; shift -= 8 {
		index = append(index, byte(due>>shift)) //nolint:gosec // a byte of it each time
	}
	return record, append(index, id[:]...)
}

func bareValue(d *store.Delivery) []byte {
	v := make([]byte, 0, 64+len(d.Payload))
	v = append(v, d.Project...)
	v = append(v, d.Item...)
	v = append(v, d.Action...)
	v = append(v, d.TraceContext...)
	v = d.CreatedAt.AppendFormat(v, time.RFC3339Nano)
	return append(v, d.Payload...)
}

func (l *bareLoop) run() {
	defer close(l.done)
	for c := range l.calls {
		runtime.Gosched() // lets those who were just answered come back
		batch := []*bareCall{c}
		for more := true; more && len(batch) < 1024; {
			select {
			case next, ok := <-l.calls:
				if more = ok; ok {
					batch = append(batch, next)
				}
			default:
				more = false
			}
		}
		err := l.write(batch)
		for _, c := range batch {
			c.done <- err
		}
	}
}

// write commits calls, in one transaction if they fit.
func (l *bareLoop) write(batch []*bareCall) error {
	txn := l.db.NewTransaction(true)
	defer func() { txn.Discard() }()
	for _, c := range batch {
		for i := range c.keys {
			err := txn.Set(c.keys[i], c.values[i])
			if errors.Is(err, badgerdb.ErrTxnTooBig) {
				if err := txn.Commit(); err != nil {
					return err
				}
				txn = l.db.NewTransaction(true)
				err = txn.Set(c.keys[i], c.values[i])
			}
			if err != nil {
				return err
			}
		}
	}
	return txn.Commit()
}
