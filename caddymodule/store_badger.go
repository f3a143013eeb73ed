package caddymodule

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/badger"
)

func init() {
	caddy.RegisterModule(new(BadgerStore))
}

const (
	defaultMinFree = 256 << 20
	maxMinFree     = 1 << 50
)

// BadgerStore keeps webhooks and deliveries in an embedded Badger database. It needs no other service.
type BadgerStore struct {
	// The database's directory, which is made if it is missing. May hold global placeholders. Default: the
	// folder benti of Caddy's data directory.
	Path string `json:"path,omitempty"`

	// Below this much free disk, in bytes, the database is closed and events go to the reserve: written to on
	// a full disk it would take the process down. Default: 268435456 (256 MiB).
	MinFree int64 `json:"min_free,omitempty"`

	// The size of the reserve in bytes: a file that is given its place on the disk beforehand, and takes
	// events, as durably, while the database is closed. An event takes about 400 bytes of it. Default:
	// 16777216 (16 MiB).
	Reserve int64 `json:"reserve,omitempty"`

	// Encrypts what is stored, with AES: 16, 24 or 32 bytes, in hexadecimal or base64 digits. Give it as a
	// placeholder, {env.X} or {file./path}: what is written out can be read in the configuration. Default: none.
	EncryptionKey string `json:"encryption_key,omitempty"`

	// Keys that the directory may still have, likewise; "none" for no encryption. If it has one of these it is changed to
	// encryption_key when the store is opened next, which a restart does and a reload does not. Default: none.
	FormerEncryptionKeys []string `json:"former_encryption_keys,omitempty"`

	dir        string
	key        []byte
	formerKeys [][]byte
}

// noKey stands among the former keys for a directory that is not encrypted.
const noKey = "none"

// CaddyModule returns the Caddy module information.
func (*BadgerStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "benti.stores.badger", New: func() caddy.Module { return new(BadgerStore) }}
}

// Provision resolves the settings. It does not touch the directory.
func (s *BadgerStore) Provision(ctx caddy.Context) error {
	if s.MinFree == 0 {
		s.MinFree = defaultMinFree
	}
	if s.Reserve == 0 {
		s.Reserve = defaultReserve
	}
	repl := caddy.NewReplacer()
	var err error
	if s.dir, err = localDir(repl, s.Path, "benti"); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	return s.provisionKeys(ctx, repl)
}

func (s *BadgerStore) provisionKeys(ctx caddy.Context, repl *caddy.Replacer) error {
	if s.EncryptionKey == "" {
		if len(s.FormerEncryptionKeys) > 0 {
			return errors.New("former_encryption_keys: need an encryption_key to change to")
		}
		return nil
	}
	for i, text := range append([]string{s.EncryptionKey}, s.FormerEncryptionKeys...) {
		if i > 0 && text == noKey {
			s.formerKeys = append(s.formerKeys, nil)
			continue
		}
		if !strings.Contains(text, "{") {
			ctx.Logger().Warn("an encryption_key is written out, so that who reads the configuration has it; give it as {env.NAME} or {file./path}")
		}
		text, err := repl.ReplaceOrErr(text, true, true)
		if err != nil {
			return fmt.Errorf("encryption_key: %w", err)
		}
		key, err := parseKey(strings.TrimSpace(text))
		switch {
		case err != nil:
			return fmt.Errorf("encryption_key: %w", err)
		case i == 0:
			s.key = key
		case bytes.Equal(key, s.key):
			return errors.New("encryption_key: a former key is the same as the new one")
		default:
			s.formerKeys = append(s.formerKeys, key)
		}
	}
	return nil
}

// Validate checks the sizes.
func (s *BadgerStore) Validate() error {
	if s.MinFree < 0 {
		return errors.New("min_free: must be greater than zero")
	}
	return checkReserve(s.Reserve)
}

// parseKey does not repeat the key in its error.
func parseKey(text string) ([]byte, error) {
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && (len(key) == 16 || len(key) == 24 || len(key) == 32) {
			return key, nil
		}
	}
	return nil, errors.New("must be 16, 24 or 32 bytes in hexadecimal or base64 digits, as from: openssl rand -hex 32")
}

// Identity is the absolute directory.
func (s *BadgerStore) Identity() string { return "badger:" + s.dir }

// Place is nowhere else.
func (*BadgerStore) Place() string { return "" }

// Local places the reserve in the database's directory.
func (s *BadgerStore) Local() Local {
	return Local{Dir: s.dir, Reserve: s.Reserve, MinFree: uint64(s.MinFree)} //nolint:gosec // positive, by Validate
}

// Check reports whether the directory has another encryption key than those given.
func (s *BadgerStore) Check() error { return badger.CheckKey(s.options()) }

// Open opens the database.
func (s *BadgerStore) Open(logger *zap.Logger) (store.Store, error) {
	o := s.options()
	o.Logf = badgerLog(logger.Named("badger"))
	o.Room = func() (uint64, error) {
		free, err := freeSpace(s.dir)
		return free - min(free, uint64(s.MinFree)), err //nolint:gosec // positive, by Validate
	}
	return badger.Open(o)
}

func (s *BadgerStore) options() badger.Options {
	return badger.Options{Dir: s.dir, EncryptionKey: s.key, FormerKeys: s.formerKeys}
}

// badgerLog passes on what Badger says. Its own infos are a trace of its inner life.
func badgerLog(logger *zap.Logger) func(level, message string) {
	return func(level, message string) {
		switch level {
		case "error":
			logger.Error(message)
		case "warn":
			logger.Warn(message)
		default:
			logger.Debug(message)
		}
	}
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	badger [<path>] {
//		min_free       <size>
//		reserve        <size>
//		encryption_key <key> [<former key>|none...]
//	}
func (s *BadgerStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the engine's name
	if d.NextArg() {
		s.Path = d.Val()
		if s.Path == "" {
			return d.Err("the path of the store must not be empty")
		}
	}
	if d.NextArg() {
		return d.Errf("unexpected argument %q; store badger takes one path", d.Val())
	}
	block := settings{d: d}
	return block.parse(map[string]func() error{
		"min_free":       func() error { return block.size(&s.MinFree, 1, maxMinFree) },
		"reserve":        func() error { return block.size(&s.Reserve, minReserve, maxReserve) },
		"encryption_key": func() error { return s.parseEncryptionKeys(&block) },
	})
}

func (s *BadgerStore) parseEncryptionKeys(block *settings) error {
	keys, err := block.args()
	if err != nil {
		return err
	}
	for i, key := range keys {
		if strings.Contains(key, "{") || i > 0 && key == noKey { // a placeholder is known only when the server runs
			continue
		}
		if _, err := parseKey(key); err != nil {
			return block.d.Errf("encryption_key: %v", err)
		}
	}
	s.EncryptionKey, s.FormerEncryptionKeys = keys[0], keys[1:]
	for i, key := range keys {
		if slices.Contains(keys[:i], key) {
			return block.d.Err("encryption_key: a key is given twice")
		}
	}
	return nil
}

var (
	_ caddy.Provisioner     = (*BadgerStore)(nil)
	_ caddy.Validator       = (*BadgerStore)(nil)
	_ caddyfile.Unmarshaler = (*BadgerStore)(nil)
	_ StoreProvider         = (*BadgerStore)(nil)
)
