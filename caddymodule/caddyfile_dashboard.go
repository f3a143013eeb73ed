package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("benti_dashboard", parseDashboard)
	// Behind authentication, beside what else answers requests.
	httpcaddyfile.RegisterDirectiveOrder("benti_dashboard", httpcaddyfile.After, "metrics")
}

func parseDashboard(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	dashboard := new(Dashboard)
	if err := dashboard.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return dashboard, nil
}

// UnmarshalCaddyfile sets up the dashboard from Caddyfile tokens. Syntax:
//
//	benti_dashboard [<matcher>] {
//		authorize user | loopback | off
//	}
func (d *Dashboard) UnmarshalCaddyfile(disp *caddyfile.Dispenser) error {
	disp.Next() // benti_dashboard
	if disp.NextArg() {
		return disp.Errf("unexpected argument %q; the settings of benti_dashboard stand in a block", disp.Val())
	}
	block := settings{d: disp}
	return block.parse(map[string]func() error{
		"authorize": func() error { return block.choice(&d.Authorize, dashboardModes) },
	})
}

var _ caddyfile.Unmarshaler = (*Dashboard)(nil)
