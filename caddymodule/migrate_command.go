package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func migrateCommand() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "migrate --from STORE --to STORE",
		Short: "Copies webhooks and deliveries from one store to another",
		Long: `Copies all webhooks and their deliveries, with their attempts, from one store to another. No server may use the store that is
copied meanwhile. What is in the other store already is left as it is, so a migration that was cut off can be repeated.

A store is badger:PATH or nats:URL,URL with settings as in the Caddyfile behind a question mark:

  badger:/var/lib/caddy/.local/share/caddy/benti
  badger:/path?encryption_key={env.KEY}
  nats:nats://a:4222,nats://b:4222?prefix=bentihooks&replicas=3&creds=/etc/benti.creds`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return runMigrate(ctx, cmd.OutOrStdout(), from, to)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the `STORE` to copy")
	cmd.Flags().StringVar(&to, "to", "", "the `STORE` to copy to")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func runMigrate(ctx context.Context, out io.Writer, from, to string) error {
	if from == to {
		return errors.New("--from and --to are the same store")
	}
	source, err := openNamed(from)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer source.Close()
	target, err := openNamed(to)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	defer target.Close()
	bar := &progressBar{out: out}
	m, err := migrate(ctx, source, target, bar.show)
	bar.end()
	if err != nil {
		return fmt.Errorf("after %d of %d deliveries: %w; repeat the command to go on", m.Deliveries, m.Total, err)
	}
	counts, err := target.Counts(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Copied %d webhooks and %d deliveries. The store now holds %d pending, %d delivered and %d dead.\n",
		m.Webhooks, m.Deliveries, counts.Pending+counts.Delivering, counts.Delivered, counts.Dead)
	return nil
}

// progressBar draws over one line, ten times a second at most.
type progressBar struct {
	out   io.Writer
	drawn time.Time
	used  bool
}

func (b *progressBar) show(m migrated) {
	if time.Since(b.drawn) < 100*time.Millisecond && m.Deliveries < m.Total {
		return
	}
	const width = 40
	b.drawn, b.used = time.Now(), true
	filled := int(min(width*m.Deliveries/max(m.Total, 1), width))
	fmt.Fprintf(b.out, "\r[%s%s] %d of %d", strings.Repeat("=", filled), strings.Repeat(" ", width-filled), m.Deliveries, m.Total)
}

func (b *progressBar) end() {
	if b.used {
		fmt.Fprintln(b.out)
	}
}
