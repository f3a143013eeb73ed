package emitter

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// Config is everything an operator can set about deliveries. It is immutable once given to [New],
// [NewClient] or [Emitter.Configure]. Zero values stand for the defaults.
type Config struct {
	// Timeout bounds one attempt, from the look-up of the host to the last byte of the answer's body. Default 10 s.
	Timeout time.Duration
	// MaxConcurrent is how many attempts may be in flight in the whole process. Default 256. Half of them is
	// kept for webhooks that have none in flight, and half for those whose latest attempt did not fail.
	MaxConcurrent int
	// MaxPerWebhook is how many attempts may be in flight to one webhook. Default 8.
	MaxPerWebhook int
	// Retry holds the waits between attempts, each with 20 % jitter either way; after the last one a delivery
	// is dead. Default [DefaultRetry]; empty but not nil for a single attempt. What has its last attempt before it
	// shares it with no other delivery, so that none dies of another.
	Retry []time.Duration
	// AllowCIDR opens networks that are not public. See [Guard].
	AllowCIDR []netip.Prefix
	// AllowPorts are the ports that receivers may have. Default: all.
	AllowPorts []uint16
	// RootCAs are the authorities that receivers' certificates are verified against. Default those of the system.
	RootCAs *x509.CertPool
	// Header is sent on every attempt, not on handshakes. [Config.Validate] tells which fields are refused.
	Header http.Header
	// UserAgent is the product name and version, such as "Bentihooks/1.0.0". Default "Bentihooks".
	UserAgent string
	// Report is called once for every delivery of every attempt, when its outcome is durable or storing it was given
	// up. It is called from many goroutines at once and must not block. May be nil.
	Report func(Report)
	// StoreError is called for every failed call on the store. The call is repeated, with growing
	// pauses, until it succeeds or the emitter stops. It is called from many goroutines at once and must not
	// block. May be nil.
	StoreError func(error)
	// Buried is called after pending deliveries of a webhook that is gone have become dead without an attempt, with how
	// many. It is called from many goroutines at once and must not block. May be nil.
	Buried func(webhook string, deliveries int)
	// Trace begins the span of an attempt. May be nil.
	Trace Tracer
	// Resolver looks up the hosts of receivers. Default [net.DefaultResolver].
	Resolver *net.Resolver
}

// Report tells what became of one attempt, for one delivery of it.
type Report struct {
	// Batch is what the attempt was sent under as X-Hook-Delivery: the delivery's own id, or one made for the
	// attempt if deliveries of an instance webhook shared it.
	Batch string
	// Size is how many deliveries shared the attempt, Place from 0 which of them this is. There is one report for each, in
	// no order; whoever counts attempts or their durations counts those with Place 0.
	Size, Place int
	// Delivery is as it was claimed, without Attempt.
	Delivery store.Delivery
	// Attempt has the delivery's own number, which the request has only if no other in it has a higher one.
	Attempt store.Attempt
	// State is where the delivery stands now: delivered, dead, or pending for another attempt at Due.
	State store.State
	Due   time.Time
	// URL is the receiver's host and port. Path and query are left out: they may hold credentials.
	URL string
	// Class is one of the Class constants.
	Class string
	// StatusChange is the webhook's new status if it changed with this attempt, else empty. Of the reports of an
	// attempt only one tells it.
	StatusChange store.Status
	// Err tells why the outcome could not be stored. The delivery will then be attempted again.
	Err error
}

// Classes of what an attempt or a handshake came to. The set is small and fixed, fit for metric labels.
const (
	ClassDelivered      = "delivered"
	ClassStatus         = "status"          // an answer, but not one of success
	ClassTimeout        = "timeout"         // no complete answer in time
	ClassConnect        = "connect"         // no connection, or it broke, or what came was not HTTP
	ClassTLS            = "tls"             // no TLS, or a certificate that does not verify
	ClassDNS            = "dns"             // the host has no address
	ClassRefusedAddress = "refused_address" // the host has an address that [Guard] refuses, or the port is not allowed
	ClassCanceled       = "canceled"        // cut off by the caller; does not count as an attempt
	ClassChallenge      = "challenge"       // a handshake that did not give back the challenge
)

