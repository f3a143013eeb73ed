package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bentihooks/bentihooks/store/badger"
)

// worked is a backlog being worked off.
type worked struct {
	first  time.Duration // from the start of the process to the first delivery
	rate   float64
	memory int64   // the most
	conns  float64 // opened, for each delivery
}

// runDrain compares working off a large backlog that is due with working off a small one.
func runDrain(ctx context.Context, b *bench) error {
	webhooks := pick(b, 1000, 100)
	large := ballast{webhooks: webhooks, each: pick(b, 1000, 200), due: -time.Second}
	small := ballast{webhooks: webhooks, each: pick(b, 100, 20), due: -time.Second}
	rs, err := b.startReceivers(ctx, receiverRole{Hosts: backlogHosts})
	if err != nil {
		return err
	}
	defer rs.kill()
	largeDir, err := b.seedBallast(ctx, large, rs.port)
	if err != nil {
		return err
	}
	var smalls, larges []worked
	var smallDir string
	for range pick(b, 3, 1) {
		if smallDir, err = b.seedBallast(ctx, small, rs.port); err != nil {
			return err
		}
		for _, of := range []struct {
			dir string
			to  *[]worked
		}{{smallDir, &smalls}, {largeDir, &larges}} {
			w, err := b.workFor(ctx, rs, of.dir, pick(b, 5*time.Second, 300*time.Millisecond))
			if err != nil {
				return err
			}
			*of.to = append(*of.to, w)
		}
	}
	t := b.tellDrain(small, large, smalls, larges)
	if err := b.profileDrain(ctx, largeDir); err != nil {
		return err
	}
	if err := b.spaceAfter(ctx, t, smallDir, small.webhooks*small.each); err != nil {
		return err
	}
	return t.write(b.out)
}

func (b *bench) tellDrain(small, large ballast, smalls, larges []worked) *table {
	t := &table{title: "Working off a backlog", head: []string{"due", "start to first delivery", "deliveries/s", "ratio", "connections opened, of each delivery", "RssAnon at most"}}
	slow, fast := medianWorked(larges), medianWorked(smalls)
	ratios := make([]float64, len(larges))
	for i := range ratios {
		ratios[i] = larges[i].rate / smalls[i].rate
	}
	ratio := spreadOf(ratios)
	for _, row := range []struct {
		l     ballast
		w     worked
		ratio string
	}{{small, fast, "1.00"}, {large, slow, ratio.String()}} {
		t.add(fmt.Sprintf("%d of %d webhooks", row.l.webhooks*row.l.each, row.l.webhooks), timeText(row.w.first), rateText(row.w.rate), row.ratio,
			ratioText(row.w.conns), sizeText(row.w.memory))
	}
	b.goal("6 1,000,000 due: start to first delivery", "≤ 2 s", timeText(slow.first), slow.first <= 2*time.Second)
	b.goal("6 1,000,000 due: rate", "≥ 0.90 of 100,000 due", ratio.String(), ratio.median >= 0.9)
	b.goal("6 1,000,000 due: memory", "≤ 200 MiB", sizeText(slow.memory), slow.memory <= 200<<20)
	return t
}

func (b *bench) seedBallast(ctx context.Context, l ballast, port int) (string, error) {
	dir, err := b.data()
	if err != nil {
		return "", err
	}
	return dir, seed(dir, func(st *badger.Store) error { return l.add(ctx, st, port) })
}

func medianWorked(ws []worked) worked {
	of := func(figure func(worked) float64) float64 {
		var xs []float64
		for _, w := range ws {
			xs = append(xs, figure(w))
		}
		return median(xs)
	}
	return worked{
		first:  time.Duration(of(func(w worked) float64 { return float64(w.first) })),
		rate:   of(func(w worked) float64 { return w.rate }),
		memory: int64(of(func(w worked) float64 { return float64(w.memory) })),
		conns:  of(func(w worked) float64 { return w.conns }),
	}
}

