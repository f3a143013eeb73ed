package emitter

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
)

const (
	challengeBytes  = 16 // 128 bits
	maxHandshakeLen = 4 << 10
	challengeField  = "X-Inbenta-Challenge"
)

// VerifyError tells why a receiver did not pass the handshake. Nothing in it comes from the target: who may
// register a webhook must not thereby learn what is behind a host or port.
type VerifyError struct {
	// Class is ClassRefusedAddress, ClassDNS, ClassConnect, ClassTLS, ClassTimeout, ClassStatus, ClassChallenge, or
	// ClassCanceled when the caller's context was cancelled.
	Class string
	// Status is the HTTP status of the answer, 0 where there was none.
	Status int
	// Message says the same in a sentence that may be shown to the caller.
	Message string
	// Detail says more where more is known, such as what is wrong with a certificate. It is for the operator's log, not for
	// the caller. The words are our own.
	Detail string
}

// Error is the message.
func (e *VerifyError) Error() string { return e.Message }

// handshakeMessages are the sentences of a [VerifyError], by class.
var handshakeMessages = map[string]string{
	ClassRefusedAddress: "the receiver's address is refused: it must be public or explicitly allowed",
	ClassDNS:            "the receiver's host could not be resolved",
	ClassConnect:        "no connection to the receiver, or no HTTP answer on it",
	ClassTLS:            "no TLS connection to the receiver with a certificate that verifies",
	ClassTimeout:        "the receiver did not answer in time",
	ClassStatus:         "the receiver did not answer with status 200",
	ClassChallenge:      "the receiver's answer is not the challenge",
	ClassCanceled:       "the verification was cut off",
}

func verifyError(class string, status int) *VerifyError {
	return &VerifyError{Class: class, Status: status, Message: handshakeMessages[class]}
}

// Verify makes the handshake of an api webhook, as the vendor's page describes it: a GET to the receiver with
// the secret and a fresh challenge, which passes if the answer has status 200 and the challenge for a body,
// white space around it aside, of which 4 KiB are read. It is bounded by the configured timeout and by ctx. A
// failure is a [*VerifyError]. Callers bound how many run at once.
func (c *Client) Verify(ctx context.Context, rawURL, secret string) error {
	return c.verify(ctx, rawURL, secret, false)
}

// VerifyInstance makes the handshake of an instance webhook. It is that of [Client.Verify], except that the challenge
// may also come back in the answer's X-Inbenta-Challenge header: the vendor's page asks receivers for "a 200 (OK)
// response together with the same header and the received code".
func (c *Client) VerifyInstance(ctx context.Context, rawURL, secret string) error {
	return c.verify(ctx, rawURL, secret, true)
}

func (c *Client) verify(ctx context.Context, rawURL, secret string, instance bool) error {
	challenge := newChallenge()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return verifyError(ClassConnect, 0) // not with err: it quotes the URL
	}
	req.Header = http.Header{
		"User-Agent":       {c.cfg.UserAgent},
		"X-Hook-Signature": {secret},
		challengeField:     {challenge},
	}
	resp, body, failed := c.exchange(ctx, req, maxHandshakeLen)
	switch {
	case failed != nil:
		err := verifyError(failed.class, 0)
		err.Detail = failed.text
		return err
	case resp.StatusCode != http.StatusOK:
		return verifyError(ClassStatus, resp.StatusCode)
	case instance && equal(resp.Header.Get(challengeField), challenge), equal(string(bytes.TrimSpace(body)), challenge):
		return nil
	default:
		return verifyError(ClassChallenge, resp.StatusCode)
	}
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func newChallenge() string {
	b := make([]byte, challengeBytes)
	rand.Read(b) // never fails: crypto/rand crashes the program rather than return an error
	return hex.EncodeToString(b)
}
