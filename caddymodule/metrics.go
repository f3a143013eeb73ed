package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
)

const metricsNamespace, metricsSubsystem = "benti", "webhooks"

// countTimeout bounds how long a scrape waits for the store.
const countTimeout = 2 * time.Second

// metrics lives as long as its core, so that counts go on over reloads. Each configuration has a registry
// of its own, to which it is added.
type metrics struct {
	core *core

	events          *prometheus.CounterVec
	underivable     *prometheus.CounterVec
	attempts        *prometheus.CounterVec
	attemptDuration prometheus.Histogram
	deliveryLatency prometheus.Histogram
	storeWrite      prometheus.Histogram
	storeErrors     prometheus.Counter
	lost            prometheus.Counter
	readFailures    *prometheus.CounterVec
	deliveries      *prometheus.Desc
	inDoubt         *prometheus.Desc
	oldestPending   *prometheus.Desc
	unaccounted     *prometheus.Desc
	storeOpen       *prometheus.Desc
	keptAside       *prometheus.Desc
}

func newMetrics() *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help, Buckets: buckets,
		})
	}
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, labels, nil)
	}
	return &metrics{
		events:          counter("events_total", "Events derived from successful calls that a webhook wanted.", "item", "action"),
		underivable:     counter("underivable_total", "Successful calls of which no event could be derived.", "item", "reason"),
		readFailures:    counter("before_read_failures_total", "Tickets that could not be read for an instance event.", "reason"),
		attempts:        counter("attempts_total", "Attempts to deliver, by their result.", "result"),
		attemptDuration: histogram("attempt_duration_seconds", "How long attempts took.", prometheus.DefBuckets),
		deliveryLatency: histogram("delivery_latency_seconds", "Time from the capture of an event to its delivery.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120, 600, 3600, 21600, 86400}),
		storeWrite: histogram("store_write_seconds", "How long it took to store an event durably.",
			[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5}),
		storeErrors:   prometheus.NewCounter(prometheus.CounterOpts(opts("store_errors_total", "Operations of the store that failed."))),
		lost:          prometheus.NewCounter(prometheus.CounterOpts(opts("lost_total", "Events lost because neither store nor reserve nor memory could take them."))),
		deliveries:    gauge("deliveries", "Deliveries in the store, by their state.", "state"),
		inDoubt:       gauge("in_doubt", "Requests that were in flight at a crash and have not been acknowledged."),
		oldestPending: gauge("oldest_pending_seconds", "Age of the event that has been owed longest, but for those held for disabled webhooks; 0 when none is."),
		unaccounted:   gauge("unaccounted", "Events and deliveries whose outcome nobody knows: 0, or something is wrong."),
		storeOpen:     gauge("store_open", "1 while the store is open, 0 while events go to the reserve."),
		keptAside:     gauge("kept_aside", "Events that wait for the store outside of it, by place: reserve or memory.", "place"),
	}
}

// register adds the metrics to the registry of a configuration. Doing so twice is doing so once.
func (m *metrics) register(registry *prometheus.Registry) error {
	err := registry.Register(m)
	if already := new(prometheus.AlreadyRegisteredError); errors.As(err, already) {
		return nil
	}
	return err
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.events, m.underivable, m.attempts, m.attemptDuration, m.deliveryLatency, m.storeWrite, m.storeErrors, m.lost, m.readFailures,
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	ch <- m.deliveries
	for _, d := range m.gauges() {
		ch <- d
	}
}

func (m *metrics) gauges() []*prometheus.Desc {
	return []*prometheus.Desc{m.inDoubt, m.oldestPending, m.unaccounted, m.storeOpen, m.keptAside}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	set := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	inReserve, inMemory := m.core.intake.kept()
	set(m.keptAside, float64(inReserve), "reserve")
	set(m.keptAside, float64(inMemory), "memory")
	set(m.inDoubt, float64(len(m.core.inFlight.inDoubt())))
	set(m.unaccounted, float64(m.core.conservation(ctx).sum()))
	e := m.core.opened.Load()
	if e == nil {
		set(m.storeOpen, 0)
		return
	}
	set(m.storeOpen, 1)
	if at, found, err := e.store.OldestPending(ctx); err == nil {
		age := 0.0
		if found {
			age = max(time.Since(at).Seconds(), 0)
		}
		set(m.oldestPending, age)
	}
	counts, err := e.store.Counts(ctx)
	if err != nil {
		return
	}
	for state, n := range map[store.State]uint64{
		store.Pending: counts.Pending, store.Delivering: counts.Delivering, store.Delivered: counts.Delivered,
		store.Dead: counts.Dead, store.Dropped: counts.Dropped,
	} {
		set(m.deliveries, float64(n), string(state))
	}
}

func (m *metrics) observeAttempt(r emitter.Report) {
	if r.Place == 0 { // the other deliveries of a batch went with the same request
		m.attempts.WithLabelValues(r.Class).Inc()
		m.attemptDuration.Observe(r.Attempt.Duration.Seconds())
	}
	if r.State == store.Delivered {
		m.deliveryLatency.Observe(r.Attempt.At.Add(r.Attempt.Duration).Sub(r.Delivery.CreatedAt).Seconds())
	}
}

var _ prometheus.Collector = (*metrics)(nil)
