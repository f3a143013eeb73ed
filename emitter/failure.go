package emitter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

// failure is an error whose class and wording are known where it happens. The text may be shown to whoever
// owns the webhook, so it never holds an address, a secret, or words of the peer; err does not leave the package.
type failure struct {
	class string
	text  string
	err   error
}

func (f *failure) Error() string { return f.class + ": " + f.text }
func (f *failure) Unwrap() error { return f.err }

func refused() *failure {
	return &failure{class: ClassRefusedAddress, text: "the host has an address that is not public and not allowed"}
}

// explain finds the class and the words for an exchange that failed with err. parent is the context that the caller
// gave, ctx the one with our own deadline on top.
func explain(parent, ctx context.Context, err error, timeout time.Duration) *failure {
	if errors.Is(parent.Err(), context.Canceled) {
		return &failure{ClassCanceled, "cut off", err}
	}
	if ctx.Err() != nil {
		return &failure{ClassTimeout, fmt.Sprintf("no complete answer within %v", timeout), err}
	}
	var f *failure
	if !errors.As(err, &f) {
		if alertText(err) != "" { // of TLS 1.3, where a receiver may find fault with us only after the handshake
			return &failure{ClassTLS, tlsText(err), err}
		}
		return &failure{ClassConnect, networkText(err), err}
	}
	if f.class != ClassConnect {
		return f
	}
	// Dialling comes with the errors of all addresses; an address refused on the way tells most.
	var inner *failure
	if errors.As(f.err, &inner) {
		return inner
	}
	var ne net.Error
	if errors.As(f.err, &ne) && ne.Timeout() {
		return &failure{ClassTimeout, "no connection in time", err}
	}
	var errno syscall.Errno
	if errors.As(f.err, &errno) {
		return &failure{ClassConnect, errno.Error(), err}
	}
	return f
}

// networkText is for a connection that stood and then failed. The words are our own: net/http quotes the peer.
func networkText(err error) string {
	var errno syscall.Errno
	switch {
	case isEOF(err):
		return "connection closed before the answer was complete"
	case errors.As(err, &errno):
		return errno.Error()
	default:
		return "no valid HTTP answer"
	}
}

func dnsText(err error) string {
	var de *net.DNSError
	switch {
	case errors.As(err, &de) && de.IsNotFound:
		return "no such host"
	case errors.As(err, &de) && de.IsTimeout:
		return "look-up timed out"
	default:
		return "look-up failed"
	}
}

func tlsText(err error) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		return "certificate signed by unknown authority"
	case errors.As(err, &host):
		return "certificate is not valid for this host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate has expired or is not yet valid"
	case errors.As(err, &verify), errors.As(err, &invalid):
		return "certificate does not verify"
	case errors.As(err, &record):
		return "receiver does not speak TLS"
	case alertText(err) != "":
		return "receiver refused: " + alertText(err)
	case strings.Contains(err.Error(), "unsupported protocol version"):
		return "receiver speaks no TLS 1.2 or later"
	case isEOF(err):
		return "connection closed during the handshake"
	default:
		return "handshake failed"
	}
}

// alertText returns what a TLS alert of the receiver says, which is one of the standard's phrases, and nothing for other errors.
func alertText(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return ""
	}
	return strings.TrimPrefix(op.Err.Error(), "tls: ")
}
