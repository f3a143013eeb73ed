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
		storeErrors: prometheus.NewCounter(prometheus.CounterOpts(opts("store_errors_total", "Operations of the store that failed."))),
		lost:        prometheus.NewCounter(prometheus.CounterOpts(opts("lost_total", "Events lost because neither store nor reserve nor memory could take them."))),
		deliveries: prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "deliveries"),
			"Deliveries in the store, by their state.", []string{"state"}, nil),
		inDoubt: prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "in_doubt"),
			"Requests that were in flight at a crash and have not been acknowledged.", nil, nil),
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
	ch <- m.inDoubt
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	ch <- prometheus.MustNewConstMetric(m.inDoubt, prometheus.GaugeValue, float64(len(m.core.inFlight.inDoubt())))
	e := m.core.opened.Load()
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	counts, err := e.store.Counts(ctx)
	if err != nil {
		return
	}
	for state, n := range map[store.State]uint64{
		store.Pending: counts.Pending, store.Delivering: counts.Delivering, store.Delivered: counts.Delivered,
		store.Dead: counts.Dead, store.Dropped: counts.Dropped,
	} {
		ch <- prometheus.MustNewConstMetric(m.deliveries, prometheus.GaugeValue, float64(n), string(state))
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
