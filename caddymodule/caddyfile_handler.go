package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bentihooks/bentihooks/matcher"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("benti_webhooks", parseHandler)
	// Inside encode, so that plain bytes are seen, and authentication, so that only accepted calls are; ahead
	// of handle, route and reverse_proxy, wherever these stand.
	httpcaddyfile.RegisterDirectiveOrder("benti_webhooks", httpcaddyfile.Before, "invoke")
}

func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	benti_webhooks [<matcher>] {
//		project          <text>
//		source           api | instance
//		prefix           <path>
//		actor            <placeholder...>
//		authorize        upstream [<path>] | bearer <token...> | user | off
//		durability       sync | async
//		on_store_failure pass | reject
//		body_limit       <size>
//		webhooks_api     on | off
//		route <action> <item> <method> <path> {
//			id     <placeholder...>
//			parent <placeholder...>
//		}
//		field <name> <path...>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // benti_webhooks
	if d.NextArg() {
		return d.Errf("unexpected argument %q; the settings of benti_webhooks stand in a block", d.Val())
	}
	block := settings{d: d, repeatable: []string{"route", "field"}}
	err := block.parse(map[string]func() error{
		"project":          func() error { return h.parseProject(&block) },
		"source":           func() error { return block.choice(&h.Source, sources) },
		"prefix":           func() error { return h.parsePrefix(&block) },
		"actor":            func() error { return parsePlaceholders(&block, &h.Actor) },
		"authorize":        func() error { return h.parseAuthorize(d) },
		"durability":       func() error { return block.choice(&h.Durability, durabilities) },
		"on_store_failure": func() error { return block.choice(&h.OnStoreFailure, storeFailures) },
		"body_limit":       func() error { return block.size(&h.BodyLimit, 1, maxBodyLimit) },
		"webhooks_api":     func() error { return h.parseWebhooksAPI(&block) },
		"route":            func() error { return h.parseRoute(d) },
		"field":            func() error { return h.parseField(d) },
	})
	if err != nil {
		return err
	}
	// Only now, as source and authorize may stand behind.
	if name, err := h.foreign(); err != nil {
		return block.errorAt(name, err)
	}
	if err := h.checkClaims(); err != nil {
		return block.errorAt("project", err)
	}
	return nil
}

func (h *Handler) parseProject(block *settings) error {
	if err := block.text(&h.Project); err != nil {
		return err
	}
	if err := checkProject(h.Project); err != nil {
		return block.d.Errf("project: %v", err)
	}
	return nil
}

func (h *Handler) parsePrefix(block *settings) error {
	if err := block.text(&h.Prefix); err != nil {
		return err
	}
	if _, err := matcher.NewTable(h.Prefix, nil); err != nil {
		return block.d.WrapErr(err)
	}
	return nil
}

// parsePlaceholders reads candidates for a value, of which the first found wins.
func parsePlaceholders(block *settings, to *[]string) error {
	name := block.d.Val()
	values, err := block.args()
	if err != nil {
		return err
	}
	if _, err := parseSources(values); err != nil {
		return block.d.Errf("%s: %v", name, err)
	}
	*to = values
	return nil
}

func (h *Handler) parseAuthorize(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("authorize needs a mode: upstream, bearer, user or off")
	}
	a := &Authorize{Mode: args[0]}
	switch {
	case a.Mode == "bearer":
		a.Tokens = hideTokens(args[1:])
	case len(args) > 2 || (len(args) == 2 && a.Mode != "upstream"):
		return d.Errf("authorize %s: unexpected %q", a.Mode, args[len(args)-1])
	case len(args) == 2:
		a.Path = args[1]
	}
	a.setDefaults()
	if err := a.check(); err != nil {
		return d.Errf("authorize: %v", err)
	}
	h.Authorize = a
	return nil
}

func (h *Handler) parseWebhooksAPI(block *settings) error {
	var value string
	if err := block.choice(&value, []string{"on", "off"}); err != nil {
		return err
	}
	h.DisableWebhooksAPI = value == "off"
	return nil
}

func (h *Handler) parseRoute(d *caddyfile.Dispenser) error {
	var r Route
	if !d.AllArgs(&r.Action, &r.Item, &r.Method, &r.Path) {
		return d.Errf("route takes an action, an item, a method and a path, such as: route add media POST /media")
	}
	block := settings{d: d}
	err := block.parse(map[string]func() error{
		"id":     func() error { return parsePlaceholders(&block, &r.ID) },
		"parent": func() error { return parsePlaceholders(&block, &r.Parent) },
	})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(h.Routes, r.same) {
		return d.Errf("route %s %s is given twice", r.Method, r.Path)
	}
	row, err := r.row()
	if err == nil {
		_, err = matcher.NewTable("", []matcher.Row{row})
	}
	if err != nil {
		return d.WrapErr(err)
	}
	h.Routes = append(h.Routes, r)
	return nil
}

func (h *Handler) parseField(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Errf("field takes a name and at least one path, such as: field ticket.queue.id queue.id queue_id")
	}
	name, paths := args[0], args[1:]
	if _, twice := h.Fields[name]; twice {
		return d.Errf("field %s is given twice", name)
	}
	if _, err := matcher.NewRuleTable("", map[string][]string{name: paths}); err != nil {
		return d.WrapErr(err)
	}
	if h.Fields == nil {
		h.Fields = make(map[string][]string)
	}
	h.Fields[name] = paths
	return nil
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
