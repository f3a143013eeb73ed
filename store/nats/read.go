package nats

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

const (
	// maxCached is how many bytes of records that are pending here are kept in memory. Those of a longer backlog are read
	// when they are claimed.
	maxCached = 32 << 20
	// maxContents is how many bytes of messages that were read are kept, as the next record is often in the same one.
	maxContents = 16 << 20
	// readers is how many messages one call reads at a time.
	readers = 16
	// requestTime bounds a request to JetStream.
	requestTime = 5 * time.Second
)

// keep keeps the record of a delivery that is pending here in memory, if there is room. mu is held.
func (s *Store) keep(e *entry, record []byte) {
	if s.cached+len(record) > maxCached {
		return
	}
	body := append(make([]byte, 0, len(record)), record...)
	e.body = &body
	s.cached += len(body)
}

// drop forgets what keep kept.
func (s *Store) drop(e *entry) {
	if e.body != nil {
		s.cached -= len(*e.body)
		e.body = nil
	}
}

// ref is a delivery to be read, as the index has it.
type ref struct {
	webhook, id uuid.UUID
	place       place
	seqs        []uint64 // the messages of its proposal, if there are several
	body        []byte   // the record, if it is in memory
	state       store.State
	due         int64
}

// refer notes what is needed to read e without the lock. mu is held.
func (s *Store) refer(l *lane, e *entry) ref {
	r := ref{webhook: l.webhook, id: e.id, place: e.place, seqs: s.large[e.place.seq], state: codec.State(e.state), due: e.due}
	if e.body != nil {
		r.body = *e.body
	}
	if c := s.claims[address{l.webhook, e.id}]; c != nil && !c.held {
		r.state = store.Delivering
	}
	return r
}

// read returns the deliveries of refs in their order. One that could not be read is zero, and the first error is told.
func (s *Store) read(ctx context.Context, refs []ref) ([]store.Delivery, error) {
	ds, errs := s.readEach(ctx, refs)
	for _, err := range errs {
		if err != nil {
			return ds, err
		}
	}
	return ds, nil
}

// readEach is read with the error of each.
func (s *Store) readEach(ctx context.Context, refs []ref) ([]store.Delivery, []error) {
	ds, errs := make([]store.Delivery, len(refs)), make([]error, len(refs))
	bySeq := make(map[uint64][]int)
	for i := range refs {
		if refs[i].body == nil {
			bySeq[refs[i].place.seq] = append(bySeq[refs[i].place.seq], i)
			continue
		}
		ds[i], errs[i] = refs[i].decode(refs[i].body)
	}
	var work sync.WaitGroup
	slots := make(chan struct{}, readers)
	for seq, of := range bySeq {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			content, err := s.content(ctx, seq, refs[of[0]].seqs)
			for _, i := range of {
				if errs[i] = err; err != nil {
					continue
				}
				var record []byte
				if record, errs[i] = recordAt(content, refs[i].place.at); errs[i] == nil {
					ds[i], errs[i] = refs[i].decode(record)
				}
			}
		})
	}
	work.Wait()
	return ds, errs
}

func (r *ref) decode(record []byte) (store.Delivery, error) {
	d, err := decodeDelivery(r.webhook, r.id, record)
	if err == nil {
		d.State, d.Due = r.state, codec.Time(r.due)
	}
	return d, err
}

// content reads the content of a proposal.
func (s *Store) content(ctx context.Context, seq uint64, seqs []uint64) ([]byte, error) {
	if content := s.contents.get(seq); content != nil {
		return content, nil
	}
	if seqs == nil {
		seqs = []uint64{seq}
	}
	var content []byte
	for _, part := range seqs {
		data, err := s.message(ctx, part)
		if err != nil {
			return nil, fmt.Errorf("reading message %d: %w", part, err)
		}
		m, err := decodeMessage(data)
		if err != nil {
			return nil, fmt.Errorf("reading message %d: %w", part, err)
		}
		content = append(content, m.content...)
	}
	s.contents.put(seq, content)
	return content, nil
}

// message reads a message from whatever server has it, and asks the leader if that one lags behind.
func (s *Store) message(ctx context.Context, seq uint64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	m, err := s.stream.GetMsg(ctx, seq)
	if err == nil {
		return m.Data, nil
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, err
	}
	reply, err := s.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.names.stream, fmt.Appendf(nil, `{"seq":%d}`, seq))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Data string `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	return base64.StdEncoding.DecodeString(answer.Message.Data)
}

// contents keeps what was read last.
type contents struct {
	mu    sync.Mutex
	bySeq map[uint64][]byte
	order []uint64 // the oldest first
	size  int
}

func (c *contents) get(seq uint64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bySeq[seq]
}

func (c *contents) put(seq uint64, content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySeq == nil {
		c.bySeq = make(map[uint64][]byte)
	}
	if c.bySeq[seq] != nil {
		return
	}
	c.bySeq[seq] = content
	c.order = append(c.order, seq)
	for c.size += len(content); c.size > maxContents && len(c.order) > 1; c.order = c.order[1:] {
		c.size -= len(c.bySeq[c.order[0]])
		delete(c.bySeq, c.order[0])
	}
}
