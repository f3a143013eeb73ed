package caddymodule

import "runtime/debug"

const modulePath = "github.com/bentihooks/bentihooks"

// version is set by release builds: -ldflags "-X github.com/bentihooks/bentihooks/caddymodule.version=v1.2.3".
var version string

// Version is the version of Bentihooks in this binary, such as v1.2.3: the one that a release was built as, else that of the
// module, as xcaddy requires it, else "devel" with the commit where Go knows it.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return moduleVersion(info)
}

func moduleVersion(info *debug.BuildInfo) string {
	for _, module := range append(info.Deps, &info.Main) {
		if module.Path != modulePath {
			continue
		}
		if module.Replace != nil { // a copy on disk, as with xcaddy build --with ...=.
			module = module.Replace
		}
		if module.Version != "" && module.Version != "(devel)" {
			return module.Version
		}
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && info.Main.Path == modulePath && len(setting.Value) >= 12 {
			return "devel-" + setting.Value[:12]
		}
	}
	return "devel"
}
