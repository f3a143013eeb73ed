package caddymodule

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	defaultAuthorizePath = "/queues"
	// authorizeTimeout bounds the call to the API that tells who may manage webhooks.
	authorizeTimeout = 10 * time.Second
	// authorizeBody is how much of its answer is looked at for an error object.
	authorizeBody = 1 << 20
)

// Authorize says who may manage webhooks.
type Authorize struct {
	// How callers are judged: "upstream", by whether the API lets them read a path; "bearer", by a token;
	// "user", by whether an authentication handler in front knows them ({http.auth.user.id}); "off", not at
	// all. Default: upstream.
	Mode string `json:"mode,omitempty"`

	// For upstream: the path that is read with the caller's headers, behind prefix and version. Default: /queues.
	Path string `json:"path,omitempty"`

	// For bearer: the tokens that let a call through. May hold global placeholders such as {env.X} or {file./path}, or be
	// "sha256:" and the SHA-256 of a token in hexadecimal digits. That is what a Caddyfile's written-out tokens are adapted to.
	Tokens []string `json:"tokens,omitempty"`

	digests [][sha256.Size]byte // of the tokens
}

func (a *Authorize) setDefaults() {
	if a.Mode == "" {
		a.Mode = "upstream"
	}
	if a.Mode == "upstream" && a.Path == "" {
		a.Path = defaultAuthorizePath
	}
}

func (a *Authorize) check() error {
	if err := oneOf(a.Mode, authorizeModes); err != nil {
		return err
	}
	if a.Mode == "upstream" {
		if u, err := url.Parse(a.Path); err != nil || !strings.HasPrefix(a.Path, "/") || u.Host != "" || u.Fragment != "" {
			return fmt.Errorf("upstream: %q is not a path such as /queues", a.Path)
		}
	} else if a.Path != "" {
		return fmt.Errorf("%s takes no path", a.Mode)
	}
	if a.Mode == "bearer" && (len(a.Tokens) == 0 || slices.Contains(a.Tokens, "")) {
		return errors.New("bearer: at least one token is needed, and none may be empty")
	}
	if a.Mode != "bearer" && len(a.Tokens) > 0 {
		return fmt.Errorf("%s takes no tokens", a.Mode)
	}
	return nil
}

func (a *Authorize) provision() error {
	if err := a.check(); err != nil {
		return fmt.Errorf("authorize: %w", err)
	}
	repl := caddy.NewReplacer()
	for _, token := range a.Tokens {
		token, err := repl.ReplaceOrErr(token, true, true)
		if err != nil {
			return fmt.Errorf("authorize: bearer: %w", err)
		}
		a.digests = append(a.digests, digestOf(token))
	}
	return nil
}

const digestPrefix = "sha256:"

// digestOf returns the digest of a token, or the one that stands in its place.
func digestOf(token string) [sha256.Size]byte {
	if text, ok := strings.CutPrefix(token, digestPrefix); ok {
		if digest, err := hex.DecodeString(text); err == nil && len(digest) == sha256.Size {
			return [sha256.Size]byte(digest)
		}
	}
	return sha256.Sum256([]byte(token))
}

// hideTokens puts digests in the place of tokens that are written out, so that neither the admin endpoint's /config nor
// Caddy's autosave.json gives them away.
func hideTokens(tokens []string) []string {
	hidden := make([]string, len(tokens))
	for i, token := range tokens {
		if hidden[i] = token; !strings.Contains(token, "{") && token != "" {
			digest := digestOf(token)
			hidden[i] = digestPrefix + hex.EncodeToString(digest[:])
		}
	}
	return hidden
}

// allow returns nil if the caller may manage webhooks, else a problem to answer with. base is prefix and
// version of the call's path.
func (a *Authorize) allow(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, base string) error {
	switch a.Mode {
	case "upstream":
		return a.askUpstream(w, r, next, base)
	case "bearer":
		return a.compareToken(w, r)
	case "user":
		repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return problem{Code: http.StatusForbidden, Message: "no authenticated user"}
		}
		if user, _ := repl.GetString("http.auth.user.id"); user == "" {
			return problem{Code: http.StatusForbidden, Message: "no authenticated user"}
		}
	}
	return nil
}

