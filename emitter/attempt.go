package emitter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// errUnchanged ends an update of a webhook that turns out not to be needed.
var errUnchanged = errors.New("nothing to change")

// attempt makes one attempt of claimed deliveries, at least one, for which a slot of l is held, and stores what became
// of each. The slot of one that arrived is given back before that is stored, as the receiver has nothing to do with it.
func (e *Emitter) attempt(r *run, l *lane, ds []store.Delivery) {
	slots := 1
	defer func() { e.give(l, slots) }()
	w := e.st.Directory().Get(l.webhook)
	if r.stopped() || w == nil || w.Off() {
		e.release(r, ds...)
		return
	}
	s := e.settings.Load()
	p := &posted{lane: l, webhook: w, settings: s, deliveries: ds, result: s.client.PostAll(r.ctx, w, ds)}
	if p.result.Class == ClassCanceled {
		e.release(r, ds...)
		return
	}
	e.mu.Lock()
	e.schedule.observe(l, p.result.Class == ClassDelivered, ds[0].Ping)
	if p.result.Attempt.Status == http.StatusRequestEntityTooLarge && len(ds) > 1 {
		l.load.bytes = min(l.load.bytes, listSize(ds)/2)
	}
	settling := p.result.Class == ClassDelivered && e.schedule.settle(l)
	e.mu.Unlock()
	if settling {
		slots = 0
		e.rouse()
		defer e.settled(l)
	}
	p.ended, p.spread = e.clock.now(), jitter()
	e.settle(r, p)
}

func (e *Emitter) settled(l *lane) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.schedule.settled(l)
}

// posted is an attempt that was made. The waits of all its deliveries get one spread: those that failed together
// and are to wait equally long are then due together, and can share a POST again.
type posted struct {
	lane       *lane
	webhook    *store.Webhook
	settings   *settings
	deliveries []store.Delivery
	result     Result
	ended      time.Time
	spread     float64
}

// settle stores the outcomes of all deliveries of an attempt, at once, so that the store can commit them together.
func (e *Emitter) settle(r *run, p *posted) {
	if len(p.deliveries) == 1 {
		e.settleOne(r, p, 0)
		return
	}
	var work sync.WaitGroup
	for place := range p.deliveries {
		work.Go(func() { e.settleOne(r, p, place) })
	}
	work.Wait()
}

// settleOne stores the outcome of one delivery, and the webhook's status with the first.
func (e *Emitter) settleOne(r *run, p *posted, place int) {
	d := &p.deliveries[place]
	o := store.Outcome{Delivery: *d, Attempt: p.result.Attempt}
	o.Attempt.N = len(d.Attempts) + 1
	o.State, o.Due = p.settings.next(d, &p.result, p.ended, p.spread)
	rep := Report{
		Batch: p.result.ID, Size: len(p.deliveries), Place: place,
		Delivery: *d, Attempt: o.Attempt, State: o.State, Due: o.Due, URL: p.webhook.Host(), Class: p.result.Class,
		Err: e.finish(r, o),
	}
	switch {
	case place > 0:
	case o.Attempt.Status == http.StatusGone && !d.Ping:
		rep.StatusChange = e.gone(r, p.webhook)
	default:
		rep.StatusChange = e.syncStatus(r, p.lane)
	}
	if p.settings.Report != nil {
		p.settings.Report(rep)
	}
}

// finish stores an outcome, for as long as it takes: a delivery that arrived must not be sent again because the
// disk was full for a minute. There is a limit to how many wait here without a slot, so that a store that takes no
// outcomes is not given ever more of them to take.
func (e *Emitter) finish(r *run, o store.Outcome) error {
	tries := 0
	err := e.persist(r, func(ctx context.Context) error {
		tries++
		if err := e.st.Finish(ctx, o); err != nil {
			return fmt.Errorf("storing the outcome of delivery %s: %w", o.Delivery.ID, err)
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted with its webhook
	}
	if errors.Is(err, store.ErrConflict) && tries > 1 {
		return nil // a try that seemed to fail had worked
	}
	return err
}

// release gives claimed deliveries of one webhook back, not attempted.
func (e *Emitter) release(r *run, ds ...store.Delivery) {
	// What is left after the tries are used up ends with the process, as all claims do, and was complained about.
	_ = e.persist(r, func(ctx context.Context) error {
		if err := e.st.Release(ctx, ds...); err != nil {
			return fmt.Errorf("giving back %d deliveries of webhook %s: %w", len(ds), ds[0].Webhook, err)
		}
		return nil
	})
}

// gone marks w as gone, unless it has been given another URL since the attempt began, and has its
// deliveries ended.
func (e *Emitter) gone(r *run, w *store.Webhook) store.Status {
	status := e.update(r, w.ID, func(now *store.Webhook) error {
		if now.URL != w.URL || now.Off() {
			return errUnchanged
		}
		now.Status = store.Gone
		return nil
	})
	e.note(w.ID, time.Time{})
	return status
}

// syncStatus brings the webhook's status in line with how its attempts fare, and returns the new status if
// that changed it. One goroutine at a time does so for a lane, and again if others came meanwhile: else a
// slow update to failing could overtake the success that ended it.
func (e *Emitter) syncStatus(r *run, l *lane) (changed store.Status) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.syncing {
		l.resync = true
		return ""
	}
	l.syncing = true
	for again := true; again; again = l.resync {
		l.resync = false
		e.mu.Unlock()
		if status := e.alignStatus(r, l); status != "" {
			changed = status
		}
		e.mu.Lock()
	}
	l.syncing = false
	return changed
}

func (e *Emitter) alignStatus(r *run, l *lane) store.Status {
	w := e.st.Directory().Get(l.webhook)
	if w == nil || e.fitting(l, w.Status) == w.Status {
		return "" // the usual case costs no call on the store
	}
	return e.update(r, l.webhook, func(now *store.Webhook) error {
		status := e.fitting(l, now.Status)
		if status == now.Status {
			return errUnchanged
		}
		now.Status = status
		return nil
	})
}

// fitting is the status that a webhook with the given one should have after the latest attempts.
func (e *Emitter) fitting(l *lane, status store.Status) store.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case status == store.Active && l.failures >= failingAfter:
		return store.Failing
	case status == store.Failing && l.failures == 0 && !l.suspect:
		return store.Active
	default:
		return status
	}
}

// update changes a webhook and returns its new status, or "" if nothing was changed.
func (e *Emitter) update(r *run, webhook string, change func(*store.Webhook) error) store.Status {
	var updated store.Webhook
	err := e.persist(r, func(ctx context.Context) error {
		var err error
		updated, err = e.st.UpdateWebhook(ctx, webhook, change)
		if err != nil {
			return fmt.Errorf("storing the status of webhook %s: %w", webhook, err)
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return updated.Status
}
