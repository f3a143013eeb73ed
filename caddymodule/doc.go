// Package caddymodule is everything in Bentihooks that knows Caddy: the benti app, the benti_webhooks
// handler with the subscription API, the benti_dashboard handler, the Caddyfile syntax, placeholders, metrics and commands.
//
// What runs longer than a configuration, the open store and the emitter, is a core (core.go). Configurations
// hold it through a usage pool, so that a reload hands it over instead of closing and reopening it.
package caddymodule
