package emitter

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// maxSecret is the longest secret a webhook can have.
const maxSecret = 512

// Result is what came of one attempt.
type Result struct {
	// ID is what the attempt was sent under as X-Hook-Delivery.
	ID string
	// Attempt is numbered as the request was.
	Attempt store.Attempt
	// RetryAfter is how long the receiver asked to be left alone, at most an hour, or 0.
	RetryAfter time.Duration
	// Class is one of the Class constants.
	Class string
}

// Post makes one attempt to deliver d to w. The attempt is bounded by the configured timeout and by ctx. It
// is a success (ClassDelivered) when the receiver answers with 2xx; a body longer than 64 KiB is cut off, one
// that does not end in time fails the attempt. If ctx is cancelled first, the class is ClassCanceled, and
// whether the receiver got the delivery is unknown.
//
// The body is the payload, for an instance webhook in a list: {"events":[payload]}.
func (c *Client) Post(ctx context.Context, w *store.Webhook, d *store.Delivery) Result {
	return c.PostAll(ctx, w, []store.Delivery{*d})
}

// message is what one attempt sends.
type message struct {
	id            string
	attempt       int // its number
	size          int // how many deliveries it carries
	body          []byte
	ping          bool
	traceContexts []string // of the requests that made the events
	traceContext  string   // what is sent, or ""
}

func single(w *store.Webhook, d *store.Delivery) message {
	m := message{id: d.ID, attempt: len(d.Attempts) + 1, size: 1, body: d.Payload, ping: d.Ping}
	if w.Instance() {
		m.body = eventList(d.Payload)
	}
	return m
}

func (c *Client) post(ctx context.Context, w *store.Webhook, m message) (res Result) {
	begun := time.Now()
	res = Result{ID: m.id, Attempt: store.Attempt{N: m.attempt, At: begun}}
	end := c.startSpan(w, &m)
	defer func() { end(&res) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(m.body))
	if err != nil {
		res.fail(&failure{class: ClassConnect, text: "the URL is not valid"})
		return res
	}
	req.Header = c.attemptHeader(w, &m, begun)
	resp, body, failed := c.exchange(ctx, req, store.MaxResponse+maxSecret)
	res.Attempt.Duration = time.Since(begun)
	res.Attempt.Response = record(body, w)
	if resp != nil {
		res.Attempt.Status = resp.StatusCode
		res.RetryAfter = retryAfter(resp.StatusCode, resp.Header, time.Now())
	}
	switch {
	case failed != nil:
		res.fail(failed)
	case resp.StatusCode >= 200 && resp.StatusCode <= 299:
		res.Class = ClassDelivered
	default:
		res.Class = ClassStatus
		res.Attempt.Error = statusText(resp.StatusCode)
	}
	return res
}

// record returns what is kept of an answer. Answers are listed to whoever manages the webhook, and debugging
// receivers echo what they got: the secrets in it are starred out before the cut, which could fall inside one.
func record(body []byte, w *store.Webhook) []byte {
	for _, secret := range []string{w.Secret, w.PreviousSecret} {
		if secret != "" {
			body = bytes.ReplaceAll(body, []byte(secret), bytes.Repeat([]byte{'*'}, len(secret)))
		}
	}
	return slices.Clip(body[:min(len(body), store.MaxResponse)])
}

func (r *Result) fail(f *failure) {
	r.Class = f.class
	r.Attempt.Error = f.Error()
}

func statusText(status int) string {
	if status >= 300 && status <= 399 {
		return fmt.Sprintf("status %d: redirects are not followed", status)
	}
	return fmt.Sprintf("status %d", status)
}

// attemptHeader makes the header of an attempt. Names in lower case go out as they stand, the way the Standard
// Webhooks and Trace Context specifications write them.
func (c *Client) attemptHeader(w *store.Webhook, m *message, now time.Time) http.Header {
	h := make(http.Header, len(c.cfg.Header)+12)
	for key, values := range c.cfg.Header {
		h[http.CanonicalHeaderKey(key)] = values
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	secrets := []string{w.Secret}
	if w.PreviousSecret != "" && now.Before(w.PreviousUntil) {
		secrets = append(secrets, w.PreviousSecret)
	}
	h["Content-Type"] = []string{"application/json"}
	h["User-Agent"] = []string{c.cfg.UserAgent}
	h["X-Hook-Signature"] = []string{w.Secret}
	h["X-Hook-Delivery"] = []string{m.id}
	h["X-Hook-Attempt"] = []string{strconv.Itoa(m.attempt)}
	h["webhook-id"] = []string{m.id}
	h["webhook-timestamp"] = []string{timestamp}
	h["webhook-signature"] = []string{sign(m.id, timestamp, m.body, secrets...)}
	if m.ping {
		h["X-Hook-Ping"] = []string{"1"}
	}
	if parent, state, _ := strings.Cut(m.traceContext, " "); parent != "" {
		h["traceparent"] = []string{parent}
		if state != "" {
			h["tracestate"] = []string{state}
		}
	}
	// Never sent, but read by the transport: a kept connection that the receiver closed at the same moment is
	// replaced and the request sent again, instead of failing an attempt. Receivers dedupe on X-Hook-Delivery.
	h["Idempotency-Key"] = []string{}
	return h
}
