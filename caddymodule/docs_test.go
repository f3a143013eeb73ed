package caddymodule

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var caddyfileBlock = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")

func TestCaddyfilesInDocsCanBeAdapted(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	blocks := 0
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range caddyfileBlock.FindAllSubmatch(text, -1) {
			blocks++
			if _, err := adapt(string(block[1])); err != nil {
				t.Errorf("%s: %v:\n%s", file, err, block[1])
			}
		}
	}
	if blocks < 10 {
		t.Errorf("only %d blocks", blocks)
	}
}
