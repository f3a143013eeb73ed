package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

// Webhooks and backlogs are laid straight into a data directory before the proxy that finds them there is started:
// no handshakes, and as fast as the store takes them.

// seed opens the store in dir, has fill put something in, and closes it.
func seed(dir string, fill func(*badger.Store) error) error {
	st, err := badger.Open(badger.Options{Dir: dir})
	if err != nil {
		return err
	}
	if err := fill(st); err != nil {
		_ = st.Close()
		return err
	}
	return st.Close()
}

// newWebhook is one whose receiver is at a host's path.
func newWebhook(project string, hostNumber, port int, path string) store.Webhook {
	now := time.Now()
	return store.Webhook{
		ID: uuid.NewString(), Project: project, Item: "ticket", URL: fmt.Sprintf("https://%s:%d/%s", host(hostNumber), port, path),
		Secret: "a secret of twenty-nine bytes", Status: store.Active, CreatedAt: now, UpdatedAt: now,
	}
}

// addWebhooks has many of them share the store's commits.
func addWebhooks(ctx context.Context, st store.Store, ws []store.Webhook) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 256)
	errs := make(chan error, len(ws))
	for _, w := range ws {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := st.CreateWebhook(ctx, w, 1<<30); err != nil {
				errs <- fmt.Errorf("adding webhook: %w", err)
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// newDelivery is one of an item with the given id.
func newDelivery(w *store.Webhook, id int64, due time.Time) store.Delivery {
	now := time.Now()
	return store.Delivery{
		ID: uuid.Must(uuid.NewV7()).String(), Webhook: w.ID, Project: w.Project, Item: w.Item, Action: "add",
		Payload: fmt.Appendf(nil, `{"id":%d,"item":"ticket","action":"add","timestamp":%d,"actor":%d,"parent":null}`, id, now.Unix(), now.UnixNano()),
		State:   store.Pending, CreatedAt: now, Due: due,
	}
}

// addBacklog enqueues each deliveries for each webhook, all due at one time.
func addBacklog(ctx context.Context, st store.Store, ws []store.Webhook, each int, due time.Time) error {
	const step = 1000 // deliveries of one call
	id := int64(backlogID)
	batch := make([]store.Delivery, 0, step)
	flush := func() error {
		if err := st.Enqueue(ctx, batch...); err != nil {
			return fmt.Errorf("adding backlog: %w", err)
		}
		batch = batch[:0]
		return nil
	}
	for range each {
		for i := range ws {
			id++
			batch = append(batch, newDelivery(&ws[i], id, due))
			if len(batch) < step {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
