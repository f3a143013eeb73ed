package emitter

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bentihooks/bentihooks/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore keeps the contract of [store.Store] in memory, as far as the emitter uses it. Calls of the
// embedded nil interface panic: they would be news.
type fakeStore struct {
	store.Store
	dir store.Directory

	mu         sync.Mutex
	deliveries map[string]map[string]*store.Delivery // by webhook and id
	onDue      func(string, time.Time)
	calls      map[string]int
	// fail is asked before every call; its error is returned without an effect. after is asked when the call
	// took effect: its error makes the outcome unknown to the caller.
	fail, after func(call string) error
}

func newFakeStore() *fakeStore {
	return &fakeStore{deliveries: make(map[string]map[string]*store.Delivery), calls: make(map[string]int)}
}

func (f *fakeStore) Directory() *store.Directory { return &f.dir }

func (f *fakeStore) OnDue(fn func(string, time.Time)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onDue = fn
}

// enter begins a call. Its notes are passed on after leave, outside of the lock.
func (f *fakeStore) enter(ctx context.Context, call string) error {
	f.mu.Lock()
	f.calls[call]++
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.fail != nil {
		return f.fail(call)
	}
	return nil
}

func (f *fakeStore) leave(call string, notes ...store.Delivery) error {
	fn := f.onDue
	var err error
	if f.after != nil {
		err = f.after(call)
	}
	f.mu.Unlock()
	if fn != nil {
		for _, d := range notes {
			fn(d.Webhook, d.Due)
		}
	}
	return err
}

func (f *fakeStore) Enqueue(ctx context.Context, ds ...store.Delivery) error {
	if err := f.enter(ctx, "Enqueue"); err != nil {
		return errors.Join(err, f.leave("Enqueue"))
	}
	for _, d := range ds {
		d.State = store.Pending
		if f.deliveries[d.Webhook] == nil {
			f.deliveries[d.Webhook] = make(map[string]*store.Delivery)
		}
		f.deliveries[d.Webhook][d.ID] = &d
	}
	return f.leave("Enqueue", ds...)
}

func (f *fakeStore) Claim(ctx context.Context, webhook string, now time.Time, n int) ([]store.Delivery, error) {
	if err := f.enter(ctx, "Claim"); err != nil {
		return nil, errors.Join(err, f.leave("Claim"))
	}
	var due []*store.Delivery
	for _, d := range f.deliveries[webhook] {
		if d.State == store.Pending && !d.Due.After(now) {
			due = append(due, d)
		}
	}
	slices.SortFunc(due, func(a, b *store.Delivery) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
	})
	var claimed []store.Delivery
	for _, d := range due[:min(n, len(due))] {
		d.State = store.Delivering
		claimed = append(claimed, *d)
	}
	return claimed, f.leave("Claim")
}

func (f *fakeStore) NextDue(ctx context.Context, webhook string) (next time.Time, has bool, err error) {
	if err := f.enter(ctx, "NextDue"); err != nil {
		return next, false, errors.Join(err, f.leave("NextDue"))
	}
	for _, d := range f.deliveries[webhook] {
		if d.State == store.Pending && (!has || d.Due.Before(next)) {
			next, has = d.Due, true
		}
	}
	return next, has, f.leave("NextDue")
}

func (f *fakeStore) Finish(ctx context.Context, o store.Outcome) error {
	if err := f.enter(ctx, "Finish"); err != nil {
		return errors.Join(err, f.leave("Finish"))
	}
	d := f.deliveries[o.Delivery.Webhook][o.Delivery.ID]
	if d == nil {
		return f.leave("Finish")
	}
	if d.State != store.Delivering {
		return errors.Join(store.ErrConflict, f.leave("Finish"))
	}
	d.Attempts = append(slices.Clip(d.Attempts), o.Attempt)
	d.State, d.Due = o.State, o.Due
	if d.State == store.Pending {
		return f.leave("Finish", *d)
	}
	return f.leave("Finish")
}