// DefaultRetry returns the waits between attempts: twelve waits, so thirteen attempts within about two days.
func DefaultRetry() []time.Duration {
	return []time.Duration{ // elapsed before the attempt that follows
		5 * time.Second,  // 5 s
		30 * time.Second, // 35 s
		2 * time.Minute,  // 2 min 35 s
		10 * time.Minute, // 12 min 35 s
		30 * time.Minute, // 42 min 35 s
		time.Hour,        // 1 h 42 min
		2 * time.Hour,    // 3 h 42 min
		4 * time.Hour,    // 7 h 42 min
		8 * time.Hour,    // 15 h 42 min
		12 * time.Hour,   // 27 h 42 min
		12 * time.Hour,   // 39 h 42 min
		12 * time.Hour,   // 51 h 42 min
	}
}

// withDefaults fills in what was left at zero.
func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = 256
	}
	if c.MaxPerWebhook == 0 {
		c.MaxPerWebhook = 8
	}
	if c.Retry == nil {
		c.Retry = DefaultRetry()
	}
	if c.UserAgent == "" {
		c.UserAgent = "Bentihooks"
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	return c
}

// Upper bounds of what can be meant. Anything above is taken for a slip of the pen.
const (
	maxTimeout    = 10 * time.Minute
	maxConcurrent = 1 << 16
	maxRetries    = 100
	maxRetryWait  = 30 * 24 * time.Hour
)

// Validate reports every wrong setting, each by its name and with what is allowed. Zero values are defaults
// and so are right.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Timeout < 0 || c.Timeout > maxTimeout {
		wrong("timeout: %v is not above zero and at most %v", c.Timeout, maxTimeout)
	}
	if c.MaxConcurrent < 0 || c.MaxConcurrent > maxConcurrent {
		wrong("max_concurrent: %d is not from 1 to %d", c.MaxConcurrent, maxConcurrent)
	}
	if c.MaxPerWebhook < 0 || c.MaxPerWebhook > maxConcurrent {
		wrong("max_per_webhook: %d is not from 1 to %d", c.MaxPerWebhook, maxConcurrent)
	}
	if len(c.Retry) > maxRetries {
		wrong("retry: %d waits, at most %d are allowed", len(c.Retry), maxRetries)
	}
	for _, wait := range c.Retry {
		if wait <= 0 || wait > maxRetryWait {
			wrong("retry: %v is not above zero and at most %v", wait, maxRetryWait)
		}
	}
	for _, p := range c.AllowCIDR {
		if err := validPrefix(p); err != nil {
			wrong("allow_cidr: %w", err)
		}
	}
	for i, port := range c.AllowPorts {
		switch {
		case port == 0:
			wrong("allow_ports: 0 is not a port from 1 to 65535")
		case slices.Contains(c.AllowPorts[:i], port):
			wrong("allow_ports: %d is given twice", port)
		}
	}
	if !validFieldValue(c.UserAgent) {
		wrong("user agent: %q is not visible ASCII", c.UserAgent)
	}
	errs = append(errs, validHeader(c.Header)...)
	return errors.Join(errs...)
}

func validPrefix(p netip.Prefix) error {
	if !p.IsValid() {
		return errors.New("not a network such as 10.20.0.0/16 or fd00::/8")
	}
	// Addresses are unmapped before they are compared, so that such a prefix would never match.
	if p.Addr().Is4In6() {
		return fmt.Errorf("%v is an IPv4 network in IPv6 form: write it as IPv4", p)
	}
	return nil
}

// ownFields are set by us or by the protocol on every attempt. Prefixes end in "-".
var ownFields = []string{
	"Content-Type", "Content-Length", "Content-Encoding", "X-Hook-", "Webhook-", "Host", "User-Agent",
	"Traceparent", "Tracestate", "X-Inbenta-Challenge", "Idempotency-Key", "X-Idempotency-Key", "Accept-Encoding",
	"Connection", "Keep-Alive", "Proxy-", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Expect",
}

func validHeader(h http.Header) (errs []error) {
	for key, values := range h {
		name := http.CanonicalHeaderKey(key)
		switch {
		case !validFieldName(key):
			errs = append(errs, fmt.Errorf("header: %q is not a field name", key))
		case slices.ContainsFunc(ownFields, func(own string) bool {
			return name == own || strings.HasSuffix(own, "-") && strings.HasPrefix(name, own)
		}):
			errs = append(errs, fmt.Errorf("header: %s is set by Bentihooks itself and cannot be changed", name))
		}
		for _, v := range values {
			if !validFieldValue(v) {
				errs = append(errs, fmt.Errorf("header: the value of %s is not visible ASCII, spaces and tabs", name))
			}
		}
	}
	return errs
}

// validFieldName reports whether s is a token of RFC 9110, section 5.6.2.
func validFieldName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		alphanumeric := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

func validFieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') })
}
