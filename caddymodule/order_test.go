package caddymodule

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestHandlersThatNoCallComesToAreFound(t *testing.T) {
	for _, row := range []struct {
		name, site string
		want       bool
	}{
		{"in front", "route {\nbenti_webhooks\nreverse_proxy 127.0.0.1:1\n}", false},
		{"put in order by Caddy", "reverse_proxy 127.0.0.1:1\nbenti_webhooks", false},
		{"behind", "route {\nreverse_proxy 127.0.0.1:1\nbenti_webhooks\n}", true},
		{"in a block behind", "route {\nreverse_proxy 127.0.0.1:1\nhandle /v1/* {\nbenti_webhooks\n}\n}", true},
		{"behind a block", "route {\nroute {\nreverse_proxy 127.0.0.1:1\n}\nbenti_webhooks\n}", true},
		{"behind one for some calls", "route {\nreverse_proxy /static/* 127.0.0.1:1\nbenti_webhooks\nreverse_proxy 127.0.0.1:2\n}", false},
		{"behind one of several blocks", "route {\nhandle /static/* {\nvars a b\n}\nhandle {\nreverse_proxy 127.0.0.1:1\n}\nbenti_webhooks\n}", false},
		{"in another block", "handle /static/* {\nreverse_proxy 127.0.0.1:1\n}\nhandle {\nbenti_webhooks\nreverse_proxy 127.0.0.1:2\n}", false},
		{"behind forward_auth", "route {\nforward_auth 127.0.0.1:1 {\nuri /auth\n}\nbenti_webhooks\nreverse_proxy 127.0.0.1:2\n}", false},
		{"behind, only for some calls", "@api path /v1/*\nroute @api {\nreverse_proxy 127.0.0.1:1\nbenti_webhooks\n}", true},
		{"behind, in a named route", "invoke api\n}\n&(api) {\nroute {\nreverse_proxy 127.0.0.1:1\nbenti_webhooks\n}", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			adapted, err := adapt("http://:8080 {\n" + row.site + "\n}\n")
			if err != nil {
				t.Fatal(err)
			}
			var config caddy.Config
			if err := json.Unmarshal(adapted, &config); err != nil {
				t.Fatal(err)
			}
			ctx, err := caddy.ProvisionContext(&config)
			if err != nil {
				t.Fatal(err)
			}
			app, err := ctx.App("http")
			if err != nil {
				t.Fatal(err)
			}
			if got := behindProxy(app.(*caddyhttp.App)); (len(got) > 0) != row.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
