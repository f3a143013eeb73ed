package emitter

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

func TestPreviewShowsTheRequestWithoutWhatOthersCouldUse(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	values := []string{"Bearer of-the-operator"}
	extra := http.Header{"authorization": values}
	c := NewClient(Config{Header: extra, UserAgent: "Bentihooks/1"})
	defer c.Close()
	w := &store.Webhook{
		URL: "https://receiver.example/", Secret: "the present secret", PreviousSecret: "the former secret", PreviousUntil: now.Add(time.Hour),
	}
	d := &store.Delivery{ID: "0190a1b2-0000-7000-8000-000000000001", Payload: []byte(`{"id":7}`), TraceContext: "00-a-b-01"}
	h, body := c.Preview(w, d, 3, now)
	all := fmt.Sprint(h)
	for _, hidden := range []string{w.Secret, w.PreviousSecret, "of-the-operator", "Idempotency-Key", sign(d.ID, "1700000000", d.Payload, w.Secret)} {
		if strings.Contains(all, hidden) {
			t.Errorf("%q is shown in %s", hidden, all)
		}
	}
	for name, want := range map[string]string{
		"X-Hook-Attempt": "3", "webhook-timestamp": "1700000000", "webhook-id": d.ID, "X-Hook-Signature": Starred, "webhook-signature": "v1," + Starred,
		"Authorization": Starred, "traceparent": d.TraceContext, "User-Agent": "Bentihooks/1",
	} {
		if got := h[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if string(body) != `{"id":7}` {
		t.Errorf("body %s", body)
	}
	w.Events = []string{"answer"}
	if _, body := c.Preview(w, d, 3, now); string(body) != `{"events":[{"id":7}]}` {
		t.Errorf("body of an instance webhook %s", body)
	}
	if values[0] != "Bearer of-the-operator" {
		t.Error("the settings were changed")
	}
}
