package caddymodule

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// RegisterCommand adds "caddy benti" to Caddy's commands. example is the Caddyfile that "caddy benti demo"
// runs. It must be called once, from an init function.
func RegisterCommand(example []byte) {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "benti",
		Short: "Works with Bentihooks, webhooks for a legacy Benti API",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(
				statusCommand(), webhooksCommand(), deliveriesCommand(), replayCommand(),
				webhookCommand("ping", "Sends a test delivery to webhooks"), inDoubtCommand(),
				explainCommand(), listenCommand(), backupCommand(), restoreCommand(), demoCommand(example), migrateCommand(),
			)
		},
	})
}
