package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDeliveriesAreListedInPages(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	w := p.register("ticket", rc.url("/"))
	if got := p.must(200, "GET", w.path()+"/deliveries", ""); strings.TrimSpace(got.body) != `{"data":[],"next":null}` {
		t.Errorf("at first the list is %s", got.body)
	}
	rc.answer(func(w http.ResponseWriter, _ *post) { fmt.Fprint(w, strings.Repeat("ä", 1024)) })
	const all = 7
	var sent []string // newest first
	for range all {
		p.ticket()
		got := rc.next()
		sent = slices.Insert(sent, 0, got.id()+" "+got.body)
	}
	p.settled(w, "delivered")
	for _, c := range []struct {
		limit int
		pages []int
	}{{3, []int{3, 3, 1}}, {7, []int{7}}, {1, []int{1, 1, 1, 1, 1, 1, 1}}, {500, []int{7}}} {
		var listed []string
		var pages []int
		query := fmt.Sprintf("?limit=%d", c.limit)
		for cursor := ""; ; {
			list, next := p.page(w, query+cursor)
			pages = append(pages, len(list))
			for _, d := range list {
				listed = append(listed, d.ID+" "+string(d.Event))
			}
			if next == "" || len(pages) > all {
				break
			}
			cursor = "&cursor=" + next
		}
		if !slices.Equal(pages, c.pages) || !slices.Equal(listed, sent) {
			t.Errorf("limit %d: pages of %v:\n%s\nwant %v:\n%s", c.limit, pages, strings.Join(listed, "\n"), c.pages, strings.Join(sent, "\n"))
		}
	}
	eventually(t, "all delivered", func() bool {
		list, _ := p.page(w, "")
		return !slices.ContainsFunc(list, func(d delivery) bool { return d.State != "delivered" })
	})
	list, _ := p.page(w, "")
	for _, d := range list {
		if d.State != "delivered" || d.NextAttemptAt != nil || time.Since(d.CreatedAt).Abs() > time.Minute || len(d.Attempts) != 1 {
			t.Fatalf("listed: %+v", d)
		}
		a := d.Attempts[0]
		if a.N != 1 || *a.Status != 200 || a.Error != nil || *a.Response != strings.Repeat("ä", 512) || *a.DurationMS < 0 || a.At.Before(d.CreatedAt) {
			t.Errorf("listed: %+v, response of %d bytes", a, len(*a.Response))
		}
	}
}

func TestDeliveredOnesCanBeRedelivered(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	w, other := p.register("ticket", rc.url("/")), p.register("ticket", rc.url("/other"))
	p.ticket()
	first, second := rc.next(), rc.next()
	if first.path != "/" {
		first, second = second, first
	}
	p.settled(w, "delivered")
	path := "/deliveries/" + first.id() + "/redeliver"
	p.call("POST", other.path()+path, "").checkError(t, http.StatusNotFound, "")
	for n := 2; n <= 3; n++ {
		p.must(http.StatusAccepted, "POST", w.path()+path, "")
		again := rc.next()
		again.check(t, w.secret)
		if again.id() != first.id() || again.attempt() != n || again.body != first.body || again.path != "/" {
			t.Errorf("got attempt %d of %s at %s: %s", again.attempt(), again.id(), again.path, again.body)
		}
		p.settled(w, "delivered")
	}
	if first.id() == second.id() || first.body != second.body {
		t.Errorf("one event at two webhooks: %s %s and %s %s", first.id(), first.body, second.id(), second.body)
	}
	rc.none()
}

func TestPingIsSentOnce(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 50ms 50ms"})
	w := p.register("ticket", rc.url("/"))
	rc.answer(statuses(500))
	from := time.Now()
	p.must(http.StatusAccepted, "POST", w.path()+"/ping", "")
	got := rc.next()
	got.check(t, w.secret)
	if got.header.Get("X-Hook-Ping") != "1" {
		t.Errorf("X-Hook-Ping is %q", got.header.Get("X-Hook-Ping"))
	}
	checkPayload(t, got.body, `{"id":null,"item":"ping","action":"ping","timestamp":TIME,"actor":null,"parent":null}`, from, time.Now())
	if d := p.settled(w, "dead"); len(d.Attempts) != 1 || d.ID != got.id() {
		t.Errorf("listed: %+v", d)
	}
	rc.answer(nil)
	p.ticket()
	if got := rc.next(); got.header.Get("X-Hook-Ping") != "" || strings.Contains(got.body, "ping") {
		t.Errorf("a ping was retried, or an event marked as one: %s", got.body)
	}
}
