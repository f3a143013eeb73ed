package emitter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

func ok(*http.Request) (*http.Response, error) { return answer(200), nil }

func fails(*http.Request) (*http.Response, error) { return answer(500), nil }

func TestDeliversWhatWasPendingAndWhatComesIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, ok)
		r.webhook("before", store.Active)
		r.webhook("after", store.Active)
		r.enqueue("before", 3)
		r.Start()
		r.Start() // idempotent
		synctest.Wait()
		r.enqueue("after", 3)
		synctest.Wait()
		for _, w := range []string{"before", "after"} {
			if n := r.st.count(w, store.Delivered); n != 3 {
				t.Errorf("%d of 3 delivered to %s", n, w)
			}
		}
		r.stop()
		if len(r.schedule.lanes) != 0 {
			t.Errorf("%d lanes kept without work", len(r.schedule.lanes))
		}
		for _, rep := range r.reps.list() {
			if rep.State != store.Delivered || rep.Class != ClassDelivered || rep.Err != nil || !strings.HasSuffix(rep.URL, ".example") {
				t.Errorf("report %+v", rep)
			}
		}
	})
}

func TestRetriesOnScheduleThenDies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, fails)
		r.webhook("w", store.Active)
		r.Start()
		r.enqueue("w", 1)
		time.Sleep(7 * 24 * time.Hour)
		synctest.Wait()
		r.stop()
		d := r.st.get("w", "00000")
		if d.State != store.Dead || len(d.Attempts) != len(DefaultRetry())+1 {
			t.Fatalf("%s after %d attempts", d.State, len(d.Attempts))
		}
		for i, wait := range DefaultRetry() {
			got := d.Attempts[i+1].At.Sub(d.Attempts[i].At)
			if got < wait*8/10 || got > wait*12/10+time.Second {
				t.Errorf("attempt %d came %v after the one before, want %v +-20 %%", i+2, got, wait)
			}
			if d.Attempts[i].N != i+1 {
				t.Errorf("attempt %d has number %d", i+1, d.Attempts[i].N)
			}
		}
	})
}

func TestReplayStartsTheScheduleOverAndNumbersOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Retry: []time.Duration{time.Second}}, fails)
		r.webhook("w", store.Active)
		d := store.Delivery{ID: "x", Webhook: "w", Due: time.Now(), Attempts: []store.Attempt{{N: 1}, {N: 2}}, Spent: 2}
		if err := r.st.Enqueue(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		r.Start()
		time.Sleep(time.Minute)
		r.stop()
		got := r.st.get("w", "x")
		if got.State != store.Dead || len(got.Attempts) != 4 || got.Attempts[3].N != 4 {
			t.Errorf("%s after %d attempts, want dead after 4", got.State, len(got.Attempts))
		}
	})
}

func TestRetryAfterIsHonouredUpToAnHour(t *testing.T) {
	t.Parallel()
	for after, want := range map[string]time.Duration{"120": 2 * time.Minute, "86400": time.Hour, "-5": 4 * time.Second} {
		t.Run(after, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{}, func(*http.Request) (*http.Response, error) {
					resp := answer(503)
					resp.Header.Set("Retry-After", after)
					return resp, nil
				})
				r.webhook("w", store.Active)
				r.enqueue("w", 1)
				r.Start()
				synctest.Wait()
				d := r.st.get("w", "00000")
				if got := time.Until(d.Due); got < want || got > want+3*time.Second {
					t.Errorf("due in %v, want %v", got, want)
				}
				r.stop()
			})
		})
	}
}

func TestGoneEndsTheWebhookAndItsDeliveries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var posts, buried atomic.Int32
		config := Config{Buried: func(webhook string, deliveries int) {
			if webhook == "w" {
				buried.Add(int32(deliveries)) //nolint:gosec // a hundred
			}
		}}
		r := newRig(t, config, func(*http.Request) (*http.Response, error) {
			posts.Add(1)
			return answer(410), nil
		})
		r.webhook("w", store.Active)
		r.enqueue("w", 100)
		r.Start()
		synctest.Wait()
		if n := buried.Load(); n != 99 {
			t.Errorf("%d were told to have died without an attempt, want 99", n)
		}
		if got := r.st.dir.Get("w").Status; got != store.Gone {
			t.Errorf("webhook is %s", got)
		}
		if n := r.st.count("w", store.Dead); n != 100 || posts.Load() != 1 {
			t.Errorf("%d of 100 dead after %d posts, want one", n, posts.Load())
		}
		if reps := r.reps.list(); len(reps) != 1 || reps[0].StatusChange != store.Gone {
			t.Errorf("reports %+v", reps)
		}
		// Revived by a PUT, it gets new deliveries again.
		r.fake(ok)
		r.webhook("w", store.Active)
		r.Wake("w")
		if err := r.st.Enqueue(t.Context(), store.Delivery{ID: "new", Webhook: "w", Due: time.Now()}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if d := r.st.get("w", "new"); d.State != store.Delivered {
			t.Errorf("delivery after the revival is %s", d.State)
		}
		r.stop()
	})
}

