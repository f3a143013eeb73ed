package caddymodule

import (
	"errors"
	"fmt"
	"strings"

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
			cmd.RunE = withExitCode(unknownCommand)
			cmd.AddCommand(
				statusCommand(), webhooksCommand(), deliveriesCommand(), replayCommand(),
				webhookCommand("ping", "Sends a test delivery to webhooks"), inDoubtCommand(),
				explainCommand(), listenCommand(), backupCommand(), restoreCommand(), demoCommand(example), migrateCommand(),
			)
		},
	})
}

// unknownCommand stands in for a command that there is not, for which cobra would print the help and report success.
func unknownCommand(cmd *cobra.Command, args []string) (int, error) {
	if len(args) == 0 {
		return exitOK, cmd.Help()
	}
	message := fmt.Sprintf("there is no command %q", args[0])
	if cmd.SuggestionsMinimumDistance == 0 { // cobra sets it for its own use only
		cmd.SuggestionsMinimumDistance = 2
	}
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		message += "; did you mean " + strings.Join(similar, " or ") + "?"
	}
	return exitFailed, errors.New(message + " See: " + cmd.CommandPath() + " --help")
}
