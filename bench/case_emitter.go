package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

const (
	emitterHosts = 8
	perWebhook   = 8 // attempts in flight, the emitter's default
)

// runEmitter measures deliveries from a store that holds them already to receivers on the same machine, outcomes stored
// durably, against a bare net/http client that posts the same with as many in flight.
func runEmitter(ctx context.Context, b *bench) error {
	t := table{
		title: fmt.Sprintf("Deliveries to %d receivers over TLS, %d in flight to each", emitterHosts, perWebhook),
		head:  []string{"variant", "deliveries/s", "ratio", "CPU µs each", "ratio"},
	}
	pool, err := b.trust()
	if err != nil {
		return err
	}
	for _, http2 := range []bool{false, true} {
		name := "HTTP/1.1"
		if http2 {
			name = "HTTP/2"
		}
		if err := b.compareEmitters(ctx, &t, pool, http2, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	t.note("Rounds begin without connections. The CPU is that of the sending side, which for the emitter includes the store.")
	return t.write(b.out)
}

func (b *bench) compareEmitters(ctx context.Context, t *table, pool *x509.CertPool, http2 bool, name string) error {
	rs, err := b.startReceivers(ctx, receiverRole{Hosts: emitterHosts, HTTP2: http2})
	if err != nil {
		return err
	}
	defer rs.kill()
	n := pick(b, 25_000, 500)
	measured := func(who string, post func(context.Context, []store.Webhook, []store.Delivery) (sample, error)) variant {
		return variant{who, func(ctx context.Context) (sample, error) {
			if err := rs.reset(); err != nil {
				return sample{}, err
			}
			ws, ds := manyDeliveries(emitterHosts, rs.port, n, 1)
			s, err := post(ctx, ws, ds)
			if err != nil {
				return s, err
			}
			_, err = rs.await(ctx, fresh, n)
			return s, err
		}}
	}
	results, err := contest(ctx, pick(b, 3, 1), []variant{
		measured("bare", func(ctx context.Context, ws []store.Webhook, ds []store.Delivery) (sample, error) {
			c := newBareClient(pool, perWebhook)
			defer c.transport.CloseIdleConnections()
			before := ownCPU()
			s, err := c.postAll(ctx, ws, ds, perWebhook)
			s.cpu = ownCPU() - before
			return s, err
		}),
		measured("ours", func(ctx context.Context, ws []store.Webhook, ds []store.Delivery) (sample, error) {
			return b.emit(ctx, pool, ws, ds)
		}),
	})
	if err != nil {
		return err
	}
	bare, ours := results["bare"], results["ours"]
	for _, row := range []struct {
		name string
		rs   rounds
	}{{"bare net/http client", bare}, {"emitter and store", ours}} {
		t.add(row.name+", "+name, rateText(row.rs.rate()), row.rs.ratio(bare, sample.rate).String(), fmt.Sprintf("%.1f", float64(row.rs.cpuEach())/1e3),
			ratioText(float64(row.rs.cpuEach())/float64(bare.cpuEach())))
	}
	ratio := ours.ratio(bare, sample.rate)
	b.goal("4 emitter, "+name, "≥ 0.70 of the bare client", ratio.String(), ratio.median >= 0.7)
	return b.profileSelf("emitter-"+strings.ReplaceAll(name, "/", ""), func() error {
		ws, ds := manyDeliveries(emitterHosts, rs.port, n, 1)
		_, err := b.emit(ctx, pool, ws, ds)
		return err
	})
}

// emit delivers ds through an emitter and a new store. Filling the store does not count.
func (b *bench) emit(ctx context.Context, pool *x509.CertPool, ws []store.Webhook, ds []store.Delivery) (sample, error) {
	dir, err := b.data()
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(dir)
	st, err := badger.Open(badger.Options{Dir: dir})
	if err != nil {
		return sample{}, err
	}
	if err := addWebhooks(ctx, st, ws); err != nil {
		return sample{}, err
	}
	for begin := 0; begin < len(ds); begin += 1000 {
		if err := st.Enqueue(ctx, ds[begin:min(begin+1000, len(ds))]...); err != nil {
			return sample{}, err
		}
	}
	var left atomic.Int64
	left.Store(int64(len(ds)))
	done := make(chan error, len(ds))
	e := emitter.New(st, emitter.Config{
		RootCAs: pool, AllowCIDR: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, MaxPerWebhook: perWebhook,
		Report: func(r emitter.Report) {
			if r.State != store.Delivered || r.Err != nil {
				done <- fmt.Errorf("a delivery is %s: %s, %w", r.State, r.Attempt.Error, r.Err)
			} else if left.Add(-1) == 0 {
				done <- nil
			}
		},
		StoreError: func(err error) { done <- err },
	})
	before, begun := ownCPU(), time.Now()
	e.Start()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s := sample{n: len(ds), elapsed: time.Since(begun), cpu: ownCPU() - before}
	return s, errors.Join(err, e.Stop(ctx), st.Close())
}
