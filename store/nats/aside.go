package nats

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// unreadable reports whether a record could not be read because it is damaged or no longer there, so that another try at once
// is in vain.
func unreadable(err error) bool {
	return errors.Is(err, errCorrupt) || errors.Is(err, jetstream.ErrMsgNotFound)
}

// setAside ends a claim of what cannot be read, so that it is in nobody's way. It stays pending: it may be tried again, killed,
// and claimed by another instance. mu is held.
func (s *Store) setAside(c *claim, why error) {
	key := address{c.lane.webhook, c.entry.id}
	s.endClaim(c)
	if s.lanes[key.webhook] != c.lane || c.entry.place != c.place {
		return // deleted, or replaced, meanwhile
	}
	c.entry.claimed = true
	c.lane.settle(c.entry)
	if _, known := s.aside[key]; !known {
		s.options.Logf("error", fmt.Sprintf("delivery %s of webhook %s cannot be read and is passed over: %v", key.id, key.webhook, why))
	}
	s.aside[key] = true
}

// readmit lets what was set aside be claimed again. mu is held.
func (s *Store) readmit(key address, e *entry) {
	if s.aside[key] {
		s.aside[key] = false
		e.claimed = false
	}
}

// retryAside puts what was set aside back into its queue: a server that has just come up may not have had all of it.
func (s *Store) retryAside() {
	s.mu.Lock()
	var due []dueWebhook
	for key, out := range s.aside {
		l := s.lanes[key.webhook]
		if l == nil || l.find(key.id) == nil {
			delete(s.aside, key)
			continue
		}
		e := l.find(key.id)
		s.readmit(key, e)
		if l.settle(e); out && e.index >= 0 && l.mine {
			due = append(due, dueWebhook{l.name, e.due})
		}
	}
	s.mu.Unlock()
	s.notify(due)
}
