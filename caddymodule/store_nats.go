package caddymodule

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/nats"
)

func init() {
	caddy.RegisterModule(new(NATSStore))
}

const (
	defaultNATSPrefix   = "bentihooks"
	defaultNATSReplicas = 3
	maxNATSReplicas     = 5
)

// natsPrefix is what a name of a stream and the first part of a subject may be.
var natsPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// NATSStore keeps webhooks and deliveries in NATS JetStream, for several instances that share them: any of them delivers,
// and none delivers what another does. It is tested with nats-server 2.15.
type NATSStore struct {
	// The servers, such as nats://host:4222 or tls://host:4222. One that answers is enough. May hold global placeholders.
	// Required.
	URLs []string `json:"urls,omitempty"`

	// To log in with credentials: the path of a file with a JWT and its seed. Only one of creds, user, token and nkey may be given.
	// They and the password may hold global placeholders such as {env.X} or {file./path}. Default: none.
	Creds string `json:"creds,omitempty"`

	// To log in with a name and a password: the name. Default: none.
	User string `json:"user,omitempty"`

	// The password of user. Required with user.
	Password string `json:"password,omitempty"`

	// To log in with a token. Default: none.
	Token string `json:"token,omitempty"`

	// To log in with an nkey: its seed, which begins with SU. Default: none.
	NKey string `json:"nkey,omitempty"`

	// How to trust the servers, and to be trusted by them. Without it, tls:// URLs trust the system's authorities.
	TLS *NATSTLS `json:"tls,omitempty"`

	// The name of the stream, and the first part of all subjects: letters, digits, - and _. Instances with the same prefix
	// share everything. Default: bentihooks.
	Prefix string `json:"prefix,omitempty"`

	// On how many servers the stream is kept, if it has to be made: 1 to 5. A stream that is there is used as it is.
	// Default: 3.
	Replicas int `json:"replicas,omitempty"`

	// Where this instance keeps its reserve and its notes of requests in flight: a directory of its own on the local
	// disk. May hold global placeholders. Default: the folder benti-nats of Caddy's data directory.
	Dir string `json:"dir,omitempty"`

	// The size of the reserve in bytes: a file that is given its place on the disk beforehand, and takes events, as durably,
	// while NATS does not. An event takes about 400 bytes of it. Default: 16777216 (16 MiB).
	Reserve int64 `json:"reserve,omitempty"`

	dir     string
	options nats.Options
}