func TestGoneOfAnOldURLDoesNotEndTheNewOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return answer(410), nil
		})
		r.webhook("w", store.Active)
		r.enqueue("w", 1)
		r.Start()
		synctest.Wait()
		r.st.dir.Put(store.Webhook{ID: "w", URL: "https://new.example/", Status: store.Active})
		time.Sleep(2 * time.Second)
		if got := r.st.dir.Get("w").Status; got != store.Active {
			t.Errorf("webhook is %s", got)
		}
		r.stop()
	})
}

func TestStartEndsDeliveriesOfGoneWebhooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, ok)
		r.webhook("gone", store.Gone)
		r.webhook("off", store.Disabled)
		r.enqueue("gone", 3)
		r.enqueue("off", 3)
		r.Start()
		time.Sleep(time.Minute)
		if n := r.st.count("gone", store.Dead); n != 3 {
			t.Errorf("%d of 3 deliveries of the gone webhook are dead", n)
		}
		if n := r.st.count("off", store.Pending); n != 3 {
			t.Errorf("%d of 3 deliveries of the disabled webhook are pending", n)
		}
		if n := r.st.called("Claim"); n != 0 {
			t.Errorf("%d claims for webhooks that get nothing", n)
		}
		r.webhook("off", store.Active)
		r.Wake("off")
		synctest.Wait()
		if n := r.st.count("off", store.Delivered); n != 3 {
			t.Errorf("%d of 3 delivered after it was enabled", n)
		}
		r.stop()
	})
}

func TestPingIsAttemptedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, func(*http.Request) (*http.Response, error) { return answer(410), nil })
		r.webhook("w", store.Active)
		r.Start()
		for i := range 5 {
			d := store.Delivery{ID: fmt.Sprint(i), Webhook: "w", Due: time.Now(), Ping: true}
			if err := r.st.Enqueue(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		if n := r.st.count("w", store.Dead); n != 5 {
			t.Errorf("%d of 5 pings dead", n)
		}
		if n := len(r.reps.list()); n != 5 {
			t.Errorf("%d attempts of 5 pings", n)
		}
		if got := r.st.dir.Get("w").Status; got != store.Active {
			t.Errorf("failed pings made the webhook %s", got)
		}
		r.stop()
	})
}

func TestStatusFollowsTheAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Retry: []time.Duration{time.Second, time.Second, time.Second, time.Minute}}, fails)
		r.webhook("w", store.Active)
		r.enqueue("w", 1)
		r.Start()
		time.Sleep(1500 * time.Millisecond) // two attempts
		if got := r.st.dir.Get("w").Status; got != store.Active {
			t.Errorf("%s after two failures", got)
		}
		time.Sleep(4 * time.Second)
		if got := r.st.dir.Get("w").Status; got != store.Failing {
			t.Errorf("%s after four failures", got)
		}
		r.fake(ok)
		time.Sleep(2 * time.Minute)
		if got := r.st.dir.Get("w").Status; got != store.Active {
			t.Errorf("%s after a success", got)
		}
		if n := r.st.called("UpdateWebhook"); n != 2 {
			t.Errorf("%d updates for two transitions", n)
		}
		var changes []store.Status
		for _, rep := range r.reps.list() {
			if rep.StatusChange != "" {
				changes = append(changes, rep.StatusChange)
			}
		}
		if len(changes) != 2 || changes[0] != store.Failing || changes[1] != store.Active {
			t.Errorf("changes reported: %v", changes)
		}
		r.stop()
	})
}

func TestAHangingReceiverDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{MaxConcurrent: 32}, func(req *http.Request) (*http.Response, error) {
			if req.URL.Host == "w0.example" {
				return hang(req)
			}
			time.Sleep(10 * time.Millisecond)
			return answer(200), nil
		})
		for i := range 20 {
			r.webhook(fmt.Sprint("w", i), store.Active)
			r.enqueue(fmt.Sprint("w", i), 100)
		}
		r.Start()
		time.Sleep(2 * time.Second) // 1,900 x 10 ms over some 31 slots is 0.6 s
		for i := 1; i < 20; i++ {
			if n := r.st.count(fmt.Sprint("w", i), store.Delivered); n != 100 {
				t.Errorf("w%d: %d of 100 delivered", i, n)
			}
		}
		if n := r.st.count("w0", store.Delivering); n != 1 {
			t.Errorf("the hanging one holds %d slots, want its single probe", n)
		}
		cut(t, r)
	})
}

// cut stops a rig without waiting for attempts.
func cut(t *testing.T, r *rig) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop returned %v", err)
	}
}

func TestManyHangingReceiversDoNotStarveAHealthyOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dead atomic.Bool
		r := newRig(t, Config{}, func(req *http.Request) (*http.Response, error) {
			if dead.Load() && req.URL.Host != "healthy.example" {
				return hang(req)
			}
			time.Sleep(time.Millisecond)
			return answer(200), nil
		})
		// All of them prove to be quick at first, so that each may hold 8 slots when they all hang at once:
		// 40 x 8 is more than there is.
		for i := range 40 {
			r.webhook(fmt.Sprint("w", i), store.Active)
			r.enqueue(fmt.Sprint("w", i), 200)
		}
		r.webhook("healthy", store.Active)
		r.Start()
		time.Sleep(10 * time.Millisecond)
		dead.Store(true)
		time.Sleep(time.Second)
		for range 60 { // through the first timeouts and the probes after them
			began := time.Now()
			r.st.mu.Lock()
			delete(r.st.deliveries, "healthy")
			r.st.mu.Unlock()
			r.enqueue("healthy", 10)
			time.Sleep(500 * time.Millisecond)
			if n := r.st.count("healthy", store.Delivered); n != 10 {
				t.Errorf("%d of 10 delivered to the healthy receiver, %v after the others died", n, time.Since(began))
			}
		}
		cut(t, r)
	})
}

func TestABacklogDoesNotDelayAnotherWebhook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{MaxConcurrent: 4}, func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return answer(200), nil
		})
		r.webhook("big", store.Active)
		r.webhook("small", store.Active)
		r.enqueue("big", 10_000)
		r.Start()
		time.Sleep(10 * time.Second)
		r.enqueue("small", 1)
		time.Sleep(2100 * time.Millisecond)
		if n := r.st.count("small", store.Delivered); n != 1 {
			t.Error("the single delivery waits behind the backlog")
		}
		cut(t, r)
	})
}

func TestDrainsABacklogWithAllItsSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, peak atomic.Int32
		r := newRig(t, Config{}, func(*http.Request) (*http.Response, error) {
			peak.Store(max(peak.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(100 * time.Millisecond)
			return answer(200), nil
		})
		r.webhook("w", store.Active)
		r.enqueue("w", 800)
		r.Start()
		time.Sleep(11 * time.Second) // 800 x 100 ms over 8 slots is 10 s
		if n := r.st.count("w", store.Delivered); n != 800 || peak.Load() != 8 {
			t.Errorf("%d of 800 delivered with up to %d in flight, want 8", n, peak.Load())
		}
		r.stop()
	})
}

func TestStopWaitsForAttemptsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, func(*http.Request) (*http.Response, error) {
			time.Sleep(3 * time.Second)
			return answer(200), nil
		})
		r.webhook("w", store.Active)
		r.enqueue("w", 20)
		r.Start()
		time.Sleep(4 * time.Second) // one delivered, two in flight
		r.stop()
		if d, p := r.st.count("w", store.Delivered), r.st.count("w", store.Pending); d != 3 || p != 17 {
			t.Errorf("%d delivered, %d pending; want 3 and 17", d, p)
		}
		r.stop() // again: nothing
		r.Start()
		time.Sleep(time.Minute)
		r.stop()
		if n := r.st.count("w", store.Delivered); n != 20 {
			t.Errorf("%d of 20 delivered after another start", n)
		}
	})
}

func TestStopCutsOffAttemptsWithoutCountingThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, hang)
		r.webhook("w", store.Active)
		r.enqueue("w", 2)
		r.Start()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := r.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop returned %v", err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Stop took %v", took)
		}
		d := r.st.get("w", "00000")
		if d.State != store.Pending || len(d.Attempts) != 0 || len(r.reps.list()) != 0 {
			t.Errorf("delivery is %s with %d attempts", d.State, len(d.Attempts))
		}
	})
}