// workFor starts a proxy on a backlog, lets it work for a while, and kills it: what it had in hand is due again.
func (b *bench) workFor(ctx context.Context, rs *receivers, dir string, d time.Duration) (worked, error) {
	if err := rs.reset(); err != nil {
		return worked{}, err
	}
	p, err := b.startProxy(ctx, proxyConfig{data: dir})
	if err != nil {
		return worked{}, err
	}
	defer p.kill()
	var w worked
	var r report
	var g groupReport
	for g.Unique == 0 || time.Since(g.First) < d {
		if time.Since(p.begun) > time.Minute {
			return w, fmt.Errorf("%d deliveries within a minute of the start: %w", g.Unique, errLost)
		}
		memory, err := p.rssAnon()
		if err != nil {
			return w, err
		}
		w.memory = max(w.memory, memory)
		if err := sleep(ctx, d/50); err != nil {
			return w, err
		}
		if r, err = rs.report(command{}); err != nil {
			return w, err
		}
		g = r.Groups[fresh+"+backlog"]
	}
	w.first = g.First.Sub(p.begun)
	w.rate = float64(g.Unique-1) / g.Last.Sub(g.First).Seconds()
	w.conns = float64(r.Connections) / float64(g.Unique)
	return w, nil
}

func (b *bench) profileDrain(ctx context.Context, dir string) error {
	if b.profiles == "" {
		return nil
	}
	p, err := b.startProxy(ctx, proxyConfig{data: dir})
	if err != nil {
		return err
	}
	defer p.kill()
	return b.profile(ctx, p, "drain", func() error { return nil })
}

// spaceAfter has what is left of a backlog worked off and sees what the database then takes on the disk.
func (b *bench) spaceAfter(ctx context.Context, t *table, dir string, total int) error {
	p, err := b.startProxy(ctx, proxyConfig{data: dir})
	if err != nil {
		return err
	}
	if err := p.awaitDelivered(ctx, total); err != nil {
		p.kill()
		return fmt.Errorf("working off the backlog: %w", err)
	}
	running, err := usedBytes(dir)
	if err != nil {
		return err
	}
	if err := p.stop(); err != nil {
		return err
	}
	stopped, err := usedBytes(dir)
	if err != nil {
		return err
	}
	live, err := liveBytes(dir)
	if err != nil {
		return err
	}
	pruned, err := pruneAll(ctx, dir)
	if err != nil {
		return err
	}
	t.note("The %d deliveries of the small one, all delivered, are %s of live data, as they stay listed; on the disk they take %s while the proxy runs, %s after it has stopped, and %s after their retention.",
		total, sizeText(live), sizeText(running), sizeText(stopped), sizeText(pruned))
	b.goal("6 disk after draining", "< 3 x live data", fmt.Sprintf("%.1f x running, %.1f x stopped", float64(running)/float64(live), float64(stopped)/float64(live)),
		running < 3*live)
	return nil
}

// awaitDelivered waits until that many deliveries are listed as delivered.
func (p *proxy) awaitDelivered(ctx context.Context, total int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		text, err := p.get(ctx, "/metrics")
		if err != nil {
			return err
		}
		got, err := gauge(string(text), `benti_webhooks_deliveries{state="delivered"} `)
		if err == nil && int(got) == total { // there is none until the store is open
			return nil
		}
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return fmt.Errorf("%.0f of %d were delivered: %w", got, total, errors.Join(errLost, err))
		}
	}
}

// gauge finds the value of a metric by all that stands before it.
func gauge(metrics, name string) (float64, error) {
	_, after, found := strings.Cut(metrics, "\n"+name)
	if !found {
		return 0, fmt.Errorf("no metric %s", name)
	}
	value, _, _ := strings.Cut(after, "\n")
	return strconv.ParseFloat(value, 64)
}

// pruneAll erases all that was delivered, as happens after its retention, and tells what the database then takes.
func pruneAll(ctx context.Context, dir string) (int64, error) {
	st, err := badger.Open(badger.Options{Dir: dir})
	if err != nil {
		return 0, err
	}
	_, err = st.Prune(ctx, time.Now())
	if err := errors.Join(err, st.Close()); err != nil {
		return 0, err
	}
	// Opened once more: what had to wait for the end of the erasing is done now.
	if st, err = badger.Open(badger.Options{Dir: dir}); err != nil {
		return 0, err
	}
	if err := st.Close(); err != nil {
		return 0, err
	}
	return usedBytes(dir)
}
