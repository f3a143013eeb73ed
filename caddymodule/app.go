package caddymodule

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/emitter"
	"github.com/bentihooks/bentihooks/store"
)

func init() {
	caddy.RegisterModule(new(App))
}

const (
	defaultRetention     = 7 * 24 * time.Hour
	defaultSecretOverlap = 24 * time.Hour
)

// App holds what all benti_webhooks handlers share: the store of webhooks and deliveries, and how
// deliveries are made. It works without any configuration.
type App struct {
	// Where webhooks and deliveries are kept. Default: badger, in the folder benti of Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=benti.stores inline_key=engine"`

	// How deliveries are made.
	Delivery *Delivery `json:"delivery,omitempty"`

	// How long delivered and dead deliveries stay listed; dead ones can be replayed until then. Default: 7d.
	Retention caddy.Duration `json:"retention,omitempty"`

	ctx      caddy.Context
	logger   *zap.Logger
	provider StoreProvider
	emitter  emitter.Config
	events   *caddyevents.App
	started  chan struct{} // closed when all apps of the configuration have started

	core    atomic.Pointer[core] // set by Start or the first request, for good
	mu      sync.Mutex           // guards held and cleaned
	held    bool                 // the core is held by this configuration
	cleaned bool
}

// Delivery says how deliveries are made.
type Delivery struct {
	// How long one attempt may take, from dialling to the last byte of the answer. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How many attempts may be in flight in the whole process. Default: 256.
	MaxConcurrent int `json:"max_concurrent,omitempty"`

	// How many attempts may be in flight to one webhook. Default: 8.
	MaxPerWebhook int `json:"max_per_webhook,omitempty"`

	// The waits between the attempts of one delivery, each varied by up to 20 %. When the attempt after the
	// last one fails too, the delivery is dead. Default: 5s, 30s, 2m, 10m, 30m, 1h, 2h, 4h, 8h, 12h, 12h, 12h.
	Retry []caddy.Duration `json:"retry,omitempty"`

	// Receivers in networks that are not public (loopback, private, link-local, shared, reserved) are
	// refused, unless their address is in one of these CIDR ranges. Default: none.
	AllowCIDR []string `json:"allow_cidr,omitempty"`

	// The ports that receivers may have, such as 443. Default: all.
	AllowPorts []uint16 `json:"allow_ports,omitempty"`

	// The certificate authorities that receivers' certificates are verified against. Default: the system's.
	TrustPoolRaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	// Extra headers on every attempt. Values may hold global placeholders such as {env.X}. Default: none.
	Header http.Header `json:"header,omitempty"`

	// After the secret of a webhook changed, attempts are signed with both for this long. Default: 24h.
	SecretOverlap caddy.Duration `json:"secret_overlap,omitempty"`
}

// StoreProvider is what a module in the namespace benti.stores provides.
type StoreProvider interface {
	// Identity names the absolute directory whose files only one store can have open, whatever the options: two
	// configurations with the same identity share one open store.
	Identity() string
	// Place says where beside that directory Open finds the store, if the configuration tells. A store that is open
	// is closed, and opened at its new place, when a configuration comes with another.
	Place() string
	// Open opens the store. It is not called twice without a Close in between.
	Open(logger *zap.Logger) (store.Store, error)
	// Check reports settings with which the store, though it is open, could not be opened again. It is called when a configuration
	// comes to a store that is open already.
	Check() error
	// Local says what of this machine's disk stands in while the store does not take events.
	Local() Local
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "benti", New: func() caddy.Module { return new(App) }}
}

// Provision reads the settings. It opens nothing: "caddy validate" provisions for real, too.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	if a.Retention == 0 {
		a.Retention = caddy.Duration(defaultRetention)
	}
	if a.Delivery == nil {
		a.Delivery = new(Delivery)
	}
	if a.Delivery.SecretOverlap == 0 {
		a.Delivery.SecretOverlap = caddy.Duration(defaultSecretOverlap)
	}
	if err := a.provisionStore(ctx); err != nil {
		return err
	}
	if err := a.provisionEvents(ctx); err != nil {
		return err
	}
	return a.provisionEmitter(ctx)
}

