// Command bench measures Bentihooks against the limits of the machine it runs on: the proxy against a plain
// reverse_proxy, the store against a bare loop of its database, deliveries against a bare HTTP client. It starts
// everything itself and prints Markdown. It needs Linux.
//
// What is compared runs in turn, several times, within one run, and the figures are medians of these rounds: ratios
// hold on a busy machine, absolute figures are that machine's at that time.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// benchCase is one group of tables.
type benchCase struct {
	name, about string
	run         func(context.Context, *bench) error
	// apart is set for those that run only when they are named, or quickly: all together would take a quarter of an hour.
	apart bool
}

func cases() []benchCase {
	return []benchCase{
		{"proxy", "requests through the proxy against a plain reverse_proxy", runProxy, false},
		{"store", "durable enqueueing against a bare batching loop", runStore, false},
		{"emitter", "deliveries against a bare net/http client", runEmitter, false},
		{"endtoend", "request to receipt, also with bad receivers among the good ones", runEndToEnd, false},
		{"instance", "requests of an instance webhook, whose events share them, against those of an api webhook", runInstance, true},
		{"backlog", "traffic beside a million pending deliveries, or ten thousand webhooks", runBacklog, false},
		{"drain", "a million deliveries that are due, and the disk afterwards", runDrain, false},
		{"nats", "the store that instances share against bare JetStream publishing", runNATS, true},
		{"listing", "listings of a million deliveries, and replays of many", runListing, true},
		{"outage", "a receiver that comes back to a hundred thousand deliveries", runOutage, false},
	}
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == childArgument {
		if err := runChild(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the program without its process.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "run these `cases` alone, separated by commas; instance, nats and listing run only so, or with -quick")
	quick := flags.Bool("quick", false, "tiny sizes: whether everything works, not how fast")
	list := flags.Bool("list", false, "list the cases and exit")
	simulation := flags.Bool("simulate", false, "print what workloads need that no one machine can be given, and exit")
	dir := flags.String("dir", "", "`directory` for the data, on the disk to be measured (default that for temporary files)")
	profiles := flags.String("profiles", "", "existing `directory` for CPU and heap profiles, taken in rounds that are not counted")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *list {
		for _, c := range cases() {
			fmt.Fprintf(out, "%-10s%s\n", c.name, c.about)
		}
		return nil
	}
	if *simulation {
		return runSimulation(out)
	}
	chosen, err := choose(*only, *quick)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(*dir, "benti-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b, err := newBench(ctx, work, out)
	defer b.close()
	if err != nil {
		return err
	}
	b.quick, b.profiles = *quick, *profiles
	return b.runAll(ctx, chosen)
}

func choose(only string, quick bool) ([]benchCase, error) {
	if only == "" {
		return slices.DeleteFunc(cases(), func(c benchCase) bool { return c.apart && !quick }), nil
	}
	var chosen []benchCase
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(cases(), func(c benchCase) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no case %q; see -list", name)
		}
		chosen = append(chosen, cases()[i])
	}
	return chosen, nil
}

func (b *bench) runAll(ctx context.Context, chosen []benchCase) error {
	heading, err := machine(b.dir, b.binary)
	if err != nil {
		return err
	}
	fmt.Fprintln(b.out, heading)
	begun := time.Now()
	for _, c := range chosen {
		fmt.Fprintf(os.Stderr, "%4.0f s  %s: %s\n", time.Since(begun).Seconds(), c.name, c.about)
		if err := c.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if b.quick {
		fmt.Fprintf(b.out, "\nThis was a quick run: its figures mean nothing.\n")
		return nil
	}
	b.goals.note("The whole run took %s.", timeText(time.Since(begun)))
	return b.goals.write(b.out)
}
