package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// binary is the file under test, certs what receivers identify themselves with. Both are set once, before any test.
var (
	binary string
	certs  *authority
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "benti-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if certs, err = newAuthority(filepath.Join(dir, "ca.pem")); err != nil {
		return 1, fmt.Errorf("making certificates: %w", err)
	}
	binary = os.Getenv("BENTI_E2E_BINARY")
	if binary == "" {
		binary = filepath.Join(dir, "caddy")
		if err := build(binary); err != nil {
			return 1, fmt.Errorf("building the binary: %w", err)
		}
	}
	if code = m.Run(); code == 0 {
		err = goleak.Find()
	}
	return code, err
}

func build(to string) error {
	args := []string{"build", "-o", to}
	if os.Getenv("E2E_RACE") == "1" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "../cmd/caddy")...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}
