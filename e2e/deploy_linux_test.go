package e2e

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestUnitFileIsSound(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	unit, err := os.ReadFile("../deploy/bentihooks.service")
	if err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "bentihooks.service")
	text := strings.ReplaceAll(string(unit), "/usr/local/bin/bentihooks", absolute)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", name).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", name).CombinedOutput() // 2.0 of 10
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// This is what the Dockerfile makes, without an engine: the binary, two folders, and the hosts file that engines add;
// no libraries, no users, no shell.
func TestStaticBinaryRunsInAnEmptyRoot(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if !static(t) {
		t.Skip("needs a static binary, made with CGO_ENABLED=0, in BENTI_E2E_BINARY")
	}
	root, err := os.MkdirTemp("", "benti-root-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	for _, dir := range []string{"usr/bin", "etc/caddy", "tmp", "data"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const user = 65532
	for _, err := range []error{
		os.Chmod(root, 0o755), os.Chmod(filepath.Join(root, "tmp"), os.ModeSticky|0o777),
		os.Chown(filepath.Join(root, "data"), user, user), os.Chmod(filepath.Join(root, "data"), 0o700),
		copyFile(binary, filepath.Join(root, "usr/bin/caddy"), 0o755),
		os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o600), os.Chmod(filepath.Join(root, "etc/hosts"), 0o644),
		copyFile("../Caddyfile.example", filepath.Join(root, "etc/caddy/Caddyfile"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	admin := freePort(t)
	cmd := exec.Command("/usr/bin/caddy", "run", "--config", "/etc/caddy/Caddyfile")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}}
	cmd.Env = []string{
		"XDG_DATA_HOME=/data", "XDG_CONFIG_HOME=/data/config", "BENTI_DATA=/data/benti",
		"BENTI_ADMIN=localhost:" + strconv.Itoa(admin), "BENTI_SITE=http://localhost:" + strconv.Itoa(port),
	}
	runs(t, cmd)
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}
