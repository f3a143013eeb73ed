package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// The test binary is started as a child too, in the place of the program.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childArgument {
		if err := runChild(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestQuickRuns(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the proxy")
	}
	for name, wanted := range map[string][]string{
		"store":    {" cores ", "Caddy v2.", "Badger v4.", "| store/badger, 100 deliveries a call |", "quick run"},
		"listing":  {"| `state=dead`: 1 found in ", "| dashboard: overview ", "| never answer ", "all arrived after", "quick run"},
		"backlog":  {"| empty store ", "| 500 webhooks ", "quick run"},
		"outage":   {"| another webhook, no outage ", "quick run"},
		"instance": {"| answers at once, 1000/s ", "| answers after 50ms, saturated ", "events a request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := run(t.Context(), []string{"-quick", "-only", name, "-dir", t.TempDir()}, &out); err != nil {
				t.Fatal(err)
			}
			for _, want := range wanted {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in the output:\n%s", want, out.String())
				}
			}
		})
	}
}

func TestUnknownCasesAreRefused(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), []string{"-only", "proxy,stoer"}, new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), `"stoer"`) {
		t.Errorf("got %v", err)
	}
}

func TestListNamesEveryCase(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-list"}, &out); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != len(cases()) {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
}
