package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// connectOptions resolves how to log in and whom to trust.
func (s *NATSStore) connectOptions(repl *caddy.Replacer) ([]nats.Option, error) {
	values := map[string]string{"creds": s.Creds, "user": s.User, "password": s.Password, "token": s.Token, "nkey": s.NKey}
	for name, value := range values {
		if value == "" {
			continue
		}
		resolved, err := repl.ReplaceOrErr(value, true, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if values[name] = strings.TrimSpace(resolved); values[name] == "" { // files end with a line feed
			return nil, fmt.Errorf("%s: the placeholder is empty", name)
		}
	}
	var options []nats.Option
	switch {
	case values["creds"] != "":
		if _, err := os.Stat(values["creds"]); err != nil {
			return nil, fmt.Errorf("creds: %w", err)
		}
		options = append(options, nats.UserCredentials(values["creds"]))
	case values["user"] != "":
		options = append(options, nats.UserInfo(values["user"], values["password"]))
	case values["token"] != "":
		options = append(options, nats.Token(values["token"]))
	case values["nkey"] != "":
		option, err := nkeyOption(values["nkey"])
		if err != nil {
			return nil, err
		}
		options = append(options, option)
	}
	if s.TLS == nil {
		return options, nil
	}
	config, err := s.TLS.config(repl)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return append(options, nats.Secure(config)), nil
}

// nkeyOption does not repeat the seed in its error.
func nkeyOption(seed string) (nats.Option, error) {
	pair, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return nil, errors.New("nkey: must be the seed of a user's nkey, which begins with SU")
	}
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, errors.New("nkey: must be the seed of a user's nkey, which begins with SU")
	}
	return nats.Nkey(public, pair.Sign), nil
}

func (t *NATSTLS) config(repl *caddy.Replacer) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	paths := map[string]string{"ca": t.CA, "cert": t.Cert, "key": t.Key}
	for name, path := range paths {
		resolved, err := repl.ReplaceOrErr(path, true, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		paths[name] = resolved
	}
	if paths["ca"] != "" {
		pem, err := os.ReadFile(paths["ca"])
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: there is no certificate in %s", paths["ca"])
		}
	}
	if paths["cert"] != "" && paths["key"] != "" {
		pair, err := tls.LoadX509KeyPair(paths["cert"], paths["key"])
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
