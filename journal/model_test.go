package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// model is what a reserve should hold. Records are all different.
type model struct {
	t       *rapid.T
	dir     string
	r       *Reserve
	disk    *disk
	n       int
	opened  int
	owed    []string        // acknowledged and not drained, in order
	maybe   map[string]bool // may come back at the next open: drained but not reset, or of unknown fate
	trouble bool            // a flush failed or the power was cut since the last reset: damage may be found
}

func (m *model) open(content []byte) {
	m.opened++
	path := filepath.Join(m.dir, fmt.Sprint(m.opened))
	if content != nil {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
	r, err := OpenReserve(path, minReserve)
	if err != nil {
		m.t.Fatal(err)
	}
	m.r, m.disk = r, insert(m.t, r)
	m.agree()
}

// agree checks a reserve just opened, and takes over what of unknown fate it holds.
func (m *model) agree() {
	if m.r.Corrupt() > 0 && !m.trouble {
		m.t.Fatalf("%d damaged places out of nothing", m.r.Corrupt())
	}
	records, _, err := m.r.read(m.r.records)
	if err != nil {
		m.t.Fatal(err)
	}
	got, rest := texts(records), m.owed
	seen := make(map[string]bool)
	for _, record := range got {
		if seen[record] {
			m.t.Fatalf("%.20q is there twice", record)
		}
		seen[record] = true
		if len(rest) > 0 && record == rest[0] {
			rest = rest[1:]
		} else if !m.maybe[record] {
			m.t.Fatalf("%.20q should not be there, or not here", record)
		}
	}
	if len(rest) > 0 {
		m.t.Fatalf("acknowledged %.20q is gone", rest[0])
	}
	m.owed = got
}

func (m *model) append(t *rapid.T) {
	for range rapid.IntRange(1, 60).Draw(t, "records") {
		m.n++
		record := fmt.Sprint(m.n, " ") + strings.Repeat("x", rapid.IntRange(0, 900).Draw(t, "size"))
		err := m.r.Append([]byte(record))
		switch {
		case err == nil:
			m.owed = append(m.owed, record)
		case errors.Is(err, syscall.EIO):
			m.maybe[record], m.trouble = true, true
		case !errors.Is(err, ErrFull):
			t.Fatal(err)
		}
	}
}

func (m *model) drain(t *rapid.T) {
	refusal, good := errors.New("refused"), rapid.IntRange(0, 6).Draw(t, "good batches")
	err := m.r.Drain(func(records [][]byte) error {
		got := texts(records)
		if len(got) > drainRecords || len(got) > len(m.owed) || !slices.Equal(got, m.owed[:len(got)]) {
			t.Fatalf("batch %.100q, want the start of %.100q", got, m.owed)
		}
		if good--; good < 0 {
			return refusal
		}
		m.owed = m.owed[len(got):]
		for _, record := range got {
			m.maybe[record] = true
		}
		return nil
	})
	switch {
	case err == nil && len(m.owed) > 0:
		t.Fatalf("drained, and %d records not handed out", len(m.owed))
	case err == nil:
		clear(m.maybe)
		m.trouble = false
	case errors.Is(err, syscall.EIO):
		m.trouble = true
	case !errors.Is(err, refusal):
		t.Fatal(err)
	}
}

// reopen closes and opens the same content.
func (m *model) reopen(t *rapid.T) {
	if err := m.r.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(m.disk.cache())
}

// kill leaves the page cache as it is.
func (m *model) kill(*rapid.T) {
	content, killed := m.disk.cache(), m.r
	m.open(content)
	killed.Close()
}

func (m *model) cut(t *rapid.T) {
	content, killed := m.disk.cut(t), m.r
	m.trouble = m.trouble || len(m.disk.dirty) > 0
	m.open(content)
	killed.Close()
}

func (m *model) fault(*rapid.T) { m.disk.faulty = !m.disk.faulty }

func (m *model) check(t *rapid.T) {
	if m.r.Len() != len(m.owed) {
		t.Fatalf("Len is %d, want %d", m.r.Len(), len(m.owed))
	}
}

func TestReserveAgreesWithAListThroughCrashesAndFaults(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "reserve")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{t: t, dir: dir, maybe: make(map[string]bool)}
		m.open(nil)
		// Not Close: rapid ends a run by a panic at any draw, also one of the disk's, with the lead still held.
		defer func() { m.r.file.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"":       m.check,
			"append": m.append,
			"drain":  m.drain,
			"reopen": m.reopen,
			"kill":   m.kill,
			"cut":    m.cut,
			"fault":  m.fault,
		})
	})
}
