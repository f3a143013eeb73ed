package caddymodule

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func listenCommand() *cobra.Command {
	d := &developmentReceiver{}
	var address, certificate string
	var plain bool
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Receives webhooks and prints them, for development",
		Long: `Starts a receiver that agrees to every handshake, takes every delivery, and prints what it gets. It
stays up until Ctrl-C.

It makes a certificate for localhost and this machine's name, and shows the lines of the Caddyfile that have
the server trust it and reach it. With --plain it speaks HTTP, for use behind a tunnel or proxy that has TLS.

With --secret both signatures of each delivery are verified. --status and --delay make a receiver that
fails or is slow.`,
		Example: `  caddy benti listen --secret SomeRandomString
  caddy benti listen --status 503 --delay 2s`,
		Args: cobra.NoArgs,
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) (int, error) {
			if d.status < 200 || d.status > 599 {
				return exitFailed, fmt.Errorf("--status: %d is not from 200 to 599", d.status)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			d.out = cmd.OutOrStdout()
			if err := d.serve(ctx, address, certificate, plain); err != nil {
				return exitFailed, err
			}
			return exitOK, nil
		}),
	}
	flags := cmd.Flags()
	flags.StringVarP(&address, "listen", "l", "127.0.0.1:8443", "the address to listen on")
	flags.StringVar(&certificate, "certificate", "benti-listen.pem", "the file of the certificate; it is made if there is none")
	flags.BoolVar(&plain, "plain", false, "speak HTTP without TLS")
	flags.StringVar(&d.secret, "secret", "", "verify signatures with this secret")
	flags.IntVar(&d.status, "status", 200, "the status that deliveries are answered with")
	flags.DurationVar(&d.delay, "delay", 0*time.Second, "how long to wait before the answer")
	flags.BoolVar(&d.json, "json", false, "print JSON, one object a line")
	return cmd
}
