package emitter

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// load bounds a POST that deliveries share. One that is larger by itself goes alone.
type load struct {
	events int
	// bytes of the body. Half of what the receiver called too large with status 413, as many take no more than 100 kB.
	bytes int
}

const (
	// maxEvents and maxBody are the most that any POST is loaded with.
	maxEvents = 100
	maxBody   = 1 << 20
	// sounding is how many deliveries are claimed before it is known how large they are. Large ones are read from
	// disk when they are claimed, and would be read for nothing if few fit.
	sounding = 10

	listHead = `{"events":[`
	listTail = `]}`
)

// PostAll makes one attempt to deliver ds, at least one, to w, as [Client.Post] does. There may be more than one only if
// w is an instance webhook: their payloads then go as one list, under an id made for the attempt and with the
// highest of their attempt numbers. A traceparent is sent if it is that of all of them.
func (c *Client) PostAll(ctx context.Context, w *store.Webhook, ds []store.Delivery) Result {
	var m message
	if len(ds) == 1 {
		m = single(w, &ds[0])
	} else {
		m = shared(ds)
	}
	m.traceContexts, m.traceContext = traceContexts(ds)
	return c.post(ctx, w, m)
}

func shared(ds []store.Delivery) message {
	m := message{id: newID(time.Now()), size: len(ds)}
	payloads := make([][]byte, len(ds))
	for i := range ds {
		payloads[i] = ds[i].Payload
		m.attempt = max(m.attempt, len(ds[i].Attempts)+1)
	}
	m.body = eventList(payloads...)
	return m
}

// eventList is the body of all attempts for an instance webhook, of those with a single event too.
func eventList(payloads ...[]byte) []byte {
	size := len(listHead) + len(listTail)
	for _, p := range payloads {
		size += len(p) + 1
	}
	body := append(make([]byte, 0, size), listHead...)
	for i, p := range payloads {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, p...)
	}
	return append(body, listTail...)
}

// listSize is the length of the event list of ds, at least one.
func listSize(ds []store.Delivery) int {
	size := len(listHead) + len(listTail) - 1
	for i := range ds {
		size += len(ds[i].Payload) + 1
	}
	return size
}

// newID returns a UUIDv7 (RFC 9562, section 5.7).
func newID(now time.Time) string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand crashes the program rather than return an error
	binary.BigEndian.PutUint64(b[:], uint64(now.UnixMilli())<<16|0x7000|uint64(binary.BigEndian.Uint16(b[6:])&0xfff))
	b[8] = b[8]&0x3f | 0x80
	id := hex.EncodeToString(b[:])
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// beginShared begins up to n attempts, each of as many deliveries as one POST may carry, and reports whether there
// may be more to do.
func (e *Emitter) beginShared(r *run, l *lane, n int) (begun int, more bool, err error) {
	e.mu.Lock()
	most := l.load
	e.mu.Unlock()
	s := e.settings.Load()
	var ds []store.Delivery // claimed
	for begun < n && err == nil {
		ds, more, err = e.gather(r, l.webhook, s, ds, most)
		fit, _ := s.fit(ds, most)
		if fit == 0 {
			break
		}
		shared := ds[:fit:fit]
		ds = ds[fit:]
		r.work.Go(func() { e.attempt(r, l, shared) })
		begun++
	}
	if len(ds) > 0 {
		e.release(r, ds...)
		more = true
	}
	return begun, more, err
}

// gather adds to ds what it claims until that fills a POST or nothing more is due, and reports whether something
// may be.
func (e *Emitter) gather(
	r *run, webhook string, s *settings, ds []store.Delivery, most load,
) (_ []store.Delivery, more bool, err error) {
	for {
		_, room := s.fit(ds, most)
		if room == 0 {
			return ds, true, nil
		}
		claimed, err := e.st.Claim(r.ctx, webhook, e.clock.now(), room)
		ds = append(ds, claimed...)
		if err != nil || len(claimed) < room {
			return ds, false, err
		}
	}
}

// fit tells how many of ds, beginning with the first, go into one POST, and how many others probably would besides.
func (c *Config) fit(ds []store.Delivery, most load) (n, room int) {
	if len(ds) == 0 {
		return 0, min(sounding, most.events)
	}
	size := len(listHead) + len(listTail) - 1
	for i := range ds {
		size += len(ds[i].Payload) + 1
		alone := c.alone(&ds[i])
		switch {
		case i == 0 && alone:
			return 1, 0
		case i > 0 && (alone || i == most.events || size > most.bytes):
			return i, 0
		}
	}
	n = len(ds)
	return n, max(min(most.events-n, (most.bytes-size)*n/size), 0)
}

// alone reports whether d shares no POST: a ping, which is marked as one, and what has its last attempt before it,
// lest it die because another event in the same POST is one that the receiver cannot take.
func (c *Config) alone(d *store.Delivery) bool { return d.Ping || failures(d) >= len(c.Retry) }
