package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

// archive is deliveries of a day, evenly spread over it and at random over webhooks of ten projects. Nine in ten of
// them are delivered, the others are due in an hour. One, in the first tenth of the day, is dead, and another one there is
// the only one of its item.
type archive struct {
	webhooks    []store.Webhook
	total       int
	since       time.Time
	tenantAsked string // one of the projects
}

const (
	archiveTenants = 10
	archiveSpan    = 24 * time.Hour
)

func newArchive(webhooks, total int) *archive {
	a := &archive{total: total, since: time.Now().Add(-archiveSpan - time.Minute), tenantAsked: tenant(archiveTenants / 2)}
	items := []string{"ticket", "reply", "user", "alert", "classification", "queue"}
	for i := range webhooks {
		w := newWebhook(tenant(i%archiveTenants), 0, 1, fmt.Sprint(fresh, "/", i)) // nobody listens at port 1
		w.Item = items[i/archiveTenants%len(items)]
		a.webhooks = append(a.webhooks, w)
	}
	return a
}

// idAt is a UUIDv7 of a moment, always the same for the same n.
func idAt(at time.Time, n int) uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(at.UnixMilli())<<16) //nolint:gosec // after 1970
	binary.BigEndian.PutUint64(id[8:], uint64(n))                  //nolint:gosec // a number of deliveries
	id[6], id[8] = id[6]|0x70, id[8]|0x80
	return id
}

// step is the time between two deliveries.
func (a *archive) step() time.Duration { return archiveSpan / time.Duration(a.total) }

// moment is one of the day.
func (a *archive) moment(r *rand.Rand) time.Time {
	return a.since.Add(time.Duration(r.Int64N(int64(archiveSpan)))).UTC()
}

func (a *archive) anyWebhook(r *rand.Rand) string { return a.webhooks[r.IntN(len(a.webhooks))].ID }

// webhookAsked is one of the project that is asked for.
func (a *archive) webhookAsked(r *rand.Rand) string {
	return a.webhooks[r.IntN(len(a.webhooks)/archiveTenants)*archiveTenants+archiveTenants/2].ID
}

func (a *archive) anyDelivery(r *rand.Rand) string {
	n := r.IntN(a.total)
	return idAt(a.at(n), n).String()
}

func (a *archive) at(n int) time.Time { return a.since.Add(time.Duration(n) * a.step()) }

// add lays the archive into a store.
func (a *archive) add(ctx context.Context, st *badger.Store) error {
	if err := addWebhooks(ctx, st, a.webhooks); err != nil {
		return err
	}
	const each = 500                 // deliveries of one call
	r := rand.New(rand.NewPCG(2, 3)) //nolint:gosec // the same in every run
	var wg sync.WaitGroup
	slots, errs := make(chan struct{}, 4), make(chan error, a.total/each+1)
	for from := 0; from < a.total; from += each {
		ds := make([]store.Delivery, 0, each)
		for n := from; n < min(from+each, a.total); n++ {
			ds = append(ds, a.delivery(r, n))
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := st.Import(ctx, ds...); err != nil {
				errs <- fmt.Errorf("adding an archive: %w", err)
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// delivery is that of a number, in the order of time.
func (a *archive) delivery(r *rand.Rand, n int) store.Delivery {
	d := newDelivery(&a.webhooks[r.IntN(len(a.webhooks))], int64(n), time.Now().Add(time.Hour))
	d.CreatedAt = a.at(n)
	d.ID = idAt(d.CreatedAt, n).String()
	if r.IntN(10) > 0 {
		d.State = store.Delivered
		d.Attempts = []store.Attempt{{N: 1, At: d.CreatedAt, Status: http.StatusOK, Duration: 20 * time.Millisecond, Response: []byte("ok")}}
	}
	switch n {
	case a.total / 15:
		d.State = store.Dead
		d.Attempts = []store.Attempt{{N: 1, At: d.CreatedAt, Status: http.StatusInternalServerError, Duration: 20 * time.Millisecond, Error: "status 500"}}
	case a.total / 16:
		d.Item = "media"
	}
	return d
}
