package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/bentihooks/bentihooks/matcher"
)

const (
	tenantPlaceholder = "{benti.tenant}"
	// defaultProject is the project of calls that name none.
	defaultProject = "default"
	// maxProject bounds the length of a project's name; a longer one is replaced by its hash.
	maxProject = 128
)

// project tells whose request r is. It depends on nothing but the header, so that the events of a caller
// and the calls by which it manages its webhooks belong together.
func (h *Handler) project(r *http.Request) string {
	if h.namer == tenantPlaceholder {
		return tenant(r.Header)
	}
	if !strings.Contains(h.namer, "{") {
		return h.namer
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return defaultProject
	}
	x := matcher.Exchange{Authorization: r.Header.Get("Authorization"), Limit: int(h.BodyLimit)}
	// Resolved before Caddy's own placeholders, so that nothing is left in its replacer.
	text := headerPlaceholder.ReplaceAllStringFunc(h.namer, func(placeholder string) string {
		if placeholder == tenantPlaceholder {
			return tenant(r.Header)
		}
		value, _ := x.Lookup(strings.Trim(placeholder, "{}"))
		// What a caller sent must not be taken for a placeholder.
		return strings.NewReplacer("{", "", "}", "").Replace(value)
	})
	name := repl.ReplaceAll(text, "")
	switch {
	case name == "":
		return defaultProject
	case len(name) > maxProject:
		return shortHash(name)
	}
	return name
}

var headerPlaceholder = regexp.MustCompile(`\{benti\.(?:tenant|jwt\.[^{}]+)\}`)

// repeatedIdentity names a header that says who the caller is and is given twice. We might take one, and the
// API the other.
func repeatedIdentity(h http.Header) string {
	for _, name := range []string{"X-Inbenta-Key", "Authorization"} {
		if len(h[name]) > 1 {
			return name
		}
	}
	return ""
}

var anyPlaceholder = regexp.MustCompile(`\{[^{}]*\}`)

// checkProject refuses what project cannot resolve.
func checkProject(text string) error {
	for _, prefix := range []string{"{benti.request.", "{benti.response.", "{benti.path."} {
		if strings.Contains(text, prefix) {
			return errors.New(prefix + "*} is not known when a webhook is registered; allowed are fixed text and placeholders of the request's header, such as {benti.tenant}, {benti.jwt.<claim>} or {http.request.header.<name>}")
		}
	}
	for _, placeholder := range anyPlaceholder.FindAllString(text, -1) {
		if strings.HasPrefix(placeholder, "{benti.") && !headerPlaceholder.MatchString(placeholder) {
			return fmt.Errorf("unknown placeholder %s; those of this module are {benti.tenant} and {benti.jwt.<claim>}", placeholder)
		}
	}
	if strings.ContainsAny(anyPlaceholder.ReplaceAllString(text, ""), "{}") {
		return fmt.Errorf("%q has a brace without its other half", text)
	}
	return nil
}

// resolveGlobals puts in what {env.*} and {file.*} stand for, which has to be there.
func resolveGlobals(text string) (string, error) {
	repl := caddy.NewReplacer()
	var failed error
	text = anyPlaceholder.ReplaceAllStringFunc(text, func(placeholder string) string {
		if !strings.HasPrefix(placeholder, "{env.") && !strings.HasPrefix(placeholder, "{file.") {
			return placeholder
		}
		value, err := repl.ReplaceOrErr(placeholder, true, true)
		failed = errors.Join(failed, err)
		return value
	})
	return text, failed
}

// tenant is the value of {benti.tenant}.
func tenant(h http.Header) string {
	key := h.Get("X-Inbenta-Key")
	if key == "" {
		return defaultProject
	}
	return shortHash(key)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// placeholder makes {benti.*} known to whatever comes behind the handler and in logs. What is in the
// bodies is known only after the API has answered.
func (o *observation) placeholder(key string) (any, bool) {
	if !strings.HasPrefix(key, "benti.") {
		return nil, false
	}
	if "{"+key+"}" == tenantPlaceholder {
		return tenant(o.request.Header), true
	}
	if !o.answered && (strings.HasPrefix(key, "benti.request.") || strings.HasPrefix(key, "benti.response.")) {
		return "", true
	}
	value, _ := o.exchange.Lookup(key)
	return value, true
}

// externalLookup resolves texts with placeholders that are Caddy's. A text with a placeholder that is
// unknown or empty has no value.
func externalLookup(repl *caddy.Replacer) func(string) (string, bool) {
	return func(text string) (string, bool) {
		value, err := repl.ReplaceOrErr(text, true, true)
		return value, err == nil && value != ""
	}
}
