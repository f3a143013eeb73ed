package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func replayCommand() *cobra.Command {
	var server serverFlags
	var filter filterFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "replay [ID]",
		Short: "Has deliveries made again",
		Long: `Has one delivery made again, dead or delivered, or all that the filters choose. The id and the body stay the
same, so that receivers can tell. A filter is needed; what it chooses is counted and shown, and must be confirmed.
Without --state it is dead deliveries; --state any is dead and delivered ones.

Exit codes: 0 replayed, 1 failed, 4 nothing to replay, or not confirmed.`,
		Example: `  caddy benti replay 01a20f33-7de8-7d40-938a-7ca2a1a3bc59
  caddy benti replay --state dead --since 1d --yes`,
		Args: cobra.MaximumNArgs(1),
		RunE: withExitCode(func(cmd *cobra.Command, ids []string) (int, error) {
			switch {
			case len(ids) == 1 && !filter.empty():
				return exitFailed, errors.New("either an id or filters, not both")
			case len(ids) == 1:
				return replayOne(cmd, &server, ids[0])
			case filter.empty():
				return exitFailed, errors.New("give the id of a delivery, or a filter such as --state dead")
			}
			query, err := filter.query(time.Now())
			if err != nil {
				return exitFailed, err
			}
			return replayChosen(cmd, &server, query, yes)
		}),
	}
	server.add(cmd.Flags())
	filter.add(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func replayOne(cmd *cobra.Command, server *serverFlags, id string) (int, error) {
	if err := server.post(adminPath+"deliveries/"+pathSegment(id)+"/replay", nil, nil); err != nil {
		return exitFailed, fmt.Errorf("replaying %s: %w", id, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: pending\n", id)
	return exitOK, nil
}

// replayChosen counts, asks, and has the server replay in steps, so that it can tell how far it is.
func replayChosen(cmd *cobra.Command, server *serverFlags, filter url.Values, yes bool) (int, error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	total, err := countChosen(ctx, server, filter)
	if err != nil {
		return exitFailed, err
	}
	if total == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "no delivery is chosen by the filters")
		return exitNo, nil
	}
	if !yes {
		ok, err := confirm(cmd, fmt.Sprintf("Replay %d deliveries?", total))
		if err != nil {
			return exitFailed, err
		}
		if !ok {
			return exitNo, nil
		}
	}
	done, err := replaySteps(ctx, server, filter, &progress{w: cmd.ErrOrStderr(), total: total})
	fmt.Fprintf(cmd.OutOrStdout(), "%d deliveries are pending again\n", done.Replayed)
	if done.Skipped > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%d were left alone, as their webhook is disabled, gone or deleted\n", done.Skipped)
	}
	if err != nil {
		return exitFailed, err
	}
	return exitOK, nil
}

// countChosen counts by going through the listing. A replay without a state is for dead ones; "any" is for those and
// delivered ones.
func countChosen(ctx context.Context, server *serverFlags, filter url.Values) (total int, err error) {
	states := []string{filter.Get("state")}
	switch states[0] {
	case "":
		states = []string{"dead"}
	case "any":
		states = []string{"dead", "delivered"}
	}
	for _, state := range states {
		query := maps.Clone(filter)
		query.Set("state", state)
		for cursor := ""; ; {
			page, err := server.deliveries(query, maxListed, cursor)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return 0, err
			}
			total += len(page.Data)
			if cursor = page.next(); cursor == "" {
				break
			}
		}
	}
	return total, nil
}

// replayStep is what the server tells of a step.
type replayStep struct {
	Replayed int     `json:"replayed"`
	Skipped  int     `json:"skipped"` // of webhooks that get nothing
	Next     *string `json:"next"`
}

// replaySteps returns what was done, also when it was cut short.
func replaySteps(ctx context.Context, server *serverFlags, filter url.Values, bar *progress) (done replayStep, err error) {
	body := make(map[string]string)
	for name := range filter {
		body[name] = filter.Get(name)
	}
	for {
		var step replayStep
		if err := server.post(adminPath+"deliveries/replay", body, &step); err != nil {
			return done, fmt.Errorf("replaying: %w", err)
		}
		done.Replayed += step.Replayed
		done.Skipped += step.Skipped
		if step.Next == nil {
			bar.end()
			return done, nil
		}
		bar.show(done.Replayed + done.Skipped)
		if err := ctx.Err(); err != nil {
			return done, err
		}
		body["cursor"] = *step.Next
	}
}
