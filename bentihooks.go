// Package bentihooks gives webhooks to a legacy Benti API: it registers the Caddy modules of
// caddymodule and the "caddy benti" command, so that
//
//	xcaddy build --with github.com/bentihooks/bentihooks
//
// makes a Caddy with everything in it.
package bentihooks

import (
	_ "embed"

	"github.com/bentihooks/bentihooks/caddymodule"
)

// exampleCaddyfile is what "caddy benti demo" runs.
//
//go:embed Caddyfile.example
var exampleCaddyfile []byte

func init() {
	caddymodule.RegisterCommand(exampleCaddyfile)
}
