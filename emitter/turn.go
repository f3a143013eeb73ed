package emitter

import (
	"fmt"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// turn serves l with up to n deliveries, for which n slots are taken, and finds out when to look again. The
// store is asked here and not by the scheduler, which so never waits for it.
func (e *Emitter) turn(r *run, l *lane, n int) {
	begun, next, has, err := e.serve(r, l, n)
	switch {
	case err != nil:
		if r.ctx.Err() == nil { // else it is our own doing
			e.complain(err)
		}
		r.pause(stallPause(e.stall(l)))
		next, has = time.Time{}, true
	case begun == 0 && has && !next.After(e.clock.now()):
		// Something is due and yet was not handed out. Once in a while it became due between the two questions;
		// if it goes on, store and emitter disagree, and asking on would only keep both busy.
		if stalls := e.stall(l); stalls > 1 {
			r.pause(stallPause(stalls - 1))
		}
	default:
		e.mu.Lock()
		l.stalls = 0
		e.mu.Unlock()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.schedule.looked(l, next, has)
	e.rouse()
}

// stall counts a turn that came to nothing though there is work, and returns how many came in a row.
func (e *Emitter) stall(l *lane) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.stalls++
	return l.stalls
}

// stallPause is the wait after so many stalled turns in a row.
func stallPause(stalls int) time.Duration {
	return min(minPause<<min(stalls-1, 10), maxPause)
}

// serve begins up to n attempts, gives back the slots it does not need, and tells when the lane has to be
// looked at next.
func (e *Emitter) serve(r *run, l *lane, n int) (begun int, next time.Time, has bool, err error) {
	w := e.st.Directory().Get(l.webhook)
	if r.stopped() || w == nil || w.Status == store.Disabled {
		e.give(l, n)
		return 0, time.Time{}, false, nil
	}
	if w.Status == store.Gone {
		e.give(l, n)
		return 0, time.Time{}, false, e.bury(r, l.webhook)
	}
	var more bool
	if w.Instance() {
		begun, more, err = e.beginShared(r, l, n)
	} else {
		begun, more, err = e.beginSingle(r, l, n)
	}
	e.give(l, n-begun)
	if err != nil {
		return begun, time.Time{}, true, fmt.Errorf("claiming deliveries of webhook %s: %w", l.webhook, err)
	}
	if more {
		return begun, time.Time{}, true, nil
	}
	next, has, err = e.nextDue(r, l.webhook)
	return begun, next, has, err
}

// beginSingle begins up to n attempts of one delivery each and reports whether there may be more to do.
func (e *Emitter) beginSingle(r *run, l *lane, n int) (begun int, more bool, err error) {
	ds, err := e.st.Claim(r.ctx, l.webhook, e.clock.now(), n)
	for i := range ds {
		r.work.Go(func() { e.attempt(r, l, ds[i:i+1]) })
	}
	return len(ds), len(ds) == n, err
}

func (e *Emitter) nextDue(r *run, webhook string) (time.Time, bool, error) {
	next, has, err := e.st.NextDue(r.ctx, webhook)
	if err != nil {
		err = fmt.Errorf("looking for deliveries of webhook %s: %w", webhook, err)
	}
	return next, has, err
}

// bury makes what is pending of a gone webhook dead: after a 410, and after a start when a crash came between
// the webhook's going and the end of its deliveries.
func (e *Emitter) bury(r *run, webhook string) error {
	_, has, err := e.nextDue(r, webhook)
	if err != nil || !has {
		return err
	}
	if w := e.st.Directory().Get(webhook); w == nil || w.Status != store.Gone {
		return nil // revived or deleted just now; whoever did it wakes us
	}
	n, err := e.st.Kill(r.ctx, webhook)
	if f := e.settings.Load().Buried; f != nil && n > 0 {
		f(webhook, n)
	}
	if err != nil {
		return fmt.Errorf("ending the deliveries of webhook %s: %w", webhook, err)
	}
	return nil
}
