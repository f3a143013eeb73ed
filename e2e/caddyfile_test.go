package e2e

import (
	"fmt"
	"strings"
)

// config says what stands in a proxy's Caddyfile beside what every test needs: free ports, a directory of its own
// for the store, receivers on this machine. Each field holds lines.
type config struct {
	global   string // global options
	benti    string // settings of the global option benti
	store    string // settings of its store
	delivery string // settings of its delivery
	handler  string // settings of benti_webhooks
	site     string // directives of the site, beside benti_webhooks and reverse_proxy
	// caddyfile, if set, is the whole file instead, with the marks of [config.render].
	caddyfile string
	// public is for proxies that refuse receivers on this machine.
	public bool
}

const standardCaddyfile = `{
	admin unix/ADMIN
	debug
	auto_https off
	GLOBAL
	benti {
		store badger DATA STORE
		BENTI
		delivery {
			trust_pool file CA
			LOCAL
			DELIVERY
		}
	}
}
http://:PORT {
	SITE
	benti_webhooks {
		HANDLER
	}
	reverse_proxy UPSTREAM
}
`

// render fills in the marks of a Caddyfile.
func (c config) render(p *proxy) string {
	text := c.caddyfile
	if text == "" {
		text = standardCaddyfile
	}
	local := "allow_cidr 127.0.0.0/8 ::1/128"
	if c.public {
		local = ""
	}
	store := ""
	if c.store != "" {
		store = "{\n" + c.store + "\n}"
	}
	// Those with parts of others' names in theirs stand first.
	return strings.NewReplacer(
		"GLOBAL", c.global, "STORE", store, "BENTI", c.benti, "DELIVERY", c.delivery, "HANDLER", c.handler, "SITE", c.site, "LOCAL", local,
		"ADMIN", p.socket, "DATA", p.data, "CA", certs.file, "PORT", fmt.Sprint(p.port), "UPSTREAM", p.upstream.address(),
	).Replace(text)
}
