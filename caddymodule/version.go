package caddymodule

import "runtime/debug"

const modulePath = "github.com/bentihooks/bentihooks"

// Version is the version of Bentihooks in this binary, such as v1.2.3, or "devel" in a build from a
// working copy.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	modules := append(info.Deps, &info.Main)
	for _, module := range modules {
		if module.Path == modulePath && module.Version != "" && module.Version != "(devel)" {
			return module.Version
		}
	}
	return "devel"
}
