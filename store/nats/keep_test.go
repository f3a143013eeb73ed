package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/storetest"
)

// byHand are options for one instance that keeps its log short when it is told to.
func byHand(t testing.TB) Options {
	o := alone(t, serverURL(t), newPrefix())
	o.snapshotTail, o.purgeAge, o.keepEvery = 1, time.Nanosecond, time.Hour
	return o
}

func firstOfLog(t *testing.T, s *Store) uint64 {
	t.Helper()
	info, err := s.stream.Info(t.Context())
	ok(t, err)
	return info.State.FirstSeq
}

// The log is cut off behind what is listed, and what waits longer than that is moved out of the way.
func TestTheLogIsCutOffBehindWhatIsListed(t *testing.T) {
	t.Parallel()
	o := byHand(t)
	s := open(t, o)
	w := subscribed(t, []*Store{s}, 1)[0]
	waiting := storetest.Delivery(w, storetest.Start)
	waiting.Due = storetest.Start.Add(24 * time.Hour)
	old, fresh := storetest.Delivery(w, storetest.Start.Add(time.Second)), storetest.Delivery(w, storetest.Start.Add(time.Hour))
	for _, d := range []store.Delivery{waiting, old, fresh} {
		ok(t, s.Enqueue(t.Context(), d))
		if d.ID == waiting.ID {
			continue
		}
		ds, err := s.Claim(t.Context(), w.ID, d.Due, 1)
		ok(t, err)
		ok(t, s.Finish(t.Context(), storetest.Outcome(ds[0], store.Delivered, time.Time{})))
	}
	begins := func(d store.Delivery) uint64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		id, _ := parseID(d.ID)
		return s.find(w.ID).find(id).place.seq
	}
	ok(t, s.keepLog()) // moves what waits, which is in front of all that is delivered
	if got, want := firstOfLog(t, s), begins(old); got != want {
		t.Errorf("the log begins with %d, want %d, where the oldest delivered one is", got, want)
	}
	_, err := s.Prune(t.Context(), storetest.Start.Add(time.Minute))
	ok(t, err)
	ok(t, s.keepLog())
	if got, want := firstOfLog(t, s), begins(fresh); got != want {
		t.Errorf("the log begins with %d, want %d, where the oldest delivered one is", got, want)
	}
	ok(t, s.Close())
	s = open(t, o)
	for _, d := range []store.Delivery{waiting, fresh} {
		got, err := s.Get(t.Context(), w.ID, d.ID)
		ok(t, err)
		if string(got.Payload) != string(d.Payload) {
			t.Errorf("got %+v", got)
		}
	}
	if due, found, err := s.NextDue(t.Context(), w.ID); err != nil || !found || !due.Equal(waiting.Due) {
		t.Errorf("the next is due at %v, %v, %v", due, found, err)
	}
}

// The connection may be lost between two parts of a change, which is then given up.
func TestTheLogIsCutOffBehindAChangeThatWasNotSentWhole(t *testing.T) {
	t.Parallel()
	warned := make(chan string, 1)
	o := byHand(t)
	o.Logf = func(level, message string) {
		if level == "warn" && strings.Contains(message, "not come whole") {
			warned <- message
		}
	}
	s := open(t, o)
	subscribed(t, []*Store{s}, 1)
	part := message{instance: s.instance, number: 1 << 40, parts: 2, content: []byte("a")}
	ack, err := s.js.Publish(t.Context(), s.names.log, encodeMessage(&part))
	ok(t, err)
	eventually(t, "the part is met", func() bool { return s.next() > ack.Sequence })
	ok(t, s.keepLog())
	if len(warned) == 0 {
		t.Error("of the snapshot that is not made nothing was said")
	}
	for range partBeats {
		ok(t, s.beatOnce())
	}
	ok(t, s.keepLog())
	if got := firstOfLog(t, s); got <= ack.Sequence {
		t.Errorf("the log begins with %d, though nothing refers to %d", got, ack.Sequence)
	}
}

// A change that is sent slowly takes effect all the same. When it does no more is the same for all, as the log alone decides.
func TestAPartIsForgottenAfterManySignsOfLifeOfOneInstance(t *testing.T) {
	for name, sender := range map[string]uuid.UUID{"of a member": {'a'}, "of one that does not deliver": {'p'}} {
		for rounds, want := range map[int]int{partBeats - 1: 1, partBeats: 0} {
			t.Run(fmt.Sprintf("%s, after %d", name, rounds), func(t *testing.T) {
				s := unconnected()
				take := func(m message) { ok(t, s.take(s.applied+1, encodeMessage(&m))) }
				create, err := webhookBody(10, storetest.Webhook("acme"))
				ok(t, err)
				change := appendChange(nil, kindCreate, create)
				for part, content := range [][]byte{change[:1], change[1:9], change[9:]} {
					take(message{instance: sender, number: 1 << 40, part: uint64(part), parts: 3, content: content})
					for range rounds {
						for _, from := range []byte{'a', 'b'} {
							beat := appendChange(nil, kindBeat, []byte{0, 1, from, 0})
							take(message{instance: uuid.UUID{from}, number: s.applied, parts: 1, content: beat})
						}
					}
				}
				if got := s.directory.Len(); got != want {
					t.Errorf("there are %d webhooks, want %d", got, want)
				}
			})
		}
	}
}

