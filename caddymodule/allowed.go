package caddymodule

import (
	"fmt"
	"slices"
	"strings"
)

var (
	sources        = []string{"api", instanceSource}
	durabilities   = []string{"sync", "async"}
	storeFailures  = []string{"pass", "reject"}
	authorizeModes = []string{"upstream", "bearer", "user", "off"}
)

// oneOf says what is allowed if value is not.
func oneOf(value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	if len(allowed) == 1 {
		return fmt.Errorf("must be %s, not %q", allowed[0], value)
	}
	return fmt.Errorf("must be one of %s, not %q", strings.Join(allowed, ", "), value)
}
