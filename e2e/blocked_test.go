package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// block puts a file where a directory should be, which keeps even root from using it, and returns what undoes that.
func block(t *testing.T, dir string) (restore func()) {
	t.Helper()
	aside := dir + ".aside"
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	moved := true
	if err := os.Rename(dir, aside); errors.Is(err, fs.ErrNotExist) {
		moved = false
	} else if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if !moved {
			return
		}
		if err := os.Rename(aside, dir); err != nil {
			t.Fatal(err)
		}
	}
}
