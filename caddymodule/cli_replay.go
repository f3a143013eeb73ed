package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	replayPage    = 500
	replayWorkers = 8
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

// replayChosen first finds out which deliveries it is about, so that it can tell how many and how far it is, and what
// is replayed does not turn up again in the listing.
func replayChosen(cmd *cobra.Command, server *serverFlags, query url.Values, yes bool) (int, error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ids, err := chosenIDs(ctx, server, query)
	if err != nil {
		return exitFailed, err
	}
	if len(ids) == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "no delivery is chosen by the filters")
		return exitNo, nil
	}
	if !yes {
		ok, err := confirm(cmd, fmt.Sprintf("Replay %d deliveries?", len(ids)))
		if err != nil {
			return exitFailed, err
		}
		if !ok {
			return exitNo, nil
		}
	}
	bar := &progress{w: cmd.ErrOrStderr(), total: len(ids)}
	done, err := replayAll(ctx, server, ids, bar)
	fmt.Fprintf(cmd.OutOrStdout(), "%d of %d deliveries are pending\n", done, len(ids))
	if err != nil {
		return exitFailed, err
	}
	return exitOK, nil
}

func chosenIDs(ctx context.Context, server *serverFlags, query url.Values) ([]string, error) {
	var ids []string
	for cursor := ""; ; {
		page, err := server.deliveries(query, replayPage, cursor)
		if err != nil {
			return nil, err
		}
		for i := range page.Data {
			ids = append(ids, page.Data[i].ID)
		}
		if page.Next == nil || *page.Next == "" || ctx.Err() != nil {
			return ids, ctx.Err()
		}
		cursor = *page.Next
	}
}

// replayAll replays until all are, or one fails, and returns how many were.
func replayAll(ctx context.Context, server *serverFlags, ids []string, bar *progress) (done int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan string)
	go func() {
		defer close(next)
		for _, id := range ids {
			select {
			case next <- id:
			case <-ctx.Done():
				return
			}
		}
	}()
	var work sync.WaitGroup
	var mu sync.Mutex // guards done and bar
	for range replayWorkers {
		work.Go(func() {
			for id := range next {
				if err := server.post(adminPath+"deliveries/"+pathSegment(id)+"/replay", nil, nil); err != nil {
					cancel(fmt.Errorf("replaying %s: %w", id, err))
					return
				}
				mu.Lock()
				done++
				bar.show(done)
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return done, context.Cause(ctx)
}