func TestAnOutcomeIsStoredAgainUntilItHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var posts, complaints atomic.Int32
		r := newRig(t, Config{StoreError: func(error) { complaints.Add(1) }}, func(*http.Request) (*http.Response, error) {
			posts.Add(1)
			return answer(200), nil
		})
		r.webhook("w", store.Active)
		r.st.fail = func(call string) error {
			if call == "Finish" {
				return errors.New("disk full")
			}
			return nil
		}
		r.enqueue("w", 1)
		r.Start()
		time.Sleep(time.Hour)
		calls := r.st.called("Finish")
		if calls < 10 || calls > 800 || int(complaints.Load()) != calls {
			t.Errorf("%d calls of Finish in an hour, %d complaints", calls, complaints.Load())
		}
		r.st.set(func() { r.st.fail = nil })
		time.Sleep(10 * time.Second)
		if n := r.st.count("w", store.Delivered); n != 1 || posts.Load() != 1 {
			t.Errorf("%d delivered after %d posts", n, posts.Load())
		}
		r.stop()
	})
}

func TestAnOutcomeOfUnknownFateIsNotAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, ok)
		r.webhook("w", store.Active)
		r.st.after = func(call string) error {
			if call == "Finish" {
				r.st.after = nil
				return errors.New("connection lost")
			}
			return nil
		}
		r.enqueue("w", 1)
		r.Start()
		time.Sleep(10 * time.Second)
		r.stop()
		if reps := r.reps.list(); len(reps) != 1 || reps[0].Err != nil || reps[0].State != store.Delivered {
			t.Errorf("reports %+v", reps)
		}
	})
}

func TestStopGivesUpOnAStoreThatTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, ok)
		r.webhook("w", store.Active)
		r.st.fail = func(call string) error {
			if call == "Finish" {
				return errors.New("disk full")
			}
			return nil
		}
		r.enqueue("w", 1)
		r.Start()
		time.Sleep(time.Minute)
		r.stop()
		if reps := r.reps.list(); len(reps) != 1 || reps[0].Err == nil {
			t.Errorf("reports %+v", reps)
		}
	})
}

func TestAStoreInTroubleIsNeitherSpunOnNorGivenUp(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"Claim", "NextDue"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var complaints atomic.Int32
				r := newRig(t, Config{StoreError: func(error) { complaints.Add(1) }}, ok)
				r.webhook("w", store.Active)
				r.st.fail = func(c string) error {
					if c == call {
						return errors.New("io error")
					}
					return nil
				}
				r.Start()
				r.enqueue("w", 2)
				time.Sleep(time.Minute)
				if n := r.st.called(call); n < 5 || n > 30 || int(complaints.Load()) != n {
					t.Errorf("%d calls in a minute, %d complaints", n, complaints.Load())
				}
				r.st.set(func() { r.st.fail = nil })
				time.Sleep(10 * time.Second)
				if n := r.st.count("w", store.Delivered); n != 2 {
					t.Errorf("%d of 2 delivered after the trouble", n)
				}
				r.stop()
			})
		})
	}
}

// lyingStore says that something is due and hands out nothing.
type lyingStore struct{ *fakeStore }

func (l lyingStore) Claim(context.Context, string, time.Time, int) ([]store.Delivery, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls["Claim"]++
	return nil, nil
}

func TestAStoreThatContradictsItselfIsNotSpunOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, ok)
		r.use(New(lyingStore{r.st}, Config{}))
		r.webhook("w", store.Active)
		r.enqueue("w", 1)
		r.Start()
		time.Sleep(time.Minute)
		if n := r.st.called("Claim"); n > 30 {
			t.Errorf("%d claims in a minute", n)
		}
		r.stop()
	})
}

// slowStore takes its time for some calls, outside of its lock.
type slowStore struct{ *fakeStore }

func (s slowStore) Claim(ctx context.Context, webhook string, now time.Time, n int) ([]store.Delivery, error) {
	batch, err := s.fakeStore.Claim(ctx, webhook, now, n)
	time.Sleep(time.Second)
	return batch, err
}

