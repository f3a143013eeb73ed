package caddymodule

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"golang.org/x/net/http/httpguts"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("benti", parseApp)
}

// parseApp parses the global option benti.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // for the error to name the line
		return nil, d.Err("the global option benti is given twice")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "benti", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. Syntax:
//
//	benti {
//		store <engine> ...
//		delivery {
//			timeout         <duration>
//			max_concurrent  <count>
//			max_per_webhook <count>
//			retry           <duration...>
//			allow_cidr      <range...>
//			allow_ports     <port...>
//			trust_pool      <module> ...
//			header          <name> <value>
//			secret_overlap  <duration>
//		}
//		retention <duration>
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // benti
	if d.NextArg() {
		return d.Errf("unexpected argument %q; the settings of benti stand in a block", d.Val())
	}
	block := settings{d: d}
	return block.parse(map[string]func() error{
		"store":     func() error { return a.parseStore(d) },
		"retention": func() error { return block.duration(&a.Retention) },
		"delivery": func() error {
			a.Delivery = new(Delivery)
			return a.Delivery.unmarshal(d)
		},
	})
}

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("store needs the name of an engine, such as badger")
	}
	engine := d.Val()
	if _, err := caddy.GetModule("benti.stores." + engine); err != nil {
		return d.Errf("there is no store %q; allowed are %s", engine, modulesIn("benti.stores"))
	}
	module, err := caddyfile.UnmarshalModule(d, "benti.stores."+engine)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(module, "engine", engine, nil)
	return nil
}

// modulesIn lists the modules of a namespace that are in this binary.
func modulesIn(namespace string) string {
	var names []string
	for _, module := range caddy.GetModules(namespace) {
		names = append(names, module.ID.Name())
	}
	return strings.Join(names, ", ")
}

func (v *Delivery) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q; the settings of delivery stand in a block", d.Val())
	}
	block := settings{d: d, repeatable: []string{"allow_cidr", "header"}}
	block.check = func() error {
		config := v.config()
		return config.Validate()
	}
	return block.parse(map[string]func() error{
		"timeout":         func() error { return block.duration(&v.Timeout) },
		"max_concurrent":  func() error { return block.count(&v.MaxConcurrent) },
		"max_per_webhook": func() error { return block.count(&v.MaxPerWebhook) },
		"secret_overlap":  func() error { return block.duration(&v.SecretOverlap) },
		"retry":           func() error { return v.parseRetry(&block) },
		"allow_cidr":      func() error { return v.parseAllowCIDR(&block) },
		"allow_ports":     func() error { return v.parseAllowPorts(&block) },
		"trust_pool":      func() error { return v.parseTrustPool(d) },
		"header":          func() error { return v.parseHeader(d) },
	})
}

func (v *Delivery) parseRetry(block *settings) error {
	values, err := block.args()
	if err != nil {
		return err
	}
	for _, value := range values {
		wait, err := block.parseDuration("retry", value)
		if err != nil {
			return err
		}
		v.Retry = append(v.Retry, wait)
	}
	return nil
}

func (v *Delivery) parseAllowCIDR(block *settings) error {
	values, err := block.args()
	if err != nil {
		return err
	}
	for _, value := range values {
		if _, err := parseCIDR(value); err != nil {
			return block.d.Errf("allow_cidr: %v", err)
		}
		v.AllowCIDR = append(v.AllowCIDR, value)
	}
	return nil
}

func (v *Delivery) parseAllowPorts(block *settings) error {
	values, err := block.args()
	if err != nil {
		return err
	}
	for _, value := range values {
		port, err := strconv.ParseUint(value, 10, 16)
		if err != nil || port == 0 {
			return block.d.Errf("allow_ports: %q is not a port from 1 to 65535", value)
		}
		v.AllowPorts = append(v.AllowPorts, uint16(port))
	}
	return nil
}

func (v *Delivery) parseTrustPool(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("trust_pool needs the name of a source; allowed are %s", modulesIn("tls.ca_pool.source"))
	}
	name := d.Val()
	if _, err := caddy.GetModule("tls.ca_pool.source." + name); err != nil {
		return d.Errf("trust_pool: there is no source %q; allowed are %s", name, modulesIn("tls.ca_pool.source"))
	}
	module, err := caddyfile.UnmarshalModule(d, "tls.ca_pool.source."+name)
	if err != nil {
		return err
	}
	v.TrustPoolRaw = caddyconfig.JSONModuleObject(module, "provider", name, nil)
	return nil
}

func (v *Delivery) parseHeader(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("header takes a name and a value")
	}
	name, value := args[0], args[1]
	if !httpguts.ValidHeaderFieldName(name) {
		return d.Errf("header: %q is not the name of a header", name)
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return d.Errf("header: the value of %s holds what cannot stand in a header", name)
	}
	if v.Header == nil {
		v.Header = make(http.Header)
	}
	v.Header.Add(name, value)
	return nil
}

var _ caddyfile.Unmarshaler = (*App)(nil)
