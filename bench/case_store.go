package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

// runStore measures how fast 64 callers get events stored durably: the engine against a bare loop over the same
// database.
func runStore(ctx context.Context, b *bench) error {
	const callers = 64
	t := table{
		title: fmt.Sprintf("Durable enqueueing, %d callers", callers),
		head:  []string{"variant", "deliveries/s", "ratio", "p50", "p99", "CPU µs each"},
	}
	for _, fanOut := range []int{1, 100} {
		d := pick(b, 1200*time.Millisecond, 100*time.Millisecond)
		results, err := contest(ctx, pick(b, 4, 1), []variant{
			{"bare", func(context.Context) (sample, error) { return b.enqueueBare(callers, fanOut, d) }},
			{"ours", func(ctx context.Context) (sample, error) { return b.enqueueOurs(ctx, callers, fanOut, d) }},
		})
		if err != nil {
			return err
		}
		bare, ours := results["bare"], results["ours"]
		for _, row := range []struct {
			name string
			rs   rounds
		}{{"bare loop", bare}, {"store/badger", ours}} {
			t.add(fmt.Sprintf("%s, %d deliveries a call", row.name, fanOut), rateText(row.rs.rate()), row.rs.ratio(bare, sample.rate).String(),
				timeText(row.rs.quantile(0.5)), timeText(row.rs.quantile(0.99)), fmt.Sprintf("%.1f", float64(row.rs.cpuEach())/1e3))
		}
		ratio, rate := ours.ratio(bare, sample.rate), ours.rate()
		if fanOut == 1 {
			b.goal("3 enqueue, fan-out 1", "≥ 50 k/s or ≥ 0.80 of the bare loop", rateText(rate)+", "+ratio.String(), rate >= 50_000 || ratio.median >= 0.8)
		} else {
			b.goal("3 enqueue, fan-out 100", "≥ 100 k/s", rateText(rate)+" ("+ratio.String()+" of the bare loop)", rate >= 100_000)
		}
		err = b.profileSelf(fmt.Sprintf("store-%d", fanOut), func() error {
			_, err := b.enqueueOurs(ctx, callers, fanOut, 2*d)
			return err
		})
		if err != nil {
			return err
		}
	}
	t.note("Each round in a new directory. The CPU is that of callers and engine together.")
	return t.write(b.out)
}

func (b *bench) enqueueOurs(ctx context.Context, callers, fanOut int, d time.Duration) (sample, error) {
	dir, err := b.data()
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(dir)
	st, err := badger.Open(badger.Options{Dir: dir})
	if err != nil {
		return sample{}, err
	}
	ws, _ := manyDeliveries(fanOut, 443, 0, 0)
	if err := addWebhooks(ctx, st, ws); err != nil {
		return sample{}, err
	}
	s, err := enqueueing(callers, ws, d, func(ds []store.Delivery) error { return st.Enqueue(ctx, ds...) })
	if err == nil {
		err = checkEnqueued(ctx, st, s.n)
	}
	return s, errors.Join(err, st.Close())
}

func checkEnqueued(ctx context.Context, st store.Store, n int) error {
	counts, err := st.Counts(ctx)
	if err == nil && counts.Pending != uint64(n) { //nolint:gosec // a count
		err = fmt.Errorf("%d deliveries are pending, %d were enqueued: %w", counts.Pending, n, errLost)
	}
	return err
}

func (b *bench) enqueueBare(callers, fanOut int, d time.Duration) (sample, error) {
	dir, err := b.data()
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(dir)
	l, err := openBareLoop(dir)
	if err != nil {
		return sample{}, err
	}
	ws, _ := manyDeliveries(fanOut, 443, 0, 0)
	s, err := enqueueing(callers, ws, d, l.enqueue)
	return s, errors.Join(err, l.close())
}

// enqueueing has callers store one event after the other, each with a delivery for every webhook.
func enqueueing(callers int, ws []store.Webhook, d time.Duration, enqueue func([]store.Delivery) error) (sample, error) {
	before := ownCPU()
	s, err := closedLoop(callers, d, func(_ int, at time.Time) error {
		ds := make([]store.Delivery, len(ws))
		for i := range ws {
			ds[i] = newDelivery(&ws[i], at.UnixNano(), at)
		}
		return enqueue(ds)
	})
	s.n *= len(ws)
	s.cpu = ownCPU() - before
	return s, err
}
