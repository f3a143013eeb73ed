package emitter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/bentihooks/bentihooks/store"
)

// instance adds an instance webhook.
func (r *rig) instance(id string, status store.Status) {
	r.st.dir.Put(store.Webhook{
		ID: id, Project: "p", Events: []string{"answer"}, URL: "https://" + id + ".example/hook", Secret: testSecret, Status: status,
	})
}

// events enqueues n deliveries that are due now, whose payloads are their ids and padding up to size bytes.
func (r *rig) events(webhook string, n, size int) {
	r.t.Helper()
	ds := make([]store.Delivery, n)
	for i := range ds {
		ds[i] = instanceEvent(webhook, fmt.Sprintf("%05d", i))
		ds[i].Payload = append(ds[i].Payload, bytes.Repeat([]byte{' '}, max(size-len(ds[i].Payload), 0))...)
	}
	r.enqueueAll(ds...)
}

func (r *rig) enqueueAll(ds ...store.Delivery) {
	r.t.Helper()
	if err := r.st.Enqueue(r.t.Context(), ds...); err != nil {
		r.t.Fatal(err)
	}
}

func instanceEvent(webhook, id string) store.Delivery {
	return store.Delivery{
		ID: id, Webhook: webhook, Project: "p", Item: "ticket", Action: "answer",
		Payload: []byte(`{"id":"` + id + `"}`), CreatedAt: time.Now(), Due: time.Now(),
	}
}

// post is a request as a receiver of instance events gets it.
type post struct {
	at      time.Time
	header  http.Header
	id      string
	also    string // webhook-id, which has to be the same
	attempt string
	size    int
	events  []string // their ids
}

// posts collects requests.
type posts struct {
	mu  sync.Mutex
	all []post
}

// record has the requests that then answers recorded.
func (p *posts) record(t *testing.T, then func(post) (*http.Response, error)) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		one := readPost(t, r)
		p.mu.Lock()
		p.all = append(p.all, one)
		p.mu.Unlock()
		return then(one)
	}
}

