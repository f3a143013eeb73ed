package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// machine describes what the figures were measured on, and of which versions.
func machine(dir, binary string) (string, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("reading build info: %w", err)
	}
	versions := ""
	for _, dep := range info.Deps {
		switch dep.Path {
		case "github.com/caddyserver/caddy/v2":
			versions += ", Caddy " + dep.Version
		case "github.com/dgraph-io/badger/v4":
			versions += ", Badger " + dep.Version
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d cores (%s), Linux %s, %s, %s%s",
		runtime.NumCPU(), runtime.GOARCH, strings.TrimSpace(string(kernel)), filesystem(string(mounts), dir), info.GoVersion, versions), nil
}

// filesystem is the type of the one that holds dir, by the longest mount point above it; see proc_pid_mounts(5).
func filesystem(mounts, dir string) string {
	found, kind := "", "unknown file system"
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		point := fields[1]
		below := dir == point || strings.HasPrefix(dir, strings.TrimSuffix(point, "/")+"/")
		if below && len(point) >= len(found) {
			found, kind = point, fields[2]
		}
	}
	return kind
}
