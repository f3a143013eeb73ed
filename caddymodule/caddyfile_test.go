package caddymodule

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what the tests got into their golden files")

const goldenSeparator = "----------\n"

// golden calls fn with the input half of each file in a folder, and compares what it returns with the
// other half.
func golden(t *testing.T, pattern string, fn func(t *testing.T, input string) string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files match %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(content), goldenSeparator)
			got := strings.TrimSpace(fn(t, input)) + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(input+goldenSeparator+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func adapt(input string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	return config, err
}

func TestWrongSettingNamesLineTokenAndWhatIsAllowed(t *testing.T) {
	golden(t, "testdata/invalid/*.caddyfiletest", func(t *testing.T, input string) string {
		config, err := adapt(input)
		if err == nil {
			t.Fatalf("accepted: %s", config)
		}
		if !strings.Contains(err.Error(), "Caddyfile:") {
			t.Errorf("error without file and line: %v", err)
		}
		return strings.ReplaceAll(err.Error(), ", faulty", "") // a store of the tests'
	})
}

func TestCaddyfileHasJSONTwin(t *testing.T) {
	golden(t, "testdata/valid/*.caddyfiletest", func(t *testing.T, input string) string {
		config, err := adapt(input)
		if err != nil {
			t.Fatal(err)
		}
		var c caddy.Config
		if err := json.Unmarshal(config, &c); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&c); err != nil {
			t.Errorf("adapted configuration is not valid: %v", err)
		}
		var pretty map[string]any
		if err := json.Unmarshal(config, &pretty); err != nil {
			t.Fatal(err)
		}
		out, err := json.MarshalIndent(pretty, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	})
}
