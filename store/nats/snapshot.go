package nats

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

const (
	snapshotVersion = 1
	// snapshotPart is how many bytes of a snapshot go into one message.
	snapshotPart = 256 << 10
	// snapshotTail is after how many messages of the log a snapshot is made: what an instance reads at most when it starts.
	snapshotTail = 10_000
	// keepInterval is how often that is looked after.
	keepInterval = time.Minute
)

// manifest tells of what a snapshot is and where. It is the last message of its subject; the parts are those before it.
type manifest struct {
	Applied uint64   `json:"applied"`
	Parts   []uint64 `json:"parts"`
	Sum     uint32   `json:"sum"`
}

// taken is a snapshot that this instance made or met.
type taken struct {
	applied uint64
	at      time.Time
}

// encode writes the state down. It is false while only a part of a proposal has been met, which a snapshot does not hold.
// mu is held.
func (s *Store) encode() ([]byte, bool, error) {
	if len(s.parts) > 0 {
		return nil, false, nil
	}
	b := binary.AppendUvarint([]byte{snapshotVersion}, s.applied)
	b = s.membership.append(b)
	for _, n := range s.totals.fields() {
		b = binary.AppendUvarint(b, *n)
	}
	b = binary.AppendUvarint(b, uint64(len(s.items)))
	for _, item := range s.items {
		b = codec.Append(b, item)
	}
	large := s.largeInUse()
	b = binary.AppendUvarint(b, uint64(len(large)))
	for seq, seqs := range large {
		b = binary.AppendUvarint(binary.AppendUvarint(b, seq), uint64(len(seqs)))
		for _, part := range seqs {
			b = binary.AppendUvarint(b, part)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.lanes)))
	for _, l := range s.lanes {
		w, err := json.Marshal(s.directory.Get(l.name)) //nolint:gosec // the store keeps secrets
		if err != nil {
			return nil, false, fmt.Errorf("encoding webhook: %w", err)
		}
		b = codec.Append(b, w)
		b = binary.AppendUvarint(binary.AppendUvarint(b, l.rev), uint64(len(l.entries)))
		for _, e := range l.entries {
			b = append(append(b, e.id[:]...), e.state)
			b = binary.AppendVarint(binary.AppendVarint(b, e.created), e.due)
			b = binary.AppendUvarint(e.place.append(b), uint64(e.item))
		}
	}
	return b, true, nil
}

// largeInUse drops the proposals of several parts of which no record is left.
func (s *state) largeInUse() map[uint64][]uint64 {
	used := make(map[uint64][]uint64)
	if len(s.large) > 0 {
		for _, l := range s.lanes {
			for _, e := range l.entries {
				if seqs := s.large[e.place.seq]; seqs != nil {
					used[e.place.seq] = seqs
				}
			}
		}
	}
	s.large = used
	return used
}

func (t *totals) fields() []*uint64 {
	return []*uint64{&t.enqueued, &t.pending, &t.delivered, &t.dead, &t.dropped, &t.pruned}
}

func (m *membership) append(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, m.view), uint64(len(m.members)))
	for id, member := range m.members {
		b = codec.Append(append(b, id[:]...), member.name)
		b = binary.AppendUvarint(binary.AppendUvarint(b, member.yielded), member.claims)
		b = binary.AppendUvarint(b, uint64(len(member.missed)))
		for other, n := range member.missed {
			b = binary.AppendUvarint(append(b, other[:]...), uint64(n)) //nolint:gosec // a count
		}
	}
	b = binary.AppendUvarint(b, uint64(len(m.settled)))
	for _, id := range m.settled {
		b = append(b, id[:]...)
	}
	return b
}

// decode replaces the state, which is empty, by one that was written down. mu is held.
func (s *Store) decode(b []byte) error {
	r := newReader(b)
	if v := r.Byte(); v != snapshotVersion {
		return fmt.Errorf("the snapshot is of version %d; this instance knows %d: is another newer?", v, snapshotVersion)
	}
	s.applied = r.Uvarint()
	s.membership.read(r)
	for _, n := range s.totals.fields() {
		*n = r.Uvarint()
	}
	s.items = s.items[:0]
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		item := r.Text()
		s.itemNo[item] = uint16(len(s.items)) //nolint:gosec // there are at most maxItems
		s.items = append(s.items, item)
	}
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		seq := r.Uvarint()
		for parts := r.Uvarint(); parts > 0 && !r.Bad; parts-- {
			s.large[seq] = append(s.large[seq], r.Uvarint())
		}
	}
	var webhooks []store.Webhook
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		w, err := s.readLane(r)
		if err != nil {
			return err
		}
		webhooks = append(webhooks, w)
	}
	if r.Bad || len(r.B) > 0 {
		return fmt.Errorf("%w: fields of the snapshot do not fit", errCorrupt)
	}
	s.directory.Reset(webhooks)
	return nil
}

