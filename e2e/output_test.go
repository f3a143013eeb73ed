package e2e

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// patience is how long anything is waited for that should happen at once. It is long because machines are busy.
const patience = 20 * time.Second

// output collects what a process writes, over all its lives. Safe for concurrent use.
type output struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed at the next change; nil if nobody waits
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return len(p), nil
}

// from returns what was written behind the given offset, and a channel that is closed when more is.
func (o *output) from(offset int) (text []byte, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.text[offset:len(o.text):len(o.text)], o.changed
}

func (o *output) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.text)
}

// await waits until text is written behind the offset. It gives up, with false, when quit is closed.
func (o *output) await(offset int, text string, quit <-chan struct{}) bool {
	timeout := time.After(patience)
	for {
		written, more := o.from(offset)
		if bytes.Contains(written, []byte(text)) {
			return true
		}
		select {
		case <-more:
		case <-quit:
			return false
		case <-timeout:
			return false
		}
	}
}

// eventually waits for a condition of which nothing tells the moment.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for timeout := time.After(patience); !condition(); {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
