package caddymodule

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func demoCommand(example []byte) *cobra.Command {
	var once bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Shows a webhook at work, from registration to delivery",
		Long: `Starts a stub of the legacy API, a receiver with TLS, and the proxy from Caddyfile.example, all on
free ports of this machine. Registers a webhook through the subscription API, creates a ticket
through the proxy, and shows the event that the receiver got; then the same with an instance webhook.
Stays up until Ctrl-C, so that you can send calls of your own.

Everything it writes goes to a temporary folder, which it removes at the end. Exits with 1 and a
reason if an event does not arrive.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			d := &demo{example: example, out: cmd.OutOrStdout()}
			return d.run(ctx, once, timeout)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "exit as soon as the events have arrived")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long the events may take to arrive")
	return cmd
}

// run shows the demo, and stays up until ctx ends unless it is to be shown once.
func (d *demo) run(ctx context.Context, once bool, timeout time.Duration) (err error) {
	defer func() {
		if stopErr := d.stop(); err == nil {
			err = stopErr
		}
	}()
	if err := d.start(); err != nil {
		return fmt.Errorf("starting the demo: %w", err)
	}
	showCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := d.show(showCtx); err != nil {
		return fmt.Errorf("running the demo: %w", err)
	}
	if once {
		return nil
	}
	d.printHints()
	<-ctx.Done()
	return nil
}
