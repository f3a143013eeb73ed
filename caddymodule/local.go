package caddymodule

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
)

const (
	defaultReserve = 16 << 20
	minReserve     = 1 << 20
	maxReserve     = 1 << 30
)

// Local is the part of a store's configuration that concerns this machine's disk.
type Local struct {
	// Dir holds the reserve and the notes of requests in flight.
	Dir string
	// Reserve is the size of the reserve in bytes.
	Reserve int64
	// MinFree is how many bytes have to be free on Dir's disk for the store to be open. 0: any number.
	MinFree uint64
}

// localDir returns the absolute path of a directory: the given one, or the folder of Caddy's data directory with a name.
func localDir(repl *caddy.Replacer, given, name string) (string, error) {
	if given == "" {
		given = filepath.Join(caddy.AppDataDir(), name)
	}
	dir, err := repl.ReplaceOrErr(given, true, true)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

func checkReserve(size int64) error {
	if size < minReserve || size > maxReserve {
		return fmt.Errorf("reserve: must be from %s to %s", sizeText(minReserve), sizeText(maxReserve))
	}
	return nil
}
