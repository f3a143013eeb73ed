package emitter

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxSkew is how far the time of a signature may be from the receiver's.
const maxSkew = 5 * time.Minute

// CheckSignature is what a receiver should do with each request: it verifies both of the signatures that attempts carry,
// with the secret of the webhook. The error says what is wrong.
func CheckSignature(h http.Header, body []byte, secret string, now time.Time) error {
	if !hmac.Equal([]byte(h.Get("X-Hook-Signature")), []byte(secret)) {
		return errors.New("X-Hook-Signature is not the secret")
	}
	id, timestamp := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("webhook-timestamp %q is no time in seconds", timestamp)
	}
	if skew := now.Sub(time.Unix(seconds, 0)).Abs(); skew > maxSkew {
		return fmt.Errorf("webhook-timestamp is %v off", skew.Round(time.Second))
	}
	want := sign(id, timestamp, body, secret)
	for _, signature := range strings.Fields(h.Get("Webhook-Signature")) {
		if hmac.Equal([]byte(signature), []byte(want)) {
			return nil
		}
	}
	return errors.New("no webhook-signature fits the secret and the body")
}
