package caddymodule

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsThatOfTheModule(t *testing.T) {
	t.Parallel()
	ours := func(version string, replace *debug.Module) *debug.Module {
		return &debug.Module{Path: modulePath, Version: version, Replace: replace}
	}
	revision := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}}
	for name, row := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"built by xcaddy":            {debug.BuildInfo{Main: debug.Module{Path: "caddy"}, Deps: []*debug.Module{ours("v1.2.3", nil)}}, "v1.2.3"},
		"by xcaddy from a folder":    {debug.BuildInfo{Deps: []*debug.Module{ours("v0.0.0", &debug.Module{Path: "/src"})}}, "devel"},
		"replaced by a fork":         {debug.BuildInfo{Deps: []*debug.Module{ours("v1.0.0", &debug.Module{Path: "f", Version: "v1.0.1"})}}, "v1.0.1"},
		"go install at a version":    {debug.BuildInfo{Main: *ours("v1.4.0", nil)}, "v1.4.0"},
		"go build in a repository":   {debug.BuildInfo{Main: *ours("(devel)", nil), Settings: revision}, "devel-0123456789ab"},
		"somebody else's repository": {debug.BuildInfo{Main: debug.Module{Path: "caddy"}, Settings: revision}, "devel"},
		"nothing known":              {debug.BuildInfo{}, "devel"},
	} {
		if got := moduleVersion(&row.info); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}
