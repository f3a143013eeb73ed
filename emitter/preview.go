package emitter

import (
	"net/http"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// Starred stands for what a [Client.Preview] does not show.
const Starred = "••••••••"

// Preview returns header and body of the attempt with number n of a delivery, made at a time, for people to look at. What
// others could use is starred out: the secret, the signature, from which a weak secret could be guessed, and the values of extra
// headers. An attempt of an instance webhook may have had other deliveries in it.
func (c *Client) Preview(w *store.Webhook, d *store.Delivery, n int, at time.Time) (http.Header, []byte) {
	m := single(w, d)
	m.attempt, m.traceContext = n, d.TraceContext // with tracing on, the attempt's own span went out, which is not kept
	h := c.attemptHeader(w, &m, at)
	delete(h, "Idempotency-Key") // not sent
	h["X-Hook-Signature"] = []string{Starred}
	h["webhook-signature"] = []string{"v1," + Starred}
	for key := range c.cfg.Header {
		h[http.CanonicalHeaderKey(key)] = []string{Starred}
	}
	return h, m.body
}
