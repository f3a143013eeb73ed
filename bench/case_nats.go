package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/nats"
)

// natsCallers is how many callers enqueue at a time, natsWorkers how many finish deliveries.
const (
	natsCallers = 64
	natsWorkers = 64
)

// runNATS measures the store that several instances share: enqueueing against bare publishing and against the embedded
// store, and how fast deliveries are claimed and finished by one, two and three instances.
func runNATS(ctx context.Context, b *bench) error {
	enqueue := table{
		title: fmt.Sprintf("Store nats: durable enqueueing, %d callers", natsCallers),
		head:  []string{"servers", "variant", "deliveries/s", "of bare publishing", "p50", "p99", "CPU µs each, servers and all"},
	}
	life := table{
		title: fmt.Sprintf("Store nats: claiming and finishing what is due, %d callers an instance", natsWorkers),
		head:  []string{"servers", "instances", "deliveries/s", "of one instance"},
	}
	for _, servers := range []int{1, 3} {
		if err := b.runCluster(ctx, servers, &enqueue, &life); err != nil {
			return fmt.Errorf("%d servers: %w", servers, err)
		}
	}
	enqueue.note("Bare publishing is one message for each delivery, of the same size, and waits for the same acknowledgement. All servers, instances and callers share one machine.")
	if err := enqueue.write(b.out); err != nil {
		return err
	}
	return life.write(b.out)
}

func (b *bench) runCluster(ctx context.Context, servers int, enqueue, life *table) error {
	c, err := b.startCluster(ctx, servers)
	if c != nil {
		defer c.stop()
	}
	if err != nil {
		return err
	}
	d := pick(b, 1500*time.Millisecond, 200*time.Millisecond)
	results, err := contest(ctx, pick(b, 3, 1), []variant{
		{"bare", func(ctx context.Context) (sample, error) { return c.publishBare(ctx, d) }},
		{"ours", func(ctx context.Context) (sample, error) { return c.enqueueOurs(ctx, 1, d) }},
		{"ours 100", func(ctx context.Context) (sample, error) { return c.enqueueOurs(ctx, 100, d) }},
		{"badger", func(ctx context.Context) (sample, error) { return b.enqueueOurs(ctx, natsCallers, 1, d) }},
	})
	if err != nil {
		return err
	}
	bare := results["bare"]
	for _, row := range []struct{ key, name string }{
		{"bare", "bare publishing"}, {"ours", "store/nats"}, {"ours 100", "store/nats, 100 deliveries a call"}, {"badger", "store/badger"},
	} {
		rs := results[row.key]
		enqueue.add(fmt.Sprint(servers), row.name, rateText(rs.rate()), rs.ratio(bare, sample.rate).String(),
			timeText(rs.quantile(0.5)), timeText(rs.quantile(0.99)), fmt.Sprintf("%.1f", float64(rs.cpuEach())/1e3))
	}
	ratio := results["ours"].ratio(bare, sample.rate)
	b.goal(fmt.Sprintf("8 enqueue through NATS, %d servers", servers), "≥ 0.70 of bare publishing", ratio.String(), ratio.median >= 0.7)
	var alone float64
	for _, instances := range []int{1, 2, 3} {
		rate, err := c.live(ctx, instances, pick(b, 40_000, 1000))
		if err != nil {
			return fmt.Errorf("%d instances: %w", instances, err)
		}
		if instances == 1 {
			alone = rate
		}
		life.add(fmt.Sprint(servers), fmt.Sprint(instances), rateText(rate), ratioText(rate/alone))
	}
	if servers > 1 {
		return nil
	}
	t, err := c.backlog(ctx, pick(b, 1000, 50), pick(b, 1000, 20))
	if err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	return t.write(b.out)
}

var clusterPrefix atomic.Int64

// prefix is one that nobody has used.
func (c *natsCluster) prefix() string { return fmt.Sprint("bench", clusterPrefix.Add(1)) }

// publishBare is what one who writes to JetStream by hand gets.
func (c *natsCluster) publishBare(ctx context.Context, d time.Duration) (sample, error) {
	nc, err := natsgo.Connect(c.urls[0])
	if err != nil {
		return sample{}, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return sample{}, err
	}
	name := c.prefix()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}, Replicas: len(c.urls)}); err != nil {
		return sample{}, err
	}
	data := make([]byte, 240) // what a delivery comes to in ours
	return c.metered(func() (sample, error) {
		return closedLoop(natsCallers, d, func(int, time.Time) error {
			_, err := js.Publish(ctx, name, data)
			return err
		})
	})
}

func (c *natsCluster) metered(run func() (sample, error)) (sample, error) {
	own, servers := ownCPU(), c.cpu()
	s, err := run()
	s.cpu = ownCPU() - own + c.cpu() - servers
	return s, err
}

func (c *natsCluster) enqueueOurs(ctx context.Context, fanOut int, d time.Duration) (sample, error) {
	sts, err := c.open(ctx, c.prefix(), 1)
	if err != nil {
		return sample{}, err
	}
	st := sts[0]
	ws, _ := manyDeliveries(fanOut, 443, 0, 0)
	if err := addWebhooks(ctx, st, ws); err != nil {
		return sample{}, err
	}
	s, err := c.metered(func() (sample, error) {
		return enqueueing(natsCallers, ws, d, func(ds []store.Delivery) error { return st.Enqueue(ctx, ds...) })
	})
	if err == nil {
		err = checkEnqueued(ctx, st, s.n)
	}
	return s, errors.Join(err, st.Close())
}

// live has n deliveries claimed and finished by so many instances, and tells how many a second.
func (c *natsCluster) live(ctx context.Context, instances, n int) (float64, error) {
	sts, err := c.open(ctx, c.prefix(), instances)
	defer func() {
		for _, st := range sts {
			_ = st.Close()
		}
	}()
	if err != nil {
		return 0, err
	}
	const webhooks = 256
	ws, _ := manyDeliveries(webhooks, 443, 0, 0)
	if err := addWebhooks(ctx, sts[0], ws); err != nil {
		return 0, err
	}
	if err := addBacklog(ctx, sts[0], ws, n/webhooks+1, time.Now()); err != nil {
		return 0, err
	}
	all := int64(webhooks * (n/webhooks + 1))
	var done atomic.Int64
	begun := time.Now()
	var work sync.WaitGroup
	errs := make(chan error, instances*natsWorkers)
	for _, st := range sts {
		for worker := range natsWorkers {
			work.Go(func() { errs <- liveWorker(ctx, st, ws, worker, &done, all) })
		}
	}
	work.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return float64(all) / time.Since(begun).Seconds(), nil
}

// liveWorker takes what its instance gets of every webhook in turn, until all is done.
func liveWorker(ctx context.Context, st *nats.Store, ws []store.Webhook, worker int, done *atomic.Int64, all int64) error {
	for i, idle := worker, 0; done.Load() < all; i++ {
		ds, err := st.Claim(ctx, ws[i%len(ws)].ID, time.Now(), 1)
		if err != nil {
			return err
		}
		if len(ds) == 0 {
			if idle++; idle%len(ws) == 0 { // nothing anywhere: others work on the rest
				if err := sleep(ctx, time.Millisecond); err != nil {
					return err
				}
			}
			continue
		}
		o := store.Outcome{
			Delivery: ds[0], State: store.Delivered,
			Attempt: store.Attempt{N: 1, At: time.Now(), Status: 200, Duration: time.Millisecond},
		}
		if err := st.Finish(ctx, o); err != nil {
			return err
		}
		done.Add(1)
	}
	return nil
}