func (s slowStore) UpdateWebhook(_ context.Context, id string, change func(*store.Webhook) error) (store.Webhook, error) {
	w := *s.dir.Get(id)
	if err := change(&w); err != nil {
		return store.Webhook{}, err
	}
	time.Sleep(time.Minute)
	s.dir.Put(w)
	return w, nil
}

func TestNothingBeginsOnceStopIsCalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var posts atomic.Int32
		r := newRig(t, Config{}, func(*http.Request) (*http.Response, error) {
			posts.Add(1)
			return answer(200), nil
		})
		r.use(New(slowStore{r.st}, Config{}))
		r.webhook("w", store.Active)
		r.enqueue("w", 1)
		r.Start()
		synctest.Wait() // within the claim
		r.stop()
		if n := r.st.count("w", store.Pending); n != 1 || posts.Load() != 0 {
			t.Errorf("%d pending after %d posts", n, posts.Load())
		}
	})
}

func TestASlowUpdateToFailingDoesNotOutliveASuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, func(req *http.Request) (*http.Response, error) {
			switch id := req.Header.Get("X-Hook-Delivery"); {
			case id < "00020":
				return answer(200), nil // so that it may have eight in flight
			case id < "00023":
				time.Sleep(5 * time.Second)
				return answer(500), nil
			default:
				time.Sleep(20 * time.Second) // the update has begun by then and is not done
				return answer(200), nil
			}
		})
		r.use(New(slowStore{r.st}, Config{Timeout: time.Minute, Retry: []time.Duration{}}))
		r.webhook("w", store.Active)
		r.enqueue("w", 24)
		r.Start()
		time.Sleep(90 * time.Second)
		if got := r.st.dir.Get("w").Status; got != store.Failing {
			t.Errorf("webhook is %s after three failures", got)
		}
		time.Sleep(time.Hour)
		if got := r.st.dir.Get("w").Status; got != store.Active {
			t.Errorf("webhook is %s though its latest attempt succeeded", got)
		}
		r.stop()
	})
}

func TestDeliveriesOfADeletedWebhookAreGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, ok)
		r.webhook("w", store.Active)
		r.st.after = func(call string) error {
			if call == "Claim" {
				r.st.dir.Delete("w") // between the claim and the attempt
			}
			return nil
		}
		r.enqueue("w", 1)
		r.Start()
		time.Sleep(time.Hour)
		r.stop()
		if n := r.st.count("w", store.Pending); n != 1 || len(r.reps.list()) != 0 {
			t.Errorf("%d given back, %d attempts", n, len(r.reps.list()))
		}
		if n := r.st.called("Claim"); n != 1 {
			t.Errorf("%d claims", n)
		}
	})
}

func TestConfigureTakesEffectOnTheNextAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		agents := make(chan string, 10)
		receiver := func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			agents <- req.Header.Get("User-Agent")
			return answer(200), nil
		}
		r := newRig(t, Config{UserAgent: "old"}, receiver)
		r.webhook("w", store.Active)
		r.enqueue("w", 2)
		r.Start()
		synctest.Wait()
		old := r.Client()
		r.Configure(Config{UserAgent: "new"})
		if r.Client() == old {
			t.Fatal("the client is still the old one")
		}
		time.Sleep(5 * time.Second)
		r.stop()
		if first, second := <-agents, <-agents; first != "old" || second != "new" {
			t.Errorf("attempts came from %q and %q", first, second)
		}
	})
}

func TestDueTimesFollowTheWallClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, ok)
		r.webhook("w", store.Active)
		r.Start()
		defer r.stop()
		if err := r.st.Enqueue(t.Context(), store.Delivery{ID: "x", Webhook: "w", Due: time.Now().Add(5 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		// What a clock that is set forward by five hours looks like from here: it was due all along.
		r.mu.Lock()
		r.schedule.lanes["w"].next = time.Now().Add(-time.Second)
		r.mu.Unlock()
		r.st.set(func() { r.st.deliveries["w"]["x"].Due = time.Now().Add(-time.Second) })
		time.Sleep(61 * time.Second)
		if d := r.st.get("w", "x"); d.State != store.Delivered {
			t.Error("the scheduler sleeps on after the clock was set")
		}
	})
}

func TestStartStopAndConfigureAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, ok)
		r.webhook("w", store.Active)
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(r.Start)
			callers.Go(func() { r.Configure(Config{MaxPerWebhook: 2}) })
			callers.Go(func() { r.Wake("w") })
			callers.Go(func() {
				if err := r.Stop(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		r.stop()
	})
}
