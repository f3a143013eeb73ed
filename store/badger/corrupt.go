package badger

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// maxAside bounds how many corrupt records are told apart and kept aside in the life of a Store.
const maxAside = 10_000

// corruption knows the records that could not be read.
type corruption struct {
	count atomic.Uint64
	mu    sync.Mutex
	seen  map[string]bool
}

// first reports whether key has not been met before.
func (c *corruption) first(key []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[string(key)] || len(c.seen) >= maxAside {
		return false
	}
	if c.seen == nil {
		c.seen = make(map[string]bool)
	}
	c.seen[string(key)] = true
	c.count.Add(1)
	return true
}

// aside notes a record that cannot be read and appends time, reason, key and bytes to corrupt/records. The
// record itself stays: another version may be able to read it. The bytes of an encrypted store are left out.
func (s *Store) aside(key, value []byte, why error) {
	if !s.corrupt.first(key) {
		return
	}
	s.log.Errorf("skipping record %x: %v", key, why)
	dir := filepath.Join(s.dir, "corrupt")
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		if s.sealed {
			value = nil
		}
		line := fmt.Sprintf("%s %q %x %x\n", time.Now().UTC().Format(time.RFC3339), why, key, value)
		err = appendFile(filepath.Join(dir, "records"), line)
	}
	if err != nil {
		s.log.Errorf("keeping a corrupt record aside: %v", err)
	}
}

func appendFile(name, line string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // in our own directory
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
