package caddymodule

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// sites are the HTTP servers of a configuration, provisioned for "caddy benti explain". Nothing listens, and no
// handler is there but those that decide which benti_webhooks a request reaches and how it looks there.
type sites struct {
	servers map[string]explained
	hosts   []string // of all host matchers
}

// keptHandlers are the handlers that change or direct a request on its way. All others are left out, because
// provisioning them may open files and connections.
var keptHandlers = []string{"benti_webhooks", "subroute", "invoke", "rewrite", "vars", "map"}

// provisionSites provisions the http app of a configuration in Caddy's JSON. The app benti is left at its
// defaults, as explaining needs neither store nor receivers; it is not started.
func provisionSites(config []byte) (*sites, error) {
	var whole struct {
		Apps struct {
			HTTP map[string]any `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &whole); err != nil {
		return nil, fmt.Errorf("reading config: %w", err)
	}
	s := &sites{servers: make(map[string]explained)}
	if err := s.prune(whole.Apps.HTTP); err != nil {
		return nil, err
	}
	app, err := json.Marshal(whole.Apps.HTTP)
	if err != nil {
		return nil, err
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
		AppsRaw: caddy.ModuleMap{"http": app},
	})
	if err != nil {
		return nil, fmt.Errorf("provisioning config: %w", err)
	}
	module, err := ctx.App("http")
	if err != nil {
		return nil, fmt.Errorf("getting http app: %w", err)
	}
	for name, srv := range module.(*caddyhttp.App).Servers {
		s.servers[name] = explained{srv}
	}
	return s, nil
}

// prune leaves what routes a request.
func (s *sites) prune(app map[string]any) error {
	servers, _ := app["servers"].(map[string]any)
	if len(servers) == 0 {
		return errors.New("the config has no sites")
	}
	for key := range app {
		if key != "servers" {
			delete(app, key)
		}
	}
	for _, value := range servers {
		server, _ := value.(map[string]any)
		for key := range server {
			if key != "routes" && key != "named_routes" && key != "listen" {
				delete(server, key)
			}
		}
		server["automatic_https"] = map[string]any{"disable": true}
		s.pruneRoutes(server)
		named, _ := server["named_routes"].(map[string]any)
		for _, route := range named {
			s.pruneRoutes(map[string]any{"routes": []any{route}})
		}
	}
	return nil
}

// pruneRoutes goes through what holds routes, and collects hosts.
func (s *sites) pruneRoutes(holder map[string]any) {
	routes, _ := holder["routes"].([]any)
	for _, value := range routes {
		route, _ := value.(map[string]any)
		matchers, _ := route["match"].([]any)
		for _, set := range matchers {
			matcherSet, _ := set.(map[string]any)
			hosts, _ := matcherSet["host"].([]any)
			for _, host := range hosts {
				if text, ok := host.(string); ok && !slices.Contains(s.hosts, text) {
					s.hosts = append(s.hosts, text)
				}
			}
		}
		handlers, _ := route["handle"].([]any)
		kept := []any{}
		for _, value := range handlers {
			handler, _ := value.(map[string]any)
			name, _ := handler["handler"].(string)
			if name == "reverse_proxy" && handler["handle_response"] == nil {
				kept = append(kept, map[string]any{"handler": "static_response"}) // stands for what takes all calls
				continue
			}
			if !slices.Contains(keptHandlers, name) {
				continue
			}
			if name == "subroute" {
				delete(handler, "errors")
				s.pruneRoutes(handler)
			}
			kept = append(kept, handler)
		}
		route["handle"] = kept
	}
}

// explain explains an exchange. If anyHost is set, the URL's host was made up: the hosts of the config are tried
// in its place, and the one with a row for the request counts, or else one that has a benti_webhooks.
func (s *sites) explain(x *exchange, anyHost bool) (*explanation, error) {
	hosts := []string{""}
	if anyHost {
		hosts = append(hosts, s.hosts...)
	}
	var best *explanation
	for _, host := range hosts {
		for _, name := range slices.Sorted(maps.Keys(s.servers)) {
			e, err := s.servers[name].explain(x, host)
			if err != nil {
				return nil, err
			}
			if e.rank() > best.rank() {
				best = e
			}
		}
	}
	if best != nil {
		return best, nil
	}
	reason := "the request reaches no benti_webhooks, or a reverse_proxy before it"
	if len(s.hosts) > 0 {
		reason += "; the hosts of the config are " + strings.Join(s.hosts, ", ")
	}
	return &explanation{Method: x.method, URL: x.url, Status: x.status, Outcome: outcomeUnreached, Reason: reason}, nil
}

// rank tells how much is known of a request that a host was tried for. It is 0 for nil.
func (e *explanation) rank() int {
	switch {
	case e == nil:
		return 0
	case e.Row != nil:
		return 3
	case e.Outcome == outcomeAPI:
		return 2
	default:
		return 1
	}
}

// explained is one of the HTTP servers.
type explained struct{ *caddyhttp.Server }

// explain returns nil if no benti_webhooks is reached.
func (s explained) explain(x *exchange, host string) (*explanation, error) {
	r, err := x.request(s.Server, host)
	if err != nil {
		return nil, err
	}
	f := &finder{server: s.Server, groups: make(map[string]bool)}
	if _, err := f.walk(s.Routes, r); err != nil {
		return nil, fmt.Errorf("routing the request: %w", err)
	}
	if f.found == nil {
		return nil, nil //nolint:nilnil // see above
	}
	e := f.found.explain(x, f.request)
	e.Host = host
	return e, nil
}

// request makes the request of an exchange as the server would see it.
func (x *exchange) request(server *caddyhttp.Server, host string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(context.Background(), x.method, x.url, bytes.NewReader(x.body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	r.Header = x.header.Clone()
	r.RemoteAddr, r.RequestURI = "127.0.0.1:1", r.URL.RequestURI()
	if len(x.body) == 0 {
		r.Body = http.NoBody
	}
	if r.URL.Scheme == "https" {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	if host != "" {
		r.Host = strings.Replace(host, "*", "any", 1)
	}
	r.URL.Scheme, r.URL.Host = "", "" // as in a request that a server gets
	repl := caddy.NewReplacer()
	for name, value := range x.values {
		repl.Set(name, value)
	}
	return caddyhttp.PrepareRequest(r, repl, newRecorder(0), server), nil
}

// finder looks for the benti_webhooks that a request reaches, the way Caddy's routes are walked.
type finder struct {
	server  *caddyhttp.Server
	groups  map[string]bool // of which a route has matched
	found   *Handler
	request *http.Request // as found gets it
}

// walk goes through routes and reports whether the walk ends there.
func (f *finder) walk(routes caddyhttp.RouteList, r *http.Request) (ended bool, err error) {
	for i := range routes {
		if ended, err := f.enter(&routes[i], r); ended || err != nil {
			return ended, err
		}
	}
	return false, nil
}

func (f *finder) enter(route *caddyhttp.Route, r *http.Request) (ended bool, err error) {
	if f.groups[route.Group] {
		return false, nil
	}
	matches, err := route.MatcherSets.AnyMatchWithError(r)
	if err != nil || !matches {
		return false, err
	}
	if route.Group != "" {
		f.groups[route.Group] = true
	}
	for _, handler := range route.Handlers {
		switch h := handler.(type) {
		case *Handler:
			f.found, f.request = h, r
			return true, nil
		case *caddyhttp.StaticResponse:
			return true, nil
		case *caddyhttp.Subroute:
			ended, err = f.walk(h.Routes, r)
		case *caddyhttp.Invoke:
			if named := f.server.NamedRoutes[h.Name]; named != nil {
				ended, err = f.enter(named, r)
			}
		default: // rewrites and variables, which change the request in place
			err = h.ServeHTTP(newRecorder(0), r, passOn)
		}
		if ended || err != nil {
			return ended, err
		}
	}
	return route.Terminal, nil
}

// passOn ends the part of a handler that comes before the next.
var passOn = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
