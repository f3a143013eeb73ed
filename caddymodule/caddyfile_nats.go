package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	nats {
//		url      <url...>
//		creds    <path>
//		user     <name> <password>
//		token    <token>
//		nkey     <seed>
//		tls {
//			ca   <path>
//			cert <path>
//			key  <path>
//		}
//		prefix   <name>
//		replicas <count>
//		dir      <path>
//		reserve  <size>
//	}
func (s *NATSStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the engine's name
	if d.NextArg() {
		return d.Errf("unexpected argument %q; the settings of store nats stand in a block", d.Val())
	}
	block := settings{d: d, repeatable: []string{"url"}}
	block.check = s.checkLogin
	err := block.parse(map[string]func() error{
		"url":      func() error { return s.parseURLs(&block) },
		"creds":    func() error { return block.text(&s.Creds) },
		"user":     func() error { return s.parseUser(d) },
		"token":    func() error { return block.text(&s.Token) },
		"nkey":     func() error { return s.parseNKey(&block) },
		"tls":      func() error { return s.parseTLS(d) },
		"prefix":   func() error { return s.parsePrefix(&block) },
		"replicas": func() error { return s.parseReplicas(&block) },
		"dir":      func() error { return block.text(&s.Dir) },
		"reserve":  func() error { return block.size(&s.Reserve, minReserve, maxReserve) },
	})
	if err == nil && len(s.URLs) == 0 {
		return d.Err("store nats needs at least one url, such as nats://127.0.0.1:4222")
	}
	return err
}

func (s *NATSStore) parseURLs(block *settings) error {
	values, err := block.args()
	if err != nil {
		return err
	}
	for _, value := range values {
		if !strings.Contains(value, "{") { // a placeholder is known only when the server runs
			if err := checkNATSURL(value); err != nil {
				return block.d.Errf("%v", err)
			}
		}
		s.URLs = append(s.URLs, value)
	}
	return nil
}

// parseUser does not repeat the password in its error.
func (s *NATSStore) parseUser(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 || args[0] == "" || args[1] == "" {
		return d.Err("user takes a name and a password")
	}
	s.User, s.Password = args[0], args[1]
	return nil
}

func (s *NATSStore) parseNKey(block *settings) error {
	if err := block.text(&s.NKey); err != nil {
		return err
	}
	if strings.Contains(s.NKey, "{") {
		return nil
	}
	if _, err := nkeyOption(s.NKey); err != nil {
		return block.d.Errf("%v", err)
	}
	return nil
}

func (s *NATSStore) parsePrefix(block *settings) error {
	if err := block.text(&s.Prefix); err != nil {
		return err
	}
	if !natsPrefix.MatchString(s.Prefix) {
		return block.d.Errf("prefix must be 1 to 64 letters, digits, - and _, not %q", s.Prefix)
	}
	return nil
}

func (s *NATSStore) parseReplicas(block *settings) error {
	if err := block.count(&s.Replicas); err != nil {
		return err
	}
	if s.Replicas > maxNATSReplicas {
		return block.d.Errf("replicas must be from 1 to %d, not %d", maxNATSReplicas, s.Replicas)
	}
	return nil
}

func (s *NATSStore) parseTLS(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q; the settings of tls stand in a block", d.Val())
	}
	s.TLS = new(NATSTLS)
	block := settings{d: d}
	err := block.parse(map[string]func() error{
		"ca":   func() error { return block.text(&s.TLS.CA) },
		"cert": func() error { return block.text(&s.TLS.Cert) },
		"key":  func() error { return block.text(&s.TLS.Key) },
	})
	return err
}

var _ caddyfile.Unmarshaler = (*NATSStore)(nil)
