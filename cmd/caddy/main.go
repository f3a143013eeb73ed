// Command caddy is Caddy with its standard modules and Bentihooks, for those who build without xcaddy.
package main

import (
	_ "time/tzdata" // zone names work on machines without a zone database

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/bentihooks/bentihooks"
)

func main() {
	caddycmd.Main()
}
