package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// outputFlags say how a command shows what it got.
type outputFlags struct {
	json  bool
	watch time.Duration
}

func (f *outputFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print what the server answered, as JSON")
}

func (f *outputFlags) addWatch(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.watch, "watch", 0, "show it anew at this interval, until Ctrl-C")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
}

// clearScreen moves the cursor to the top left and clears what is below.
const clearScreen = "\x1b[H\x1b[2J"

// show runs a command once, or again and again.
func (f *outputFlags) show(cmd *cobra.Command, once func(w io.Writer) (int, error)) (int, error) {
	w := cmd.OutOrStdout()
	if f.watch == 0 {
		return once(w)
	}
	if f.watch < 100*time.Millisecond {
		return exitFailed, fmt.Errorf("--watch: %v is less than 100ms", f.watch)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ticker := time.NewTicker(f.watch)
	defer ticker.Stop()
	for {
		page := new(strings.Builder)
		if _, err := once(page); err != nil {
			fmt.Fprintln(page, err) // of a server that is being restarted, too
		}
		text := page.String()
		if !f.json {
			text = clearScreen + time.Now().Format(time.TimeOnly) + "\n" + text
		}
		if _, err := io.WriteString(w, text); err != nil {
			return exitFailed, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return exitOK, nil
		}
	}
}

// table writes rows, the first of which are the headings, in columns.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return t.Flush()
}

// moment writes a time for people, in their zone.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// confirm asks a question. Anything but y or yes is no.
func confirm(cmd *cobra.Command, question string) (bool, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if ok {
		if info, err := in.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return false, errNoTerminal
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(cmd.InOrStdin(), &answer); errors.Is(err, io.EOF) { // /dev/null is a device, too
		return false, errNoTerminal
	}
	answer = strings.ToLower(answer)
	return answer == "y" || answer == "yes", nil
}

// progress is a bar on a terminal's line.
type progress struct {
	w     io.Writer
	total int
}

const barWidth = 30

func (p *progress) show(done int) {
	done = min(done, p.total) // more may have come since it was counted
	filled := barWidth * done / max(p.total, 1)
	fmt.Fprintf(p.w, "\r[%s%s] %d of %d", strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled), done, p.total)
}

func (p *progress) end() {
	p.show(p.total)
	fmt.Fprintln(p.w)
}
