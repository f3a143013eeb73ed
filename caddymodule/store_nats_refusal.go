package caddymodule

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/nats-io/nats.go"
)

// loginError tells that NATS servers were reached and do not let this instance in, or may not be trusted. It names the setting,
// and holds nothing secret.
type loginError struct {
	setting string
	err     error
}

func (e *loginError) Error() string { return fmt.Sprintf("%s: %v", e.setting, e.err) }

func (e *loginError) Unwrap() error { return e.err }

// explain makes a loginError of an error that is one.
func (s *NATSStore) explain(err error) error {
	if setting := s.refused(err); setting != "" {
		return &loginError{setting, err}
	}
	return err
}

// refused tells which setting an error of connecting is about, and what is wrong with it; "" if it is about none.
func (s *NATSStore) refused(err error) string {
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return s.login("the server refuses %s")
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAccountAuthExpired):
		return s.login("%s is no longer valid")
	case errors.Is(err, nats.ErrAuthRevoked):
		return s.login("%s has been revoked")
	case errors.Is(err, nats.ErrNkeysNotSupported):
		return "nkey: the server knows none"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "tls: the server offers none"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "tls: ca: none of these authorities has signed the server's certificate"
	case errors.As(err, new(x509.HostnameError)):
		return "url: the server's certificate is for another name"
	case errors.As(err, new(x509.CertificateInvalidError)):
		return "tls: the server's certificate is not valid"
	}
	// The server judges our certificate after the handshake, as we see it: its verdict may not get here before its end does.
	if remote := new(net.OpError); errors.As(err, &remote) && remote.Op == "remote error" && strings.HasPrefix(remote.Err.Error(), "tls: ") {
		if s.TLS == nil || s.TLS.Cert == "" {
			return "tls: cert and key: the server demands them"
		}
		return "tls: cert and key: the server refuses them"
	}
	if errors.Is(err, nats.ErrTLS) {
		return "tls: cert and key: the server ended the connection; it may demand them, or others"
	}
	return ""
}

// login names the setting that this instance logs in with.
func (s *NATSStore) login(verdict string) string {
	for _, way := range []struct{ name, value, what string }{
		{"creds", s.Creds, "what the file holds"},
		{"user", s.User, "the name or the password"},
		{"token", s.Token, "the token"},
		{"nkey", s.NKey, "the nkey"},
	} {
		if way.value != "" {
			return way.name + ": " + fmt.Sprintf(verdict, way.what)
		}
	}
	return "creds, user, token or nkey: the server demands one of them"
}
