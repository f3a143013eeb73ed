package badger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bentihooks/bentihooks/store/storetest"
)

// damages are what may happen to a file. They change b in place or return another content.
var damages = map[string]func(b []byte) []byte{
	"garbage all over":   func(b []byte) []byte { return garbage(b, 0, len(b)) },
	"garbage at its end": func(b []byte) []byte { return garbage(b, len(b)-min(len(b), 200), len(b)) },
	"zeros at its end":   func(b []byte) []byte { clear(b[len(b)/2:]); return b },
	"garbage in front":   func(b []byte) []byte { return garbage(b, 0, min(len(b), 200)) },
	"garbage inside":     func(b []byte) []byte { return garbage(b, len(b)/3, len(b)/2) },
	"a half":             func(b []byte) []byte { return b[:len(b)/2] },
	"three bytes":        func(b []byte) []byte { return b[:min(3, len(b))] },
	"nothing":            func([]byte) []byte { return nil },
}

func garbage(b []byte, from, to int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	for i := from; i < to; i++ {
		b[i] = byte(random.Uint32())
	}
	return b
}

// TestOpenDamaged opens the directories that the environment lists, and does nothing by itself. A child process does it because
// Badger panics in goroutines of its own.
func TestOpenDamaged(t *testing.T) {
	dirs := os.Getenv(victimDir)
	if dirs == "" {
		t.Skip("run by TestDamageNeverEndsTheProcess")
	}
	for dir := range strings.SplitSeq(dirs, "\n") {
		fmt.Println("opening", dir)
		s, err := Open(Options{Dir: dir, EncryptionKey: keyOf(dir)})
		if err != nil {
			fmt.Println("error", err)
			continue
		}
		fmt.Println("opened", s.Close())
	}
}

// keyOf is the key for directories whose name asks for one.
func keyOf(dir string) []byte {
	if strings.Contains(dir, "encrypted") {
		return bytes.Repeat([]byte{7}, 16)
	}
	return nil
}

func TestDamageNeverEndsTheProcess(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var dirs []string
	for kind, pattern := range map[string]string{"stopped": "*", "killed": "*.mem", "encrypted": "*"} {
		whole := filepath.Join(root, kind)
		fill(t, whole, kind == "killed")
		files, err := filepath.Glob(filepath.Join(whole, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for damage, do := range damages {
				dir := filepath.Join(root, kind+", "+filepath.Base(file)+": "+damage)
				copyChanged(t, dir, whole, func(name string, b []byte) []byte {
					if name == filepath.Base(file) {
						return do(b)
					}
					return b
				})
				dirs = append(dirs, dir)
			}
		}
	}
	child := exec.Command(os.Args[0], "-test.run=^TestOpenDamaged$", "-test.v")
	child.Env = append(os.Environ(), victimDir+"="+strings.Join(dirs, "\n"))
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out[max(0, len(out)-4000):])
	}
	if n := bytes.Count(out, []byte("\nerror ")) + bytes.Count(out, []byte("\nopened ")); n != len(dirs) {
		t.Errorf("%d of %d directories were tried", n, len(dirs))
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
}

// fill makes a directory as it is after a stop in order, or after a kill, with tables and webhooks in it.
func fill(t *testing.T, dir string, killed bool) {
	t.Helper()
	at := dir
	if killed {
		at = dir + " alive"
	}
	for range 2 { // the second time there are tables
		s := open(t, Options{Dir: at, EncryptionKey: keyOf(dir)})
		for _, w := range webhooks(t, s, 3) {
			d := storetest.Delivery(w, w.CreatedAt)
			d.Payload = bytes.Repeat([]byte("x"), 2000)
			if err := s.Enqueue(t.Context(), append(fanOut(webhooks(t, s, 20)), d)...); err != nil {
				t.Fatal(err)
			}
		}
		if killed {
			copyChanged(t, dir, at, func(_ string, b []byte) []byte { return b })
		}
		s.Close()
	}
}

// copyChanged copies files through change. Zeros at the end of a file, which Badger allocates by the hundred MiB, take no space.
func copyChanged(t *testing.T, to, from string, change func(name string, b []byte) []byte) {
	t.Helper()
	files, err := os.ReadDir(from)
	if err == nil {
		err = os.MkdirAll(to, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		used := bytes.TrimRight(b, "\x00")
		data := change(f.Name(), used)
		size := len(data)
		if len(data) > 0 && len(b) > len(used) {
			size = max(len(b), size)
		}
		name := filepath.Join(to, f.Name())
		err = os.WriteFile(name, data, 0o600)
		if err == nil {
			err = os.Truncate(name, int64(size))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
