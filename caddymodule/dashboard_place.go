package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"
)

// place is what a path of the dashboard names. The end of the path tells it; what stands in front is where the
// dashboard is mounted, stripped before it gets here or not, and is not looked at.
type place struct {
	name   string // overview, webhooks, deliveries, in-doubt, live, assets, or empty for none
	id     string // of the one webhook, delivery or entry, or the name of the asset
	action string // last, of what is to be done with it
	depth  int    // how many slashes the path has below the mount
}

// root leads from a place back to the mount, by a relative path, so that links work wherever that is.
func (p place) root() string {
	if p.depth == 0 {
		return "./"
	}
	return strings.Repeat("../", p.depth)
}

func placeOf(path string) place {
	segments := strings.Split(path, "/")
	end := func(n int) string { // the nth segment from the end
		if n > len(segments) {
			return ""
		}
		return segments[len(segments)-n]
	}
	last := end(1)
	switch {
	case end(3) == "webhooks" && isID(end(2)):
		return place{name: "webhooks", id: end(2), action: last, depth: 2}
	case end(3) == "deliveries" && isID(end(2)):
		return place{name: "deliveries", id: end(2), action: last, depth: 2}
	case end(3) == "in-doubt" && last == "acknowledge":
		return place{name: "in-doubt", id: end(2), action: last, depth: 2}
	case end(2) == "deliveries" && last == "replay":
		return place{name: "deliveries", action: last, depth: 1}
	case (end(2) == "webhooks" || end(2) == "deliveries") && isID(last):
		return place{name: end(2), id: last, depth: 1}
	case end(2) == "assets" && last != "":
		return place{name: "assets", id: last, depth: 1}
	case last == "webhooks", last == "deliveries", last == "in-doubt", last == "live":
		return place{name: last}
	case last == "":
		return place{name: "overview"}
	}
	return place{}
}

func isID(s string) bool { return uuid.Validate(s) == nil && len(s) == len(uuid.Nil.String()) }

// withoutSlash returns where to go instead when the mount itself was asked for without the slash that its relative links
// need: "/hooks" of "handle_path /hooks*". A path that was not stripped does not come here.
func withoutSlash(r *http.Request) (string, bool) {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil || strings.Trim(r.URL.Path, "/") != "" {
		return "", false
	}
	path := original.URL.EscapedPath()
	if path == "" || strings.HasSuffix(path, "/") {
		return "", false
	}
	return path[strings.LastIndexByte(path, '/')+1:] + "/", true
}
