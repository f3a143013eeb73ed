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
	case begun == 0 && has && !next.After(time.Now()):
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
	batch, err := e.st.Claim(r.ctx, l.webhook, time.Now(), n)
	for _, d := range batch {
		r.work.Go(func() { e.attempt(r, l, d) })
	}
	e.give(l, n-len(batch))
	if err != nil {
		return len(batch), time.Time{}, true, fmt.Errorf("claiming deliveries of webhook %s: %w", l.webhook, err)
	}
	if len(batch) == n {
		return n, time.Time{}, true, nil // there may be more
	}
	next, has, err = e.nextDue(r, l.webhook)
	return len(batch), next, has, err
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
	if _, err := e.st.Kill(r.ctx, webhook); err != nil {
		return fmt.Errorf("ending the deliveries of webhook %s: %w", webhook, err)
	}
	return nil
}