func (f *fakeStore) Release(ctx context.Context, ds ...store.Delivery) error {
	if err := f.enter(ctx, "Release"); err != nil {
		return errors.Join(err, f.leave("Release"))
	}
	var notes []store.Delivery
	for _, d := range ds {
		if kept := f.deliveries[d.Webhook][d.ID]; kept != nil {
			kept.State = store.Pending
			notes = append(notes, *kept)
		}
	}
	return f.leave("Release", notes...)
}

func (f *fakeStore) Kill(ctx context.Context, webhook string) (int, error) {
	if err := f.enter(ctx, "Kill"); err != nil {
		return 0, errors.Join(err, f.leave("Kill"))
	}
	n := 0
	for _, d := range f.deliveries[webhook] {
		if d.State == store.Pending {
			d.State = store.Dead
			n++
		}
	}
	return n, f.leave("Kill")
}

func (f *fakeStore) UpdateWebhook(ctx context.Context, id string, change func(*store.Webhook) error) (store.Webhook, error) {
	if err := f.enter(ctx, "UpdateWebhook"); err != nil {
		return store.Webhook{}, errors.Join(err, f.leave("UpdateWebhook"))
	}
	old := f.dir.Get(id)
	if old == nil {
		return store.Webhook{}, errors.Join(store.ErrNotFound, f.leave("UpdateWebhook"))
	}
	w := *old
	if err := change(&w); err != nil {
		return store.Webhook{}, errors.Join(err, f.leave("UpdateWebhook"))
	}
	f.dir.Put(w)
	return w, f.leave("UpdateWebhook")
}

// get returns a copy of a delivery.
func (f *fakeStore) get(webhook, id string) store.Delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *f.deliveries[webhook][id]
}

// count tells how many deliveries of a webhook are in a state.
func (f *fakeStore) count(webhook string, state store.State) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.deliveries[webhook] {
		if d.State == state {
			n++
		}
	}
	return n
}

func (f *fakeStore) called(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

// set changes the fields of the store that decide about failures.
func (f *fakeStore) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// roundTrip is a receiver without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(nil))}
}

// hang answers nothing until the request is cut off.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// reports collects what an emitter reports.
type reports struct {
	mu  sync.Mutex
	all []Report
}

func (r *reports) add(rep Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rep)
}

func (r *reports) list() []Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// rig is an emitter over a fake store and receivers without a network, for use in a synctest bubble.
type rig struct {
	*Emitter
	st   *fakeStore
	reps *reports
	t    *testing.T
	// receiver answers for all webhooks; it may be replaced at any time.
	receiver atomic.Pointer[roundTrip]
}

func newRig(t *testing.T, c Config, receiver roundTrip) *rig {
	t.Helper()
	r := &rig{st: newFakeStore(), reps: &reports{}, t: t}
	c.Report = r.reps.add
	r.fake(receiver)
	r.use(New(r.st, c))
	return r
}

// use puts an emitter that has not been started into the rig.
func (r *rig) use(e *Emitter) {
	r.Emitter = e
	network := roundTrip(func(req *http.Request) (*http.Response, error) { return (*r.receiver.Load())(req) })
	e.Client().rt = network
	e.newClient = func(c Config) *Client {
		client := NewClient(c)
		client.rt = network
		return client
	}
}

// fake replaces the receiver.
func (r *rig) fake(receiver roundTrip) { r.receiver.Store(&receiver) }

func (r *rig) webhook(id string, status store.Status) {
	r.st.dir.Put(store.Webhook{
		ID: id, Project: "p", Item: "ticket", URL: "https://" + id + ".example/hook", Secret: "secret-" + id, Status: status,
	})
}

// enqueue adds n deliveries that are due now, called 00000, 00001 and so on.
func (r *rig) enqueue(webhook string, n int) {
	r.t.Helper()
	ds := make([]store.Delivery, n)
	for i := range ds {
		ds[i] = store.Delivery{
			ID: fmt.Sprintf("%05d", i), Webhook: webhook, Project: "p", Item: "ticket", Action: "add",
			Payload: []byte(`{"id":1}`), CreatedAt: time.Now(), Due: time.Now(),
		}
	}
	if err := r.st.Enqueue(r.t.Context(), ds...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stop() {
	r.t.Helper()
	if err := r.Stop(context.Background()); err != nil {
		r.t.Error(err)
	}
}
