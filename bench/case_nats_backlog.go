package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/nats"
)

// backlog measures what an instance holds in memory of many pending deliveries, how it finds its way in them, and how long it
// takes to read the log when it starts.
func (c *natsCluster) backlog(ctx context.Context, webhooks, each int) (*table, error) {
	prefix := c.prefix()
	sts, err := c.open(ctx, prefix, 1)
	if err != nil {
		return nil, err
	}
	st := sts[0]
	defer func() { _ = st.Close() }()
	ws, _ := manyDeliveries(webhooks, 443, 0, 0)
	if err := addWebhooks(ctx, st, ws); err != nil {
		return nil, err
	}
	before := heap()
	if err := addBacklog(ctx, st, ws, each, time.Now().Add(time.Hour)); err != nil {
		return nil, err
	}
	held := heap() - before
	t := &table{
		title: fmt.Sprintf("Store nats: an instance with %d pending deliveries of %d webhooks", webhooks*each, webhooks),
		head:  []string{"what", "measured"},
	}
	t.add("memory, with 32 MiB of records", sizeText(held))
	t.add("memory of each delivery without these", fmt.Sprintf("%d bytes", (held-32<<20)/int64(webhooks*each)))
	for _, call := range []struct {
		name string
		do   func() error
	}{
		{"List, 50 of one webhook", func() error { _, err := st.List(ctx, ws[0].ID, "", 50); return err }},
		{"Find, 100 of all webhooks", func() error { _, _, err := st.Find(ctx, store.Filter{}, "", 100); return err }},
		{"Find, none in a state", func() error { _, _, err := st.Find(ctx, store.Filter{State: store.Dead}, "", 100); return err }},
		{"Counts", func() error { _, err := st.Counts(ctx); return err }},
		{"OldestPending", func() error { _, _, err := st.OldestPending(ctx); return err }},
	} {
		var took []time.Duration
		for range 50 {
			begun := time.Now()
			if err := call.do(); err != nil {
				return nil, fmt.Errorf("%s: %w", call.name, err)
			}
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		t.add(call.name+", p50 and slowest", timeText(quantile(took, 0.5))+", "+timeText(took[len(took)-1]))
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	begun := time.Now()
	st, err = nats.Open(nats.Options{URLs: c.urls, Prefix: prefix, Replicas: len(c.urls), Name: "0"})
	if err != nil {
		return nil, err
	}
	t.add("start, reading the whole log", timeText(time.Since(begun)))
	return t, nil
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse) //nolint:gosec // a heap is smaller than that
}
