package caddymodule

import (
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// behindProxy names the servers of a configuration that have a benti_webhooks to which no call comes, because a reverse_proxy
// in front of it takes them all. Caddy itself puts them in order, but for the directives in a route block.
func behindProxy(app *caddyhttp.App) []string {
	var servers []string
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		server := app.Servers[name]
		var o order
		o.walk(server.Routes, false)
		for _, route := range server.NamedRoutes {
			o.walk(caddyhttp.RouteList{*route}, false)
		}
		if o.unreached {
			servers = append(servers, name)
		}
	}
	return servers
}

// order looks for handlers that no call comes to.
type order struct{ unreached bool }

// walk goes through routes, to which no call comes if taken, and reports whether none comes behind them.
func (o *order) walk(routes caddyhttp.RouteList, taken bool) bool {
	for i := range routes {
		route := &routes[i]
		behind := o.handlers(route.Handlers, taken)
		if always := len(route.MatcherSets) == 0 && route.Group == ""; always {
			taken = behind
		}
	}
	return taken
}

func (o *order) handlers(handlers []caddyhttp.MiddlewareHandler, taken bool) bool {
	for _, handler := range handlers {
		switch h := handler.(type) {
		case *Handler:
			o.unreached = o.unreached || taken
		case *reverseproxy.Handler:
			taken = taken || len(h.HandleResponse) == 0 // or it may go on, as forward_auth does
		case *caddyhttp.Subroute:
			taken = o.walk(h.Routes, taken)
		}
	}
	return taken
}