func (a *Authorize) compareToken(w http.ResponseWriter, r *http.Request) error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	found := 0
	for i := range a.digests {
		found |= subtle.ConstantTimeCompare(digest[:], a.digests[i][:])
	}
	if found == 1 && strings.EqualFold(scheme, "bearer") {
		return nil
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="webhooks"`)
	return problem{Code: http.StatusUnauthorized, Message: "a valid bearer token is needed"}
}

// askUpstream reads a path of the API with the caller's headers: whoever the API trusts may manage
// webhooks, and nobody else.
func (a *Authorize) askUpstream(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, base string) error {
	ctx, cancel := context.WithTimeout(r.Context(), authorizeTimeout)
	defer cancel()
	path := base + a.Path
	answer := newRecorder(authorizeBody)
	sub, err := subrequest(ctx, r, answer, path)
	if err != nil {
		return unclear(path, err.Error())
	}
	if err := serveWhole(next, answer, sub); err != nil {
		handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err)
		if !ok || handlerErr.StatusCode == 0 {
			return unclear(path, "no answer")
		}
		answer.status = handlerErr.StatusCode
	}
	switch {
	case answer.status == http.StatusUnauthorized || answer.status == http.StatusForbidden:
		if v := answer.header.Values("WWW-Authenticate"); len(v) > 0 {
			w.Header()["Www-Authenticate"] = v
		}
		return problem{Code: answer.status, Message: "the API does not let this caller read " + path}
	case answer.status < 200 || answer.status > 299:
		return unclear(path, fmt.Sprintf("status %d", answer.status))
	case !answer.isJSON():
		// A page for everybody that some other handler of the site has for this path proves nothing.
		return unclear(path, fmt.Sprintf("status %d, but not the JSON object or list that the API answers with", answer.status))
	case answer.isError():
		// The API reports some failures with a 2xx status.
		return problem{Code: http.StatusForbidden, Message: "the API does not let this caller read " + path}
	}
	return nil
}

func unclear(path, got string) error {
	return problem{Code: http.StatusBadGateway, Message: fmt.Sprintf("asking the API whether this caller may manage webhooks: GET %s got %s; "+
		"see the setting authorize of benti_webhooks, which names a path that every rightful caller may read", path, got)}
}

// subrequest makes a GET of target that carries the headers of r, to be served by what comes behind us
// in the route. It has variables and placeholders of its own, and sees those of r where it has none.
func subrequest(ctx context.Context, r *http.Request, w http.ResponseWriter, target string) (*http.Request, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("parsing %q: %w", target, err)
	}
	sub := r.Clone(ctx)
	sub.Method, sub.RequestURI = http.MethodGet, u.RequestURI()
	sub.URL.Path, sub.URL.RawPath, sub.URL.RawQuery, sub.URL.Fragment = u.Path, u.RawPath, u.RawQuery, ""
	sub.Body, sub.ContentLength, sub.TransferEncoding, sub.Trailer = http.NoBody, 0, nil, nil
	for _, name := range []string{
		"Connection", "Upgrade", "Expect", "Te", "Trailer", "Transfer-Encoding", "Content-Length", "Content-Type", "Content-Encoding",
		"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Accept-Encoding",
		// What some frameworks take for another path or method than the ones that were asked for.
		"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
	} {
		sub.Header.Del(name)
	}
	sub.Header.Set("Accept", "application/json")
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return sub, nil
	}
	repl := caddy.NewReplacer()
	prepared := caddyhttp.PrepareRequest(sub, repl, w, server)
	if outer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(outer.Get)
	}
	outerVars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if vars, ok := prepared.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		maps.Copy(vars, outerVars)
	}
	return prepared, nil
}

// serveWhole serves a subrequest. An API that breaks off in the middle of its answer is an error.
func serveWhole(next caddyhttp.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
			err = http.ErrAbortHandler
		} else if p != nil {
			panic(p)
		}
	}()
	return next.ServeHTTP(w, r)
}
