package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

// replayRate is how many deliveries a second a replay of many is to make due.
const replayRate = 20_000

// replayedAll is a replay of all that is dead.
type replayedAll struct {
	steps   []time.Duration
	took    time.Duration
	cpu     time.Duration
	arrived time.Duration // since the first step, when receivers have all of them; 0 if they never answer
}

// replaying replays a hundred thousand dead deliveries of a thousand webhooks: once while all receivers hang, so that it is
// only the store that works, and once while they answer at once.
func (b *bench) replaying(ctx context.Context) error {
	total, webhooks := pick(b, 100_000, 600), pick(b, 1000, 20)
	t := &table{
		title: fmt.Sprintf("Replaying %d dead deliveries of %d webhooks", total, webhooks),
		head:  []string{"receivers", "made due/s", "CPU ms each", "steps", "p50", "max", "all arrived after"},
	}
	for _, path := range []string{hangs, fresh} {
		var rates []float64
		var last replayedAll
		for range pick(b, 3, 1) {
			if path == fresh && len(rates) > 0 {
				break // receiving them all takes a while
			}
			r, err := b.replayAll(ctx, path, total, webhooks, false)
			if err != nil {
				return fmt.Errorf("receivers: %s: %w", path, err)
			}
			rates = append(rates, float64(total)/r.took.Seconds())
			last = r
		}
		if b.profiles != "" {
			if _, err := b.replayAll(ctx, path, total, webhooks, true); err != nil {
				return err
			}
		}
		name, arrived := "never answer", ""
		if path == fresh {
			name, arrived = "answer at once", timeText(last.arrived)
		}
		t.add(name, rateText(median(rates)), fmt.Sprintf("%.3f", last.cpu.Seconds()*1000/float64(total)), fmt.Sprint(len(last.steps)), timeText(quantile(last.steps, 0.5)), timeText(quantile(last.steps, 1)), arrived)
		if path == hangs {
			b.goal("replaying many", "≥ 20 k/s", rateText(median(rates)), median(rates) >= replayRate)
		}
	}
	t.note("The rate while they never answer is the median of three rounds.")
	return t.write(b.out)
}

func (b *bench) replayAll(ctx context.Context, path string, total, webhooks int, profiled bool) (replayedAll, error) {
	rs, err := b.startReceivers(ctx, receiverRole{Hosts: 10})
	if err != nil {
		return replayedAll{}, err
	}
	defer rs.kill()
	data, err := b.data()
	if err != nil {
		return replayedAll{}, err
	}
	if err := seed(data, func(st *badger.Store) error { return addDead(ctx, st, rs.port, path, total, webhooks) }); err != nil {
		return replayedAll{}, err
	}
	p, err := b.startProxy(ctx, proxyConfig{data: data, delivery: "timeout 10m"})
	if err != nil {
		return replayedAll{}, err
	}
	defer p.kill()
	if err := p.awaitStore(ctx); err != nil {
		return replayedAll{}, err
	}
	var r replayedAll
	begun := time.Now()
	replay := func() (err error) {
		s, err := metered(p.process, func() (_ sample, err error) {
			r.steps, err = p.replayDead(ctx, total)
			return sample{}, err
		})
		r.took, r.cpu = time.Since(begun), s.cpu
		return err
	}
	if profiled {
		err = b.profile(ctx, p, "replay-"+path, replay)
	} else {
		err = replay()
	}
	if err != nil || path == hangs {
		return r, err
	}
	g, err := rs.await(ctx, path+"+backlog", total)
	r.arrived = g.Last.Sub(begun)
	return r, err
}

// addDead lays dead deliveries of an hour into a store, of which each failed once.
func addDead(ctx context.Context, st *badger.Store, port int, path string, total, webhooks int) error {
	ws := make([]store.Webhook, webhooks)
	for i := range ws {
		ws[i] = newWebhook(tenant(i%archiveTenants), i%10, port, fmt.Sprint(path, "/", i))
	}
	if err := addWebhooks(ctx, st, ws); err != nil {
		return err
	}
	ds := make([]store.Delivery, 0, 500)
	for n := range total {
		d := newDelivery(&ws[n%webhooks], backlogID+int64(n), time.Now())
		d.CreatedAt = d.CreatedAt.Add(-time.Hour + time.Duration(n)*(time.Hour/time.Duration(total)))
		d.ID = idAt(d.CreatedAt, n).String()
		d.State = store.Dead
		d.Attempts = []store.Attempt{{N: 1, At: d.CreatedAt, Status: http.StatusInternalServerError, Duration: time.Millisecond, Error: "status 500"}}
		if ds = append(ds, d); len(ds) < cap(ds) && n < total-1 {
			continue
		}
		if err := st.Import(ctx, ds...); err != nil {
			return fmt.Errorf("adding dead deliveries: %w", err)
		}
		ds = ds[:0]
	}
	return nil
}

// replayDead replays step by step, and returns how long each took.
func (p *proxy) replayDead(ctx context.Context, total int) ([]time.Duration, error) {
	var steps []time.Duration
	filter := map[string]string{"state": "dead"}
	replayed := 0
	for {
		var step struct {
			Replayed, Skipped int
			Next              string
		}
		begun := time.Now()
		if err := p.post(ctx, "/benti/deliveries/replay", filter, &step); err != nil {
			return nil, err
		}
		steps = append(steps, time.Since(begun))
		replayed += step.Replayed
		if filter["cursor"] = step.Next; step.Next == "" {
			break
		}
	}
	if replayed != total {
		return nil, fmt.Errorf("%d deliveries were replayed, want %d: %w", replayed, total, errLost)
	}
	return steps, nil
}

// post asks something of Caddy's admin endpoint.
func (p *proxy) post(ctx context.Context, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	response, err := p.admin.Do(request)
	if err != nil {
		return fmt.Errorf("asking the admin endpoint: %w", err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("asking the admin endpoint for %s: status %d: %.200s", path, response.StatusCode, got)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(got, answer)
}