// The snapshots are made by the first instance, and what waits is moved by the one that delivers for it.
func TestEachInstanceMovesWhatWaitsOutOfTheWay(t *testing.T) {
	t.Parallel()
	o := byHand(t)
	ss := []*Store{open(t, o)}
	o.Name = "another"
	ss = append(ss, open(t, o))
	first, other := ss[0], ss[1]
	if first.mu.Lock(); first.current[0] != first.instance {
		first, other = other, first
	}
	ss[0].mu.Unlock()
	var w store.Webhook
	for _, w = range subscribed(t, ss, 20) {
		if _, owner := ownerAndOther([]*Store{other, first}, w); owner == first {
			break
		}
	}
	waiting, done := storetest.Delivery(w, storetest.Start.Add(24*time.Hour)), storetest.Delivery(w, storetest.Start)
	ok(t, other.Enqueue(t.Context(), waiting))
	began := other.next() - 1
	ok(t, other.Enqueue(t.Context(), done))
	ds, err := other.Claim(t.Context(), w.ID, done.Due, 1)
	ok(t, err)
	ok(t, other.Finish(t.Context(), storetest.Outcome(ds[0], store.Delivered, time.Time{})))
	eventually(t, "the first has all", func() bool { return first.next() >= other.next() })
	for _, s := range []*Store{first, other} {
		ok(t, s.keepLog())
	}
	eventually(t, "the first knows what was moved", func() bool { return first.next() >= other.next() })
	ok(t, first.keepLog())
	if got := firstOfLog(t, first); got <= began {
		t.Errorf("the log begins with %d, though what waited at %d could be moved", got, began)
	}
}

// Who comes while a record is being moved waits until it has been, and finds the delivery as it was.
func TestAMoveIsNotNoticed(t *testing.T) {
	t.Parallel()
	later := storetest.Start.Add(time.Hour)
	for name, call := range map[string]func(s *Store, d store.Delivery) error{
		"Kill": func(s *Store, d store.Delivery) error {
			n, err := s.Kill(context.Background(), d.Webhook)
			return errors.Join(err, differ(n, 1))
		},
		"Claim": func(s *Store, d store.Delivery) error {
			ds, err := s.Claim(context.Background(), d.Webhook, later, 2)
			return errors.Join(err, differ(len(ds), 1))
		},
		"NextDue": func(s *Store, d store.Delivery) error {
			due, waits, err := s.NextDue(context.Background(), d.Webhook)
			return errors.Join(err, differ(waits, true), differ(due.Unix(), d.Due.Unix()))
		},
		"Replay": func(s *Store, d store.Delivery) error {
			if err := s.Replay(context.Background(), d.Webhook, d.ID, later); err != nil {
				return err
			}
			got, err := s.Get(context.Background(), d.Webhook, d.ID)
			return errors.Join(err, differ(got.Due.Unix(), later.Unix()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, byHand(t))
			w := subscribed(t, []*Store{s}, 1)[0]
			d := storetest.Delivery(w, storetest.Start)
			ok(t, s.Enqueue(t.Context(), d))
			a := addressOf(t, d)
			if !s.beginMove(a) {
				t.Fatal("no move begins")
			}
			s.mu.Lock()
			c, r, err := s.hold(d.Webhook, d.ID)
			s.mu.Unlock()
			ok(t, err)
			called := make(chan error)
			go func() { called <- call(s, d) }() // which comes to where it waits during the round trips below
			ds, err := s.read(t.Context(), []ref{r})
			ok(t, err)
			ok(t, s.submit(t.Context(), newPut(c, &ds[0])))
			s.endMove()
			ok(t, <-called)
		})
	}
}

// A delivery that began to move while it is killed would be pending again behind the kill.
func TestNothingIsMovedWhileItIsKilled(t *testing.T) {
	t.Parallel()
	s := open(t, byHand(t))
	w := subscribed(t, []*Store{s}, 1)[0]
	d := storetest.Delivery(w, storetest.Start)
	ok(t, s.Enqueue(t.Context(), d))
	a := addressOf(t, d)
	s.mu.Lock()
	s.lanes[a.webhook].killing++
	s.mu.Unlock()
	if s.beginMove(a) {
		t.Error("a move begins")
	}
}

func addressOf(t *testing.T, d store.Delivery) address {
	t.Helper()
	webhook, err := parseID(d.Webhook)
	ok(t, err)
	id, err := parseID(d.ID)
	ok(t, err)
	return address{webhook, id}
}

func differ[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}