// NATSTLS says which certificates are used with NATS.
type NATSTLS struct {
	// The path of a file with the authorities that the servers' certificates are verified against. Default: the system's.
	CA string `json:"ca,omitempty"`

	// The path of a certificate that this client shows. Default: none.
	Cert string `json:"cert,omitempty"`

	// The path of the certificate's key. Required with cert.
	Key string `json:"key,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*NATSStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "benti.stores.nats", New: func() caddy.Module { return new(NATSStore) }}
}

// Provision resolves the settings. It connects to nothing.
func (s *NATSStore) Provision(caddy.Context) error {
	if s.Prefix == "" {
		s.Prefix = defaultNATSPrefix
	}
	if s.Replicas == 0 {
		s.Replicas = defaultNATSReplicas
	}
	if s.Reserve == 0 {
		s.Reserve = defaultReserve
	}
	repl := caddy.NewReplacer()
	var err error
	if s.dir, err = localDir(repl, s.Dir, "benti-nats"); err != nil {
		return fmt.Errorf("dir: %w", err)
	}
	s.options = nats.Options{Prefix: s.Prefix, Replicas: s.Replicas}
	for _, raw := range s.URLs {
		u, err := repl.ReplaceOrErr(raw, true, true)
		if err != nil {
			return fmt.Errorf("url: %w", err)
		}
		if err := checkNATSURL(u); err != nil {
			return err
		}
		s.options.URLs = append(s.options.URLs, u)
	}
	s.options.Connect, err = s.connectOptions(repl)
	return err
}

// Validate checks what can be told without connecting.
func (s *NATSStore) Validate() error {
	if len(s.URLs) == 0 {
		return errors.New("store nats needs at least one url, such as nats://127.0.0.1:4222")
	}
	if !natsPrefix.MatchString(s.Prefix) {
		return fmt.Errorf("prefix: must be 1 to 64 letters, digits, - and _, not %q", s.Prefix)
	}
	if s.Replicas < 1 || s.Replicas > maxNATSReplicas {
		return fmt.Errorf("replicas: must be from 1 to %d", maxNATSReplicas)
	}
	if err := checkReserve(s.Reserve); err != nil {
		return err
	}
	return s.checkLogin()
}

// checkLogin reports what of the ways to log in does not go together.
func (s *NATSStore) checkLogin() error {
	var ways []string
	for name, value := range map[string]string{"creds": s.Creds, "user": s.User, "token": s.Token, "nkey": s.NKey} {
		if value != "" {
			ways = append(ways, name)
		}
	}
	slices.Sort(ways)
	if len(ways) > 1 {
		return fmt.Errorf("only one of creds, user, token and nkey may be given, not %s", strings.Join(ways, " and "))
	}
	if (s.User == "") != (s.Password == "") {
		return errors.New("user needs a name and a password")
	}
	if s.TLS != nil && (s.TLS.Cert == "") != (s.TLS.Key == "") {
		return errors.New("tls: cert and key must be given together")
	}
	return nil
}

// checkNATSURL does not repeat what may be secret in a URL.
func checkNATSURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		return errors.New("url must be a URL such as nats://host:4222; allowed schemes are nats, tls, ws, wss")
	case u.User != nil:
		return errors.New("url must not hold a name or password; give them with user")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("url must have no query and no fragment")
	}
	return nil
}

// Identity is the directory of this instance. So a reload with other servers goes on with the files in it, which the
// store before would otherwise hold for as long as its last call and attempt take.
func (s *NATSStore) Identity() string { return "nats:" + s.dir }

// Place is the servers and the prefix.
func (s *NATSStore) Place() string {
	urls := slices.Clone(s.options.URLs)
	slices.Sort(urls)
	return strings.Join(urls, ",") + "/" + s.Prefix
}

// Local places the reserve in a directory of this instance.
func (s *NATSStore) Local() Local { return Local{Dir: s.dir, Reserve: s.Reserve} }

// Check reports whether the servers refuse the login. One that cannot be reached says nothing about it.
func (s *NATSStore) Check() error {
	if err := s.explain(nats.TryLogin(s.options)); errors.As(err, new(*loginError)) {
		return err
	}
	return nil
}

// Open connects, makes the stream if there is none, and joins the other instances.
func (s *NATSStore) Open(logger *zap.Logger) (store.Store, error) {
	logger = logger.Named("nats")
	o := s.options
	o.Logf = natsLog(logger)
	var err error
	if o.Name, err = instanceName(s.dir); err != nil {
		return nil, err
	}
	o.Place = instancePlace(s.dir)
	st, err := nats.Open(o)
	if err != nil {
		return nil, s.explain(err)
	}
	return st, nil
}

// instanceName is the same whenever this instance starts, so that it takes the place of its former self at once.
func instanceName(dir string) (string, error) {
	file := filepath.Join(dir, "instance")
	content, err := os.ReadFile(file) //nolint:gosec // the path is the configuration's
	if name, perr := uuid.ParseBytes(content); err == nil && perr == nil {
		return name.String(), nil
	}
	name := uuid.NewString()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("naming this instance: %w", err)
	}
	if err := os.WriteFile(file, []byte(name), 0o600); err != nil {
		return "", fmt.Errorf("naming this instance: %w", err)
	}
	return name, nil
}

// instancePlace is the host and the directory, which only one instance at a time has locked. Where files are not locked, the process
// is told, too.
func instancePlace(dir string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	if runtime.GOOS == "windows" {
		return fmt.Sprintf("%s:%s (process %d)", host, dir, os.Getpid())
	}
	return host + ":" + dir
}

func natsLog(logger *zap.Logger) func(level, message string) {
	return func(level, message string) {
		switch level {
		case "error":
			logger.Error(message)
		case "warn":
			logger.Warn(message)
		case "info":
			logger.Info(message)
		default:
			logger.Debug(message)
		}
	}
}

var (
	_ caddy.Provisioner = (*NATSStore)(nil)
	_ caddy.Validator   = (*NATSStore)(nil)
	_ StoreProvider     = (*NATSStore)(nil)
)
