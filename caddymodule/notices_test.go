package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
)

func init() {
	caddy.RegisterModule(new(eventSink))
}

// eventSink is an event handler for tests: it hands on the event's name and a text with placeholders, or panics.
type eventSink struct {
	Text string `json:"text,omitempty"`
}

// seenEvents takes what handlers were called with. Without a reader, handlers hang.
var seenEvents = make(chan string)

func (*eventSink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.benti_sink", New: func() caddy.Module { return new(eventSink) }}
}

func (s *eventSink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&s.Text)
	return nil
}

func (s *eventSink) Handle(ctx context.Context, e caddy.Event) error {
	if s.Text == "panic" {
		panic("a bug of the handler")
	}
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	seenEvents <- e.Name() + " " + repl.ReplaceAll(s.Text, "-")
	return nil
}

var _ caddyevents.Handler = (*eventSink)(nil)

// noticed is a configuration with lines of the global option events.
func (s *scene) noticed(delivery, on string) string {
	return s.caddyfile("delivery {\n"+delivery+"\n}\n}\nevents {\n"+on, "benti_webhooks")
}

func TestEventsTellOfWebhooksThatFailAndDeliveriesThatDie(t *testing.T) {
	s := newScene(t)
	s.mustLoad(s.noticed("retry 1ms 1ms 1ms", `
		on benti.webhook_failing benti_sink "{event.module} {event.data.webhook} {event.data.project} {event.data.host} {event.data.item} {event.data.error}"
		on benti.delivery_dead benti_sink "{event.data.webhook} {event.data.attempts} {event.data.error}"
	`))
	w := s.subscribe("ticket")
	s.post()
	const lookup = "dns: "
	if got, want := <-seenEvents, "benti.webhook_failing benti "+w.ID+" default receiver.invalid ticket "+lookup; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := <-seenEvents, "benti.delivery_dead "+w.ID+" 4 "+lookup; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEventsGoToTheConfigurationThatRules(t *testing.T) {
	s := newScene(t)
	for n := 1; n <= 3; n++ {
		s.mustLoad(s.noticed("retry 1h", fmt.Sprintf("on benti.delivery_dead benti_sink %d", n)))
		s.core().notify(deliveryDead, nil)
		if got, want := <-seenEvents, fmt.Sprintf("benti.delivery_dead %d", n); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestEventsTellOfTheStateOfTheStoreWhenItChanges(t *testing.T) {
	s := faultyScene(t)
	on := "on benti.store_state benti_sink \"{event.data.former} {event.data.state} {event.data.reason}\""
	s.mustLoad(s.noticed("retry 1h", on)) // which opens the store: no news
	full := strings.Replace(s.noticed("retry 1h", on), "store badger "+s.dir, "store badger "+s.dir+" {\n\t\t\tmin_free 900TiB\n\t\t}", 1)
	s.mustLoad(full)
	if got := <-seenEvents; !strings.HasPrefix(got, "benti.store_state open low_space ") || !strings.HasSuffix(got, "(min_free)") {
		t.Errorf("got %q", got)
	}
	s.mustLoad(s.noticed("retry 1h", on))
	if got := <-seenEvents; got != "benti.store_state low_space open -" {
		t.Errorf("got %q", got)
	}
}

func TestHandlersOfEventsHoldUpNothingAndBreakNothing(t *testing.T) {
	s := newScene(t)
	s.mustLoad(s.noticed("retry 1h", "on benti.store_state benti_sink panic\non benti.delivery_dead benti_sink"))
	c := s.core()
	c.notify(storeChanged, nil) // the handler panics
	for range maxNotices + 10 { // nobody reads: the handler of the first hangs
		c.notify(deliveryDead, nil)
	}
	dropped := int(c.notices.dropped.Load())
	if dropped < 9 || dropped > 10 {
		t.Errorf("%d events were dropped", dropped)
	}
	if got := s.post(); got != http.StatusCreated {
		t.Errorf("status %d", got)
	}
	for range maxNotices + 10 - dropped {
		<-seenEvents
	}
}

func TestReportsOfPingsAndSuccessesMakeNoEvents(t *testing.T) {
	t.Parallel()
	c := &core{notices: newNotices()}
	c.notifyAttempt(report(store.Delivered, "", false))
	c.notifyAttempt(report(store.Pending, "", false))
	c.notifyAttempt(report(store.Pending, store.Active, false))
	c.notifyAttempt(report(store.Dead, "", true))
	if n := len(c.notices.queue); n != 0 {
		t.Errorf("%d events", n)
	}
	c.notifyAttempt(report(store.Dead, store.Gone, false))
	if a, b := <-c.notices.queue, <-c.notices.queue; a.name != webhookDisabled || a.data["status"] != "gone" || b.name != deliveryDead {
		t.Errorf("%+v, %+v", a, b)
	}
}

func report(state store.State, status store.Status, ping bool) *emitter.Report {
	return &emitter.Report{State: state, StatusChange: status, Delivery: store.Delivery{Webhook: "w", Ping: ping}}
}
