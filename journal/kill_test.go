package journal

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	childWorkers = 8
	killRounds   = 12
)

// run starts this test binary in a role, lets it say some lines, kills it and returns all the whole lines it
// said. Every line is one write to a pipe, so what was said before the kill is there.
func run(t *testing.T, role, path string, lines int) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], path)
	cmd.Env = append(os.Environ(), childRole+"="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		said = append(said, strings.TrimSpace(line))
		if len(said) == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("child ended by itself: %v", err)
	}
	return said
}

// appendForever appends and drains as fast as it can. It says "+ name" once an append has returned, and "- name"
// before its batch counts as drained.
func appendForever(path string) {
	r, err := OpenReserve(path, minReserve)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for w := range childWorkers {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				err := r.Append([]byte(name + strings.Repeat("x", rand.IntN(3000))))
				if errors.Is(err, ErrFull) {
					err = r.Drain(func(records [][]byte) error {
						for _, record := range records {
							os.Stdout.WriteString("- " + nameOf(record) + "\n")
						}
						return nil
					})
				} else if err == nil {
					os.Stdout.WriteString("+ " + name + "\n")
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		}()
	}
	select {}
}

func nameOf(record []byte) string { return strings.TrimRight(string(record), "x") }

func TestAcknowledgedAppendsSurviveKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reserve")
	owed := make(map[string]bool)
	for range killRounds {
		drained := make(map[string]bool)
		for _, line := range run(t, "append", path, 1+rand.IntN(600)) {
			switch verb, name, _ := strings.Cut(line, " "); verb {
			case "+":
				owed[name] = true
			case "-":
				drained[name] = true
			}
		}
		for name := range drained {
			delete(owed, name)
		}
		r := open(t, path)
		if r.Corrupt() != 0 {
			t.Fatalf("%d damaged places after a mere kill", r.Corrupt())
		}
		there := make(map[string]bool)
		for _, record := range contents(t, r) {
			there[nameOf(record)] = true
		}
		for name := range owed {
			if !there[name] {
				t.Errorf("acknowledged %s is gone", name)
			}
		}
		if rand.IntN(2) == 0 {
			drain(t, r)
			clear(owed)
		}
		shut(t, r)
	}
}

// forwardForever notes and ends requests. It says "b path" after a Begin, "e path" before the End, and "f path"
// after it.
func forwardForever(path string) {
	f, _, err := OpenInFlight(path, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for w := range childWorkers {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("/%d/%d/%d", os.Getpid(), w, i)
				token := f.Begin(Entry{Method: "POST", Path: name, Project: "acme", Item: "ticket"})
				os.Stdout.WriteString("b " + name + "\n")
				os.Stdout.WriteString("e " + name + "\n")
				f.End(token)
				os.Stdout.WriteString("f " + name + "\n")
			}
		}()
	}
	select {}
}

func TestRequestsInFlightAtKillAreListed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inflight")
	total := 0
	for range killRounds {
		last := make(map[string]string)
		for _, line := range run(t, "forward", path, 1+rand.IntN(600)) {
			verb, name, _ := strings.Cut(line, " ")
			last[name] = verb
		}
		f, left := openNotes(t, path, 64)
		listed := make(map[string]bool)
		for _, e := range left {
			if listed[e.Path] {
				t.Errorf("%s is listed twice", e.Path)
			}
			listed[e.Path] = true
		}
		for name, verb := range last {
			if verb == "b" && !listed[name] {
				t.Errorf("%s was in flight and is not listed", name)
			}
			if verb == "f" && listed[name] {
				t.Errorf("%s had ended and is listed", name)
			}
		}
		total += len(left)
		if got := len(f.InDoubt()); got != total {
			t.Errorf("%d in doubt, want %d", got, total)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if total == 0 {
		t.Error("no kill met a request in flight: the test shows nothing")
	}
}