func (a *App) provisionStore(ctx caddy.Context) error {
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"engine":"badger"}`)
	}
	module, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	provider, ok := module.(StoreProvider)
	if !ok {
		return fmt.Errorf("loading store: module %T is not a store", module)
	}
	a.provider = provider
	return nil
}

func (a *App) provisionEmitter(ctx caddy.Context) error {
	d := a.Delivery
	a.emitter = d.config()
	a.emitter.UserAgent = "Bentihooks/" + Version()
	a.emitter.Header = make(http.Header)
	for _, cidr := range d.AllowCIDR {
		prefix, err := parseCIDR(cidr)
		if err != nil {
			return fmt.Errorf("delivery: allow_cidr: %w", err)
		}
		a.emitter.AllowCIDR = append(a.emitter.AllowCIDR, prefix)
	}
	repl := caddy.NewReplacer()
	for name, values := range d.Header {
		for _, value := range values {
			value, err := repl.ReplaceOrErr(value, true, true)
			if err != nil {
				return fmt.Errorf("delivery: header %s: %w", name, err)
			}
			a.emitter.Header.Add(name, value)
		}
	}
	pool, err := a.trustPool(ctx)
	if err != nil {
		return err
	}
	a.emitter.RootCAs = pool
	return nil
}

// config returns what can be told without resolving placeholders and loading modules.
func (v *Delivery) config() emitter.Config {
	config := emitter.Config{
		Timeout:       time.Duration(v.Timeout),
		MaxConcurrent: v.MaxConcurrent,
		MaxPerWebhook: v.MaxPerWebhook,
		AllowPorts:    v.AllowPorts,
		Header:        v.Header,
	}
	for _, wait := range v.Retry {
		config.Retry = append(config.Retry, time.Duration(wait))
	}
	return config
}

func (a *App) trustPool(ctx caddy.Context) (*x509.CertPool, error) {
	if a.Delivery.TrustPoolRaw == nil {
		return nil, nil //nolint:nilnil // nil is the system's pool
	}
	module, err := ctx.LoadModule(a.Delivery, "TrustPoolRaw")
	if err != nil {
		return nil, fmt.Errorf("loading delivery: trust_pool: %w", err)
	}
	ca, ok := module.(caddytls.CA)
	if !ok {
		return nil, fmt.Errorf("loading delivery: trust_pool: module %T is not a source of certificate authorities", module)
	}
	return ca.CertPool(), nil
}

// Validate checks what Provision read.
func (a *App) Validate() error {
	if a.Retention < 0 {
		return errors.New("retention: must be greater than zero")
	}
	if a.Delivery.SecretOverlap < 0 {
		return errors.New("delivery: secret_overlap: must be greater than zero")
	}
	if err := a.emitter.Validate(); err != nil {
		return fmt.Errorf("delivery: %w", err)
	}
	return nil
}

// Start has the store opened and deliveries begun. A store that cannot be opened is no error: the traffic
// goes on, and opening is tried again until it succeeds. One that takes long is not waited for. But a configuration is
// refused with which a store that is open now would not open again.
func (a *App) Start() error {
	c, err := a.acquire()
	if err != nil {
		return err
	}
	if c.opened.Load() != nil {
		if err := a.provider.Check(); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	if err := c.metrics.register(a.ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if app := a.http(); app != nil {
		c.tracing.find(app)
		for _, server := range behindProxy(app) {
			a.logger.Error("benti_webhooks sees no call where it is behind reverse_proxy; put it in front", zap.String("server", server))
		}
	}
	c.join(a)
	c.awaitFirstTry(startPatience)
	return nil
}

// Stop ends deliveries, unless another configuration goes on with them. Attempts in flight may finish
// within the grace period.
func (a *App) Stop() error {
	c := a.core.Load()
	if c == nil {
		return nil
	}
	ctx, cancel := a.grace()
	defer cancel()
	c.leave(ctx, a)
	return nil
}

// grace bounds how long attempts in flight are waited for. Without a grace period each of them is
// bounded by its own timeout.
func (a *App) grace() (context.Context, context.CancelFunc) {
	if app := a.http(); app != nil && app.GracePeriod > 0 {
		return context.WithTimeout(context.Background(), time.Duration(app.GracePeriod))
	}
	return context.WithCancel(context.Background())
}

// http returns the http app of the configuration, nil if there is none.
func (a *App) http() *caddyhttp.App {
	module, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	app, _ := module.(*caddyhttp.App)
	return app
}

// Cleanup gives back the core, if this configuration ever held it. Caddy calls it too for a configuration
// that could not be started, and which may still have its place in the core.
func (a *App) Cleanup() error {
	a.mu.Lock()
	held := a.held
	a.held, a.cleaned = false, true
	a.mu.Unlock()
	if !held {
		return nil
	}
	ctx, cancel := a.grace()
	defer cancel()
	c := a.core.Load()
	c.leave(ctx, a)
	if c.idle() {
		c.awaitLater(ctx)
	}
	return c.release()
}

// acquire returns the core, which this configuration holds until Cleanup. The server may hand requests to
// our handlers before Start, so they come here, too. After Cleanup the core may be closed: good enough
// for a look at its webhooks, which is all that is done with it without a hold of the request's own.
func (a *App) acquire() (*core, error) {
	if c := a.core.Load(); c != nil {
		return c, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.core.Load(); c != nil {
		return c, nil
	}
	if a.cleaned {
		return nil, errors.New("this configuration is no longer in use")
	}
	c, err := holdCore(a)
	if err != nil {
		return nil, err
	}
	a.held = true
	a.core.Store(c)
	return c, nil
}

func parseCIDR(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a range of addresses such as 10.20.0.0/16 or fd00::/8", s)
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length; did you mean %s?", s, prefix.Masked())
	}
	return prefix, nil
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
