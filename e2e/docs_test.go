package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fence is a block of a page: its language and its text.
var fence = regexp.MustCompile("(?m)^```([a-z]+)\n((?:[^`].*\n|\n|`[^`].*\n)*)```$")

// pages are those with commands and configs for users.
func pages(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("../docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	return append(names, "../README.md")
}

// blocks returns the texts of a page's blocks in a language.
func blocks(t *testing.T, page, language string) (texts []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		if block[1] == language {
			texts = append(texts, block[2])
		}
	}
	return texts
}

// Blocks marked sh are run; those marked console are illustrations.
func TestCommandsOfTheDocsWork(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		commands := blocks(t, page, "sh")
		if len(commands) == 0 {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			s := newDocScene(t)
			for _, block := range commands {
				s.run(block)
			}
		})
	}
}

// docScene is where the commands of a page are run.
type docScene struct {
	*proxy
	rc  *receiver
	run func(block string)
}

func newDocScene(t *testing.T) *docScene {
	t.Helper()
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s on PATH", tool)
		}
	}
	rc := newReceiver(t)
	s := &docScene{proxy: site(t, newUpstream(t), config{}), rc: rc}
	bin := filepath.Join(s.dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(absolute, filepath.Join(bin, "caddy")); err != nil {
		t.Fatal(err)
	}
	// Of curl, an answer that is an error is an error here.
	// The admin endpoint of the docs is where the proxy's is.
	curl := "#!/bin/sh\ncase \"$*\" in *localhost:2019*) set -- --unix-socket " + s.socket + " \"$@\";; esac\n" +
		"PATH=${PATH#*:} exec curl -sS --fail-with-body \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "curl"), []byte(curl), 0o700); err != nil {
		t.Fatal(err)
	}
	n := 0
	s.run = func(block string) {
		t.Helper()
		n++
		w, id := s.delivered(fmt.Sprintf("/%d", n))
		cmd := s.command(t.Context())
		cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "-euo", "pipefail", "-c", s.local(block, id)}
		cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"), "API="+s.url, "ID="+w.UUID, "JWT=x", "KEY=k", "TOKEN=x", "HOOKS_TOKEN=x")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\n%s", err, block, out)
		}
	}
	return s
}

// delivered is a webhook, and the id of a delivery that it got.
func (s *docScene) delivered(path string) (*webhook, string) {
	s.t.Helper()
	w := s.register("alert", s.rc.url(path))
	s.must(http.StatusCreated, http.MethodPost, "/v1/tickets/1/alerts", `{}`)
	return w, s.settled(w, "delivered").ID
}

var deliveryInDocs = regexp.MustCompile(`01a20a5[0-9a-f-]{29}`)

// local puts the scene in the place of the docs' hosts and ids.
func (s *docScene) local(block, delivery string) string {
	block = deliveryInDocs.ReplaceAllString(block, delivery)
	return strings.NewReplacer(
		"https://hooks.example.com", s.rc.url(""), "https://receiver.example", s.rc.url(""), "https://api.example.com", s.url,
	).Replace(block)
}

// Blocks marked caddyfile are whole files, or site blocks, or what stands in one.
func TestConfigsOfTheDocsAdapt(t *testing.T) {
	t.Parallel()
	p := site(t, newUpstream(t), config{})
	for _, page := range pages(t) {
		for _, block := range blocks(t, page, "caddyfile") {
			// By a server that runs, as starting a process for each takes seconds on a busy machine.
			if status, answer, err := p.adminCall(http.MethodPost, "/adapt", "text/caddyfile", block); err != nil || status != http.StatusOK {
				t.Errorf("%s: status %d, %v\n%s\n%s", page, status, err, block, answer)
			}
		}
	}
}