func readPost(t *testing.T, r *http.Request) post {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	var list struct {
		Events []struct {
			ID string `json:"id"`
		} `json:"events"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		t.Errorf("body %.100s: %v", body, err)
	}
	one := post{
		at: time.Now(), header: r.Header, id: r.Header.Get("X-Hook-Delivery"), attempt: r.Header.Get("X-Hook-Attempt"), size: len(body),
	}
	for key, values := range r.Header { // as it was set, or as it came over the wire
		if strings.EqualFold(key, "webhook-id") {
			one.also = values[0]
		}
	}
	for _, event := range list.Events {
		one.events = append(one.events, event.ID)
	}
	if len(one.events) == 0 || len(one.events) > 100 || len(body) > 1<<20 && len(one.events) > 1 {
		t.Errorf("%d events in %d bytes", len(one.events), len(body))
	}
	return one
}

func (p *posts) list() []post {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

// sizes are the numbers of events in the requests so far.
func (p *posts) sizes() (ns []int) {
	for _, one := range p.list() {
		ns = append(ns, len(one.events))
	}
	return ns
}

func status(code int) func(post) (*http.Response, error) {
	return func(post) (*http.Response, error) { return answer(code), nil }
}

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestWhatIsDueTogetherSharesPosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps posts
		r := newRig(t, Config{}, ps.record(t, status(200)))
		r.instance("w", store.Active)
		r.events("w", 250, 500)
		r.Start()
		synctest.Wait()
		r.stop()
		sizes := ps.sizes()
		slices.Sort(sizes) // the second and the third are made at the same time
		if !slices.Equal(sizes, []int{50, 100, 100}) {
			t.Fatalf("posts of %v events, want 100, 100 and 50", sizes)
		}
		var arrived []string
		ids := make(map[string]int)
		for _, p := range ps.list() {
			arrived = append(arrived, p.events...)
			ids[p.id] = len(p.events)
			if !uuid7.MatchString(p.id) || p.also != p.id || p.attempt != "1" {
				t.Errorf("post %q of webhook-id %q, attempt %s", p.id, p.also, p.attempt)
			}
		}
		slices.Sort(arrived)
		if len(slices.Compact(arrived)) != 250 || len(ids) != 3 || r.st.count("w", store.Delivered) != 250 {
			t.Errorf("%d events arrived in %d posts, %d delivered", len(arrived), len(ids), r.st.count("w", store.Delivered))
		}
		first := 0
		for _, rep := range r.reps.list() {
			if rep.State != store.Delivered || rep.Err != nil || rep.Size != ids[rep.Batch] || rep.Attempt.N != 1 {
				t.Errorf("report %+v", rep)
			}
			if rep.Place == 0 {
				first++
			}
		}
		if n := len(r.reps.list()); n != 250 || first != 3 {
			t.Errorf("%d reports, %d of them the first of an attempt", n, first)
		}
	})
}

func TestASingleEventIsAListUnderItsOwnID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps posts
		r := newRig(t, Config{}, ps.record(t, status(200)))
		r.instance("w", store.Active)
		r.Start()
		r.events("w", 1, 0)
		synctest.Wait()
		r.stop()
		all, reps := ps.list(), r.reps.list()
		if len(all) != 1 || all[0].id != "00000" || all[0].size != len(`{"events":[{"id":"00000"}]}`) {
			t.Errorf("posts %+v", all)
		}
		if len(reps) != 1 || reps[0].Batch != "00000" || reps[0].Size != 1 || reps[0].Place != 0 {
			t.Errorf("reports %+v", reps)
		}
	})
}

func TestAFailedPostRetriesEachByItsOwnCount(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"by the schedule": 0, "put off": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var ps posts
				r := newRig(t, Config{}, ps.record(t, func(post) (*http.Response, error) {
					resp := answer(503)
					resp.Header.Set("Retry-After", strconv.Itoa(int(after.Seconds())))
					return resp, nil
				}))
				r.instance("w", store.Active)
				young, old, replayed := instanceEvent("w", "young"), instanceEvent("w", "old"), instanceEvent("w", "replayed")
				young.Attempts = make([]store.Attempt, 1)
				old.Attempts = make([]store.Attempt, 5)
				replayed.Attempts, replayed.Spent = make([]store.Attempt, 13), 13
				r.enqueueAll(young, old, replayed)
				r.Start()
				synctest.Wait()
				if all := ps.list(); len(all) != 1 || len(all[0].events) != 3 || all[0].attempt != "14" {
					t.Fatalf("posts %+v", all)
				}
				for id, want := range map[string]struct {
					n    int
					wait time.Duration
				}{"young": {2, 30 * time.Second}, "old": {6, time.Hour}, "replayed": {14, 5 * time.Second}} {
					d := r.st.get("w", id)
					last := d.Attempts[len(d.Attempts)-1]
					wait, low, high := time.Until(d.Due), max(want.wait*8/10, after), max(want.wait*12/10, after)
					if d.State != store.Pending || len(d.Attempts) != want.n || last.N != want.n || last.Status != 503 || wait < low || wait > high {
						t.Errorf("%s is %s after %d attempts, the last numbered %d, due in %v", id, d.State, len(d.Attempts), last.N, wait)
					}
				}
				r.fake(ps.record(t, status(200)))
				time.Sleep(2 * time.Hour)
				r.stop()
				if n := r.st.count("w", store.Delivered); n != 3 {
					t.Errorf("%d of 3 delivered", n)
				}
			})
		})
	}
}

// TestAProbeCarriesOneAndWhatFailedTogetherComesBackTogether: after a failure a receiver gets one event, and then twice
// as many with each success; and a failed post of 100 does not fall apart into 100 retries.
func TestAProbeCarriesOneAndWhatFailedTogetherComesBackTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps posts
		r := newRig(t, Config{MaxPerWebhook: 1}, ps.record(t, status(503)))
		r.instance("w", store.Active)
		r.events("w", 100, 0)
		r.Start()
		synctest.Wait()
		r.fake(ps.record(t, status(200)))
		time.Sleep(time.Minute)
		r.stop()
		if got := ps.sizes(); !slices.Equal(got, []int{100, 1, 2, 4, 8, 16, 32, 37}) {
			t.Errorf("posts of %v events", got)
		}
	})
}

func TestAFailingWebhookBeginsWithAProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps posts
		r := newRig(t, Config{}, ps.record(t, func(post) (*http.Response, error) {
			time.Sleep(time.Second)
			return answer(500), nil
		}))
		r.instance("w", store.Failing)
		r.events("w", 50, 0)
		r.Start()
		time.Sleep(3500 * time.Millisecond)
		r.stop()
		if got := ps.sizes(); !slices.Equal(got, []int{1, 1, 1, 1}) {
			t.Errorf("posts of %v events", got)
		}
	})
}

func TestGoneEndsAllOfAPost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps posts
		r := newRig(t, Config{}, ps.record(t, status(410)))
		r.instance("w", store.Active)
		r.events("w", 150, 0)
		r.Start()
		synctest.Wait()
		r.stop()
		if n := r.st.count("w", store.Dead); n != 150 || len(ps.list()) != 1 {
			t.Errorf("%d of 150 dead after %d posts", n, len(ps.list()))
		}
		told := 0
		for _, rep := range r.reps.list() {
			if rep.StatusChange == store.Gone {
				told++
			}
		}
		if got := r.st.dir.Get("w").Status; got != store.Gone || told != 1 || r.st.called("UpdateWebhook") != 1 {
			t.Errorf("webhook is %s, told %d times, %d updates", got, told, r.st.called("UpdateWebhook"))
		}
	})
}

func TestACutOffPostGivesBackAllItsDeliveries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, hang)
		r.instance("w", store.Active)
		r.events("w", 60, 0)
		r.Start()
		time.Sleep(time.Second)
		cut(t, r)
		if n := r.st.count("w", store.Pending); n != 60 || len(r.reps.list()) != 0 || r.st.called("Release") != 1 {
			t.Errorf("%d of 60 given back in %d calls, %d reports", n, r.st.called("Release"), len(r.reps.list()))
		}
		if d := r.st.get("w", "00007"); len(d.Attempts) != 0 {
			t.Errorf("%d attempts counted", len(d.Attempts))
		}
	})
}

func TestADeliveryThatIsGoneDoesNotHarmTheOthersOfItsPost(t *testing.T) {
	t.Parallel()
	for name, want := range map[error]struct{ err error }{
		nil: {}, store.ErrNotFound: {}, store.ErrConflict: {store.ErrConflict},
	} {
		t.Run(fmt.Sprint(name), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var r *rig
				r = newRig(t, Config{}, func(*http.Request) (*http.Response, error) {
					r.st.set(func() { delete(r.st.deliveries["w"], "00003") }) // in the middle of the post
					return answer(200), nil
				})
				r.use(New(missingStore{r.st, name}, Config{Report: r.reps.add}))
				r.instance("w", store.Active)
				r.events("w", 10, 0)
				r.Start()
				time.Sleep(time.Minute)
				r.stop()
				if n := r.st.count("w", store.Delivered); n != 9 {
					t.Errorf("%d of the 9 others delivered", n)
				}
				for _, rep := range r.reps.list() {
					if wrong := rep.Delivery.ID == "00003"; wrong != errors.Is(rep.Err, want.err) && want.err != nil || !wrong && rep.Err != nil {
						t.Errorf("delivery %s: %v", rep.Delivery.ID, rep.Err)
					}
				}
				if n := r.st.called("Finish"); n > 10 {
					t.Errorf("%d calls of Finish", n)
				}
			})
		})
	}
}

// missingStore answers with err for deliveries that it does not have.
type missingStore struct {
	*fakeStore
	err error
}

func (m missingStore) Finish(ctx context.Context, o store.Outcome) error {
	m.mu.Lock()
	missing := m.deliveries[o.Delivery.Webhook][o.Delivery.ID] == nil
	m.mu.Unlock()
	if missing {
		return m.err
	}
	return m.fakeStore.Finish(ctx, o)
}

func TestAWebhookDeletedDuringAPostEndsQuietly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, Config{StoreError: func(err error) { t.Error(err) }}, func(*http.Request) (*http.Response, error) {
			r.st.dir.Delete("w")
			r.st.set(func() { delete(r.st.deliveries, "w") })
			return answer(500), nil
		})
		r.instance("w", store.Active)
		r.events("w", 30, 0)
		r.Start()
		time.Sleep(5 * time.Minute)
		r.stop()
		if n := len(r.reps.list()); n != 30 || len(r.schedule.lanes) != 0 {
			t.Errorf("%d reports, %d lanes kept", n, len(r.schedule.lanes))
		}
	})
}

func TestPostsAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		events, size int
		want         []int
	}{
		"a third of the bound":        {7, 1 << 20 / 3, []int{2, 2, 2, 1}}, // with what is around them three are too long
		"just so that three fit":      {7, (1<<20 - 15) / 3, []int{3, 3, 1}},
		"larger than the bound":       {3, 2 << 20, []int{1, 1, 1}},
		"a hundred that fit exactly":  {101, 10_484, []int{100, 1}},
		"a hundred that just do not":  {101, 10_485, []int{99, 2}},
		"longer than one sounding is": {12, 90_000, []int{11, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var ps posts
				r := newRig(t, Config{MaxPerWebhook: 1}, ps.record(t, status(200)))
				r.instance("w", store.Active)
				r.events("w", row.events, row.size)
				r.Start()
				synctest.Wait()
				r.stop()
				if got := ps.sizes(); !slices.Equal(got, row.want) || r.st.count("w", store.Delivered) != row.events {
					t.Errorf("posts of %v events, want %v", got, row.want)
				}
			})
		})
	}
}

// instanceStore takes its time to store an outcome and counts what it hands out.
type instanceStore struct {
	*fakeStore
	finishing time.Duration
	claimed   *atomic.Int32
}

func (s instanceStore) Claim(ctx context.Context, webhook string, now time.Time, n int) ([]store.Delivery, error) {
	ds, err := s.fakeStore.Claim(ctx, webhook, now, n)
	s.claimed.Add(int32(len(ds)))
	return ds, err
}

func (s instanceStore) Finish(ctx context.Context, o store.Outcome) error {
	time.Sleep(s.finishing)
	return s.fakeStore.Finish(ctx, o)
}

func TestLittleIsClaimedThatDoesNotFit(t *testing.T) {
	t.Parallel()
	for size, row := range map[int]struct {
		events int
		most   int32
	}{500: {340, 340}, 60_000: {340, 360}, 900_000: {30, 300}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var claimed atomic.Int32
				r := newRig(t, Config{}, ok)
				r.use(New(instanceStore{r.st, 0, &claimed}, Config{MaxPerWebhook: 1}))
				r.instance("w", store.Active)
				r.events("w", row.events, size)
				r.Start()
				synctest.Wait()
				r.stop()
				if n := r.st.count("w", store.Delivered); n != row.events || claimed.Load() > row.most {
					t.Errorf("%d claims for %d deliveries of %d", claimed.Load(), n, row.events)
				}
			})
		})
	}
}

// TestAPostDoesNotWaitForTheOutcomesOfTheLast, but as many outcomes wait for the store as there are slots, and no more. Those of
// a post wait together: a store that is slow to commit commits them together.
func TestAPostDoesNotWaitForTheOutcomesOfTheLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps posts
		r := newRig(t, Config{}, nil)
		r.use(New(instanceStore{r.st, time.Second, new(atomic.Int32)}, Config{MaxConcurrent: 1}))
		r.fake(ps.record(t, status(200)))
		r.instance("w", store.Active)
		r.events("w", 500, 0)
		r.Start()
		for _, want := range []struct{ stored, least, most int }{{0, 2, 2}, {200, 3, 4}} {
			time.Sleep(500 * time.Millisecond)
			if n, posts := r.st.count("w", store.Delivered), len(ps.list()); n != want.stored || posts < want.least || posts > want.most {
				t.Errorf("%d outcomes stored and %d posts, want %+v", n, posts, want)
			}
			time.Sleep(500 * time.Millisecond)
		}
		r.stop()
		if n := r.st.count("w", store.Delivered); n != 100*len(ps.list()) {
			t.Errorf("%d outcomes stored of %d posts after the stop", n, len(ps.list()))
		}
	})
}

// TestFitFillsAPostAndNoMore: as many of the first as fit, and not one that fits is left out.
func TestFitFillsAPostAndNoMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Retry: make([]time.Duration, 2)}
		most := load{rapid.IntRange(1, 100).Draw(t, "events"), rapid.IntRange(20, 300).Draw(t, "bytes")}
		ds := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) store.Delivery {
			return store.Delivery{
				Payload:  make([]byte, rapid.IntRange(2, 60).Draw(t, "size")),
				Ping:     rapid.IntRange(0, 19).Draw(t, "ping") == 0,
				Attempts: make([]store.Attempt, rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 1, 1, 2}).Draw(t, "attempts")),
			}
		}), 0, 120).Draw(t, "deliveries")
		legal := func(n int) bool {
			payloads := make([][]byte, n)
			for i := range n {
				payloads[i] = ds[i].Payload
				if n > 1 && (ds[i].Ping || len(ds[i].Attempts) == 2) {
					return false
				}
			}
			return n <= most.events && (n <= 1 || len(eventList(payloads...)) <= most.bytes)
		}
		n, room := c.fit(ds, most)
		if n > len(ds) || !legal(n) || n < len(ds) && legal(n+1) {
			t.Fatalf("%d of %d fit", n, len(ds))
		}
		if room < 0 || n+room > most.events || n < len(ds) && room != 0 || len(ds) > 0 && n == 0 {
			t.Fatalf("%d of %d fit, and %d more", n, len(ds), room)
		}
	})
}

func TestPingsGoAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps posts
		r := newRig(t, Config{MaxPerWebhook: 1}, ps.record(t, status(200)))
		r.instance("w", store.Active)
		for i := range 9 {
			d := instanceEvent("w", fmt.Sprint(i))
			d.Ping = i == 4
			r.enqueueAll(d)
		}
		r.Start()
		synctest.Wait()
		r.stop()
		if got := ps.sizes(); !slices.Equal(got, []int{4, 1, 4}) {
			t.Errorf("posts of %v events, want the ping alone", got)
		}
		for i, p := range ps.list() {
			if marked := p.header.Get("X-Hook-Ping") == "1"; marked != (i == 1) || marked && p.id != "4" {
				t.Errorf("post %s of %v, X-Hook-Ping %q", p.id, p.events, p.header.Get("X-Hook-Ping"))
			}
		}
	})
}

// TestAnEventThatIsRefusedDoesNotKillOthers has a receiver that takes no post with a certain event in it.
func TestAnEventThatIsRefusedDoesNotKillOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps posts
		r := newRig(t, Config{Retry: slices.Repeat([]time.Duration{time.Second}, 5)}, ps.record(t, func(p post) (*http.Response, error) {
			if slices.Contains(p.events, "00150") {
				return answer(400), nil
			}
			return answer(200), nil
		}))
		r.instance("w", store.Active)
		r.events("w", 300, 0)
		r.Start()
		time.Sleep(time.Hour)
		r.stop()
		if n, d := r.st.count("w", store.Delivered), r.st.get("w", "00150"); n != 299 || d.State != store.Dead || len(d.Attempts) != 6 {
			t.Errorf("%d of 299 delivered, the refused one is %s after %d attempts", n, d.State, len(d.Attempts))
		}
		if n := len(ps.list()); n > 60 {
			t.Errorf("%d posts for 300 events", n)
		}
	})
}

// TestAReceiverThatTakesLessThanAFullPost answers 413 to more than 100 kB, as a common server does by default.
func TestAReceiverThatTakesLessThanAFullPost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 100_000
		var ps posts
		r := newRig(t, Config{MaxPerWebhook: 1}, ps.record(t, func(p post) (*http.Response, error) {
			if p.size > limit {
				return answer(413), nil
			}
			return answer(200), nil
		}))
		r.instance("w", store.Active)
		big := instanceEvent("w", "big")
		big.Payload = append(big.Payload, bytes.Repeat([]byte{' '}, 2*limit)...)
		r.enqueueAll(big)
		r.events("w", 1000, 4000)
		r.Start()
		time.Sleep(time.Hour)
		if n := r.st.count("w", store.Delivered); n != 1000 {
			t.Errorf("%d of 1000 delivered", n)
		}
		refused := 0
		for _, p := range ps.list() {
			if p.size > limit && len(p.events) > 1 {
				refused++
			}
		}
		if n := len(ps.list()); refused > 3 || n > 100 {
			t.Errorf("%d posts for 1000 events, %d were too large", n, refused)
		}
		cut(t, r)
	})
}

func TestASingleEventThatIsTooLargeDoesNotShrinkThePostsOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ps posts
		r := newRig(t, Config{MaxPerWebhook: 1}, ps.record(t, func(p post) (*http.Response, error) {
			if p.events[0] == "refused" {
				return answer(413), nil
			}
			return answer(200), nil
		}))
		r.instance("w", store.Active)
		r.Start()
		r.enqueueAll(instanceEvent("w", "refused"))
		synctest.Wait()
		r.events("w", 50, 0)
		synctest.Wait()
		r.stop()
		if got := ps.sizes(); !slices.Equal(got, []int{1, 1, 2, 4, 8, 16, 19}) {
			t.Errorf("posts of %v events", got)
		}
	})
}

func TestSharedPostsTakeNoMoreSlotsThanOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		inFlight, peak, n := map[string]int{}, map[string]int{}, map[string]int{}
		r := newRig(t, Config{MaxConcurrent: 10, MaxPerWebhook: 4}, func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			inFlight[req.URL.Host]++
			n[req.URL.Host]++
			peak[req.URL.Host] = max(peak[req.URL.Host], inFlight[req.URL.Host])
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			inFlight[req.URL.Host]--
			mu.Unlock()
			return answer(200), nil
		})
		r.instance("big", store.Active)
		r.webhook("api", store.Active)
		r.events("big", 4000, 0)
		r.Start()
		time.Sleep(4 * time.Second)
		r.enqueue("api", 7)
		time.Sleep(4100 * time.Millisecond) // one, two and so on at a time
		if got := r.st.count("api", store.Delivered); got != 7 {
			t.Errorf("%d of 7 delivered to the other webhook", got)
		}
		time.Sleep(time.Minute)
		r.stop()
		if got := r.st.count("big", store.Delivered); got != 4000 || n["big.example"] != 40 || peak["big.example"] != 4 {
			t.Errorf("%d delivered in %d posts, up to %d in flight", got, n["big.example"], peak["big.example"])
		}
		if n["api.example"] != 7 {
			t.Errorf("%d posts for 7 api deliveries", n["api.example"])
		}
	})
}

// TestSharedPostsThroughTrouble lets receivers and store fail at random and checks that each event arrives or
// dies by its own count, and that no outcome is lost or made up.
func TestSharedPostsThroughTrouble(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { troubleAt(t, seed) })
		})
	}
}

func troubleAt(t *testing.T, seed uint64) {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 1))
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	var ps posts
	inFlight, attempts, accepted := map[string]bool{}, map[string]int{}, map[string]int{}
	r := newRig(t, Config{Retry: slices.Repeat([]time.Duration{time.Minute}, 6)}, ps.record(t, func(p post) (*http.Response, error) {
		mu.Lock()
		for _, id := range p.events {
			if inFlight[id] {
				t.Errorf("%s is in two posts at once", id)
			}
			inFlight[id] = true
			attempts[id]++
		}
		mu.Unlock()
		time.Sleep(time.Duration(draw(3000)) * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		code := []int{200, 200, 200, 503, 413}[rnd.IntN(5)]
		for _, id := range p.events {
			inFlight[id] = false
			if code == 200 {
				accepted[id]++
			}
		}
		return answer(code), nil
	}))
	trouble := func(call string) error {
		if slices.Contains([]string{"Claim", "Finish", "NextDue", "Release", "UpdateWebhook"}, call) && draw(10) == 0 {
			return errors.New("trouble")
		}
		return nil
	}
	r.st.fail = trouble
	r.st.after = func(call string) error { // a claim whose answer is lost stays claimed until the process ends
		if call == "Claim" {
			return nil
		}
		return trouble(call)
	}
	r.instance("w", store.Active)
	for i := range 10 {
		r.st.set(func() { r.st.fail = nil })
		var ds []store.Delivery
		for j := range 60 {
			ds = append(ds, instanceEvent("w", fmt.Sprintf("%d-%02d", i, j)))
		}
		r.enqueueAll(ds...)
		r.st.set(func() { r.st.fail = trouble })
		r.Start()
		time.Sleep(time.Duration(draw(20)) * time.Second)
		if i == 5 {
			r.st.set(func() { r.st.fail, r.st.after = nil, nil })
			r.stop()
			r.st.set(func() { r.st.fail = trouble })
		}
	}
	time.Sleep(3 * time.Hour)
	r.stop()
	delivered, dead := r.st.count("w", store.Delivered), r.st.count("w", store.Dead)
	if delivered+dead != 600 || dead > 60 {
		t.Errorf("%d delivered, %d dead of 600", delivered, dead)
	}
	for id, d := range r.st.deliveries["w"] {
		if (d.State == store.Delivered) != (accepted[id] == 1) || len(d.Attempts) != attempts[id] || d.Attempts[len(d.Attempts)-1].N != len(d.Attempts) {
			t.Errorf("%s is %s after %d attempts; %d posts, %d accepted", id, d.State, len(d.Attempts), attempts[id], accepted[id])
		}
	}
}

func TestPostAllOnTheWire(t *testing.T) {
	t.Parallel()
	got := make(chan post, 1)
	body := make(chan string, 1)
	url := serve(t, true, func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		body <- string(b)
		got <- readPost(t, r)
	})
	client := newTestClient(t, loopback(5*time.Second))
	w := hook(url)
	w.Events = []string{"answer"}
	for name, ds := range map[string][]store.Delivery{
		`{"events":[{"id":"a"}]}`:                       {instanceEvent("w", "a")},
		`{"events":[{"id":"a"},{"id":"b"},{"id":"ü"}]}`: {instanceEvent("w", "a"), instanceEvent("w", "b"), instanceEvent("w", "ü")},
	} {
		ds[0].TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		res := client.PostAll(t.Context(), w, ds)
		sent, p := <-body, <-got
		if res.Class != ClassDelivered || sent != name || res.ID != p.id || p.header.Get("Content-Type") != "application/json" {
			t.Errorf("%+v: sent %s under %s", res, sent, p.id)
		}
		want := signature(&store.Delivery{ID: p.id, Payload: []byte(sent)}, p.header.Get("webhook-timestamp"), testSecret)
		if p.header.Get("webhook-signature") != want || p.also != p.id || p.header.Get("X-Hook-Signature") != testSecret {
			t.Errorf("header %v", p.header)
		}
		if single := len(ds) == 1; single != (p.id == "a") || single != (p.header.Get("traceparent") != "") {
			t.Errorf("%d events under %s, traceparent %q", len(ds), p.id, p.header.Get("traceparent"))
		}
	}
	same := []store.Delivery{instanceEvent("w", "a"), instanceEvent("w", "b")}
	same[0].TraceContext, same[1].TraceContext = "00-x", "00-x"
	client.PostAll(t.Context(), w, same)
	<-body
	if p := <-got; p.header.Get("traceparent") != "00-x" {
		t.Errorf("traceparent %q, want the one of both", p.header.Get("traceparent"))
	}
}

func TestNewIDsAreUUIDv7(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(0x0198_c0de_1234)
	a, b := newID(at), newID(at)
	if a == b || !uuid7.MatchString(a) || !strings.HasPrefix(a, "0198c0de-1234-7") {
		t.Errorf("ids %s and %s", a, b)
	}
	if later := newID(at.Add(time.Millisecond)); later <= a {
		t.Errorf("%s is not after %s", later, a)
	}
}

func BenchmarkPostAll(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			url := serve(b, true, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			client := newTestClient(b, loopback(10*time.Second))
			w := hook(url)
			w.Events = []string{"answer"}
			ds := make([]store.Delivery, n)
			for i := range ds {
				ds[i] = store.Delivery{ID: strconv.Itoa(i), Payload: bytes.Repeat([]byte{'x'}, 600)}
			}
			b.ReportAllocs()
			for b.Loop() {
				if res := client.PostAll(b.Context(), w, ds); res.Class != ClassDelivered {
					b.Fatalf("result %+v", res)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/event")
		})
	}
}
