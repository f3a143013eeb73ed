package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Dashboard))
}

// Dashboard serves pages for operators: how webhooks and deliveries of all projects fare, and the means to repair
// them. It answers every request that reaches it.
type Dashboard struct {
	// Who may use it. "user": requests that a user was authenticated for, so that {http.auth.user.id} is not empty.
	// "loopback": requests that this machine makes to itself by a loopback name. "off": whoever gets this far. Default: user.
	Authorize string `json:"authorize,omitempty"`

	app       *App
	logger    *zap.Logger
	crossSite *http.CrossOriginProtection
	streams   atomic.Int32 // event streams that are open
	stopping  chan struct{}
	stop      func() // closes stopping, once
}

var dashboardModes = []string{authorizeUser, authorizeLoopback, authorizeOff}

const (
	authorizeUser     = "user"
	authorizeLoopback = "loopback"
	authorizeOff      = "off"
)

// CaddyModule returns the Caddy module information.
func (*Dashboard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.benti_dashboard", New: func() caddy.Module { return new(Dashboard) }}
}

// Provision finds the benti app.
func (d *Dashboard) Provision(ctx caddy.Context) error {
	d.logger = ctx.Logger()
	d.crossSite = http.NewCrossOriginProtection()
	d.stopping = make(chan struct{})
	d.stop = sync.OnceFunc(func() { close(d.stopping) })
	if d.Authorize == "" {
		d.Authorize = authorizeUser
	}
	module, err := ctx.App("benti")
	if err != nil {
		return fmt.Errorf("getting benti app: %w", err)
	}
	d.app = module.(*App)
	// An event stream does not end by itself, and the server waits for it when the configuration is replaced.
	if module, err = ctx.App("events"); err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	if err := module.(*caddyevents.App).On("stopping", d); err != nil {
		return fmt.Errorf("subscribing to the end of the configuration: %w", err)
	}
	return nil
}

// Validate checks the settings.
func (d *Dashboard) Validate() error {
	if err := oneOf(d.Authorize, dashboardModes); err != nil {
		return fmt.Errorf("authorize %w", err)
	}
	return nil
}

// Handle ends the event streams when the configuration is about to stop.
func (d *Dashboard) Handle(context.Context, caddy.Event) error {
	d.stop()
	return nil
}

// Cleanup ends the event streams of a configuration that never started.
func (d *Dashboard) Cleanup() error {
	if d.stop != nil {
		d.stop()
	}
	return nil
}

// contentPolicy lets pages load what the dashboard itself serves and nothing else, and run nothing that stands in a page.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers the request.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	header := w.Header()
	header.Set("Content-Security-Policy", contentPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	// Not no-referrer: with it, browsers would not say where a form was posted from.
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	call := &dashboardCall{Dashboard: d, w: w, r: r, place: placeOf(r.URL.Path)}
	if err := d.allow(r); err != nil {
		return call.refuse(err)
	}
	if err := d.crossSite.Check(r); err != nil {
		return call.fail(problem{Code: http.StatusForbidden, Message: "the request came from another site"})
	}
	if err := call.serve(); err != nil {
		return call.fail(err)
	}
	return nil
}

// errNobody and errFar are why a request is refused.
var (
	errNobody = errors.New("no user is signed in")
	errFar    = errors.New("the request did not come from this machine")
)

func (d *Dashboard) allow(r *http.Request) error {
	switch d.Authorize {
	case authorizeOff:
		return nil
	case authorizeLoopback:
		if !fromLoopback(r) {
			return errFar
		}
		return nil
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return errNobody
	}
	if user, _ := repl.GetString("http.auth.user.id"); user == "" {
		return errNobody
	}
	return nil
}

// fromLoopback reports whether this machine makes the request to itself. The name in it must say so too: a page of a
// foreign site can have its own name looked up as 127.0.0.1, and a proxy on this machine brings other machines'
// requests, most often under their own name or with a header that tells.
func fromLoopback(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if _, forwarded := r.Header[name]; forwarded {
			return false
		}
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback() && loopbackName(r.Host)
}

func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

var (
	_ caddy.Provisioner           = (*Dashboard)(nil)
	_ caddy.Validator             = (*Dashboard)(nil)
	_ caddy.CleanerUpper          = (*Dashboard)(nil)
	_ caddyevents.Handler         = (*Dashboard)(nil)
	_ caddyhttp.MiddlewareHandler = (*Dashboard)(nil)
)
