package nats

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/codec"
)

// Enqueue stores deliveries in state Pending, whatever state they say, all or none, of any size. The ids of webhooks and
// deliveries have to be UUIDs in lower case.
func (s *Store) Enqueue(ctx context.Context, deliveries ...store.Delivery) error {
	pending := make([]store.Delivery, len(deliveries))
	for i, d := range deliveries {
		d.State = store.Pending
		pending[i] = d
	}
	return s.enqueue(ctx, pending)
}

// Import stores deliveries as they are, with state and attempts, all or none: those of another store. What is there
// already is left as it is.
func (s *Store) Import(ctx context.Context, deliveries ...store.Delivery) error {
	for i := range deliveries {
		if codec.StateNumber(deliveries[i].State) == 0 {
			return fmt.Errorf("importing delivery %s: its state is %q", deliveries[i].ID, deliveries[i].State)
		}
	}
	return s.enqueue(ctx, deliveries)
}

func (s *Store) enqueue(ctx context.Context, deliveries []store.Delivery) error {
	if len(deliveries) == 0 {
		return nil
	}
	body, err := enqueueBody(deliveries)
	if err != nil {
		return fmt.Errorf("enqueueing delivery: %w", err)
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.submit(ctx, newOp(kindEnqueue, body)); err != nil {
		return fmt.Errorf("enqueueing: %w", err)
	}
	return nil
}

// enqueueBody encodes deliveries. One given twice is there already when it comes up again; without a webhook it counts once.
func enqueueBody(deliveries []store.Delivery) ([]byte, error) {
	seen := make(map[address]bool, len(deliveries))
	var items []byte
	for i := range deliveries {
		webhook, err := parseID(deliveries[i].Webhook)
		if err != nil {
			return nil, fmt.Errorf("webhook %w", err)
		}
		id, err := parseID(deliveries[i].ID)
		if err != nil {
			return nil, err
		}
		if seen[address{webhook, id}] {
			continue
		}
		seen[address{webhook, id}] = true
		items = appendItem(items, webhook, id, &deliveries[i])
	}
	return append(binary.AppendUvarint(nil, uint64(len(seen))), items...), nil
}

func appendItem(b []byte, webhook, id uuid.UUID, d *store.Delivery) []byte {
	b = append(b, webhook[:]...)
	b = append(b, id[:]...)
	return codec.Append(b, encodeDelivery(d))
}