func (m *membership) read(r *reader) {
	m.view = r.Uvarint()
	m.members = make(map[uuid.UUID]*member)
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		x := &member{id: r.uuid(), name: r.Text(), yielded: r.Uvarint(), claims: r.Uvarint(), missed: make(map[uuid.UUID]int)}
		for missed := r.Uvarint(); missed > 0 && !r.Bad; missed-- {
			id := r.uuid()
			x.missed[id] = int(r.Uvarint()) //nolint:gosec // at most missedBeats
		}
		m.members[x.id] = x
	}
	var settled []uuid.UUID
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		settled = append(settled, r.uuid())
	}
	m.settled = settled
	m.list()
}

func (s *Store) readLane(r *reader) (store.Webhook, error) {
	w, err := readWebhook(newReader(r.Bytes()))
	if err != nil {
		return w, err
	}
	id, err := parseID(w.ID)
	if err != nil {
		return w, err
	}
	l := &lane{webhook: id, name: w.ID, rev: r.Uvarint(), floor: uuid.Max}
	n := r.Uvarint()
	if n > uint64(len(r.B))/21 { // what an entry takes at least
		r.Fail()
		return w, nil
	}
	all := make([]entry, n)
	l.entries = make([]*entry, n)
	for i := range all {
		e := &all[i]
		*e = entry{id: r.uuid(), state: r.Byte(), created: r.Varint(), due: r.Varint(), place: r.place(), item: uint16(r.Uvarint()), index: -1} //nolint:gosec // checked below
		if e.state < codec.Pending || e.state > codec.Dead || int(e.item) >= len(s.items) {
			r.Fail()
			return w, nil
		}
		l.entries[i] = e
		l.count(e.state, 1)
		l.settle(e)
	}
	s.lanes[id] = l
	return w, nil
}

// latestSnapshot tells of the latest snapshot and when it was made; of none if Applied is 0.
func (s *Store) latestSnapshot(ctx context.Context) (manifest, time.Time, error) {
	var is manifest
	m, err := s.stream.GetLastMsgForSubject(ctx, s.names.snapshot)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return is, time.Time{}, nil
	}
	if err != nil {
		return is, time.Time{}, err
	}
	if err := json.Unmarshal(m.Data, &is); err != nil {
		return is, time.Time{}, fmt.Errorf("%w: its manifest: %w", errCorrupt, err)
	}
	return is, m.Time, nil
}

// meetSnapshot notes the latest snapshot, which another instance may have made. One from further on in the log than is known
// here says nothing yet about what is needed.
func (s *Store) meetSnapshot(ctx context.Context) error {
	is, at, err := s.latestSnapshot(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if is.Applied > s.lastSnapshot() && is.Applied <= s.applied {
		s.snapshots = append(s.snapshots, taken{is.Applied, at})
	}
	return nil
}

// lastSnapshot is where the latest snapshot that is known was made. mu is held.
func (s *Store) lastSnapshot() uint64 {
	if n := len(s.snapshots); n > 0 {
		return s.snapshots[n-1].applied
	}
	return 0
}

// loadSnapshot brings the state to where the latest snapshot was made, if there is one.
func (s *Store) loadSnapshot(ctx context.Context) error {
	is, at, err := s.latestSnapshot(ctx)
	if err != nil || is.Applied == 0 {
		return err
	}
	var b []byte
	for _, seq := range is.Parts {
		data, err := s.message(ctx, seq)
		if err != nil {
			return fmt.Errorf("part at message %d: %w", seq, err)
		}
		b = append(b, data...)
	}
	if crc32.Checksum(b, castagnoli) != is.Sum {
		return fmt.Errorf("%w: wrong checksum", errCorrupt)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots = append(s.snapshots, taken{is.Applied, at})
	return s.decode(b)
}

// saveSnapshot writes the state into the stream.
func (s *Store) saveSnapshot(ctx context.Context) error {
	s.mu.Lock()
	b, ok, err := s.encode()
	is := manifest{Applied: s.applied}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if !ok {
		s.options.Logf("warn", "no snapshot is made now, because a change has not come whole yet; tried again")
		return nil
	}
	is.Sum = crc32.Checksum(b, castagnoli)
	for size := min(snapshotPart, int(s.nc.MaxPayload())-messageSlack); len(b) > 0; {
		n := min(size, len(b))
		ack, err := s.js.Publish(ctx, s.names.part, b[:n])
		if err != nil {
			return err
		}
		is.Parts = append(is.Parts, ack.Sequence)
		b = b[n:]
	}
	data, err := json.Marshal(is)
	if err != nil {
		return err
	}
	if _, err := s.js.Publish(ctx, s.names.snapshot, data); err != nil {
		return err
	}
	s.mu.Lock()
	s.snapshots = append(s.snapshots, taken{is.Applied, time.Now()})
	s.mu.Unlock()
	return nil
}
