package e2e

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// image is what deploy/Dockerfile says.
type image struct {
	copied  []string // sources from the tree
	run     []string // commands of the stage that builds
	user    string
	env     map[string]string
	volume  string
	exposed []string
	command []string // entry point and its arguments
}

func readImage(t *testing.T) *image {
	t.Helper()
	i := &image{env: make(map[string]string)}
	text := strings.ReplaceAll(string(read(t, "../deploy/Dockerfile")), "\\\n", " ")
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		words := strings.Fields(rest)
		switch name {
		case "COPY":
			if !strings.HasPrefix(rest, "--from=build ") {
				i.copied = append(i.copied, words[:len(words)-1]...)
			}
		case "RUN":
			i.run = append(i.run, rest)
		case "USER":
			i.user, _, _ = strings.Cut(rest, ":")
		case "ENV":
			for _, word := range words {
				key, value, _ := strings.Cut(word, "=")
				i.env[key] = value
			}
		case "VOLUME":
			i.volume = rest
		case "EXPOSE":
			i.exposed = words
		case "ENTRYPOINT", "CMD":
			var part []string
			if err := json.Unmarshal([]byte(rest), &part); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			i.command = append(i.command, part...)
		case "", "#", "FROM", "WORKDIR", "ARG":
		default:
			t.Errorf("unknown instruction: %s", line)
		}
	}
	return i
}

// config is the file that the command names.
func (i *image) config() string { return i.command[slices.Index(i.command, "--config")+1] }

// cleanTree is a copy of what an engine is sent: what git knows of, without what .dockerignore leaves out.
func cleanTree(t *testing.T) string {
	t.Helper()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = ".."
	names, err := list.Output()
	if err != nil {
		t.Skipf("the tree is no checkout of git: %v", err)
	}
	ignored := strings.Fields(string(read(t, "../.dockerignore")))
	tree := t.TempDir()
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		out := func(pattern string) bool {
			pattern = strings.TrimPrefix(pattern, "/")
			return name == pattern || strings.HasPrefix(name, pattern+"/")
		}
		if slices.ContainsFunc(ignored, out) {
			continue
		}
		if err := os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := copyFile(filepath.Join("..", name), filepath.Join(tree, name), 0o600); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return tree
}

// static reports whether the binary is one that was made without cgo, as a release is.
func static(t *testing.T) bool {
	t.Helper()
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return !slices.ContainsFunc(file.Progs, func(segment *elf.Prog) bool { return segment.Type == elf.PT_INTERP })
}

// The commands of the Dockerfile work on a clean copy of the tree. Compiling all of Caddy anew takes minutes, so it is done
// where a release was built just before; otherwise go says what it would do, for which every file must be there.
func TestImageIsBuiltFromACleanTree(t *testing.T) {
	t.Parallel()
	i, tree, out := readImage(t), cleanTree(t), t.TempDir()
	released := os.Getenv("BENTI_E2E_BINARY") != "" && static(t)
	for _, source := range i.copied {
		if _, err := os.Stat(filepath.Join(tree, source)); err != nil {
			t.Errorf("COPY: %v", err)
		}
	}
	for _, command := range i.run {
		if command == "go mod download" {
			continue // they are here already, and the network may not be
		}
		command = strings.ReplaceAll(command, "/out", out)
		if !released {
			command = strings.Replace(command, "go build", "go build -n", 1)
		}
		cmd := exec.Command("/bin/sh", "-c", command)
		cmd.Dir, cmd.Env = tree, append(os.Environ(), "VERSION=v0.0.0")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%.4000s", command, err, text)
		}
	}
	if released {
		if text, err := exec.Command(filepath.Join(out, "caddy"), "list-modules").Output(); err != nil || !strings.Contains(string(text), "benti_webhooks") {
			t.Errorf("what was built: %v, %.200s", err, text)
		}
	}
	for name, mode := range map[string]os.FileMode{"data": 0o700 | os.ModeDir, "tmp": 0o777 | os.ModeDir | os.ModeSticky} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// The command of the image runs as its user, who may write to nothing but the volume.
func TestEntryPointOfTheImageRunsAsItsUser(t *testing.T) {
	t.Parallel()
	i := readImage(t)
	id, err := strconv.ParseUint(i.user, 10, 32)
	if err != nil || id == 0 {
		t.Fatalf("the user is %q, want a number that is not root's", i.user)
	}
	root, err := os.MkdirTemp("", "benti-image-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	place := func(path string) string { return filepath.Join(root, path) } // of the image, here
	for _, dir := range []string{i.volume, filepath.Dir(i.config()), filepath.Dir(i.command[0])} {
		if err := os.MkdirAll(place(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Chmod(root, 0o755), copyFile(binary, place(i.command[0]), 0o755), copyFile("../Caddyfile.example", place(i.config()), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	args := slices.Clone(i.command[1:])
	args[slices.Index(args, i.config())] = place(i.config())
	cmd := exec.Command(place(i.command[0]), args...)
	cmd.Dir = "/"
	cmd.Env = []string{
		"BENTI_ADMIN=localhost:" + strconv.Itoa(freePort(t)), "BENTI_SITE=http://localhost:" + strconv.Itoa(freePort(t)),
		"BENTI_DASHBOARD=http://localhost:" + strconv.Itoa(freePort(t)),
	}
	for name, value := range i.env {
		if !strings.HasPrefix(value, i.volume) {
			t.Errorf("%s=%s is not on the volume %s", name, value, i.volume)
		}
		cmd.Env = append(cmd.Env, name+"="+place(value))
	}
	if os.Getuid() == 0 {
		if err := os.Chown(place(i.volume), int(id), int(id)); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}}
	}
	runs(t, cmd)
	if _, err := os.Stat(filepath.Join(place(i.env["BENTI_DATA"]), "reserve")); err != nil {
		t.Errorf("the store is not on the volume: %v", err)
	}
}

// runs starts a server, waits until it serves with its store open, and stops it.
func runs(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out := new(output)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd.Wait()
	}()
	if !out.await(0, "serving initial configuration", done) || !out.await(0, "store is open", done) {
		text, _ := out.from(0)
		t.Errorf("does not start: %s", text)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	<-done
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
