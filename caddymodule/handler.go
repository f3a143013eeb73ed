package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/matcher"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

const (
	defaultBodyLimit = 1 << 20
	maxBodyLimit     = 1 << 30
	// afterClient is how long a forwarded request may go on after its client has gone, so that what the
	// API answers is still seen.
	afterClient = time.Minute
)

// defaultActor is where the actor of an event is looked for.
var defaultActor = []string{
	"{http.auth.user.id}", "{benti.jwt.user_id}", "{benti.jwt.sub}",
	"{benti.response.actor}", "{benti.response.creator.id}", "{benti.response.creator}",
	"{benti.request.actor}", "{benti.request.creator}",
}

// Handler gives webhooks to the legacy Benti API behind it. It sees each successful call that changes
// something, derives an event from it, and stores a delivery for each webhook that wants it, before the
// client gets its answer. It also serves the subscription API at /webhooks.
type Handler struct {
	// Whose webhooks and events these are: projects cannot see each other's. May hold placeholders of the
	// request's header, such as {benti.jwt.tenant}. Default: {benti.tenant}, which is a short hash of the
	// x-inbenta-key header, or "default" without one. A fixed name joins all keys.
	Project string `json:"project,omitempty"`

	// Which half of the vendor's webhooks this site makes: "api" for a site in front of the Benti API, "instance"
	// for one through which the pages of a Benti instance reach their back end. Default: api.
	Source string `json:"source,omitempty"`

	// The path in front of [/v1]/tickets and so on. Default: none.
	Prefix string `json:"prefix,omitempty"`

	// Where the actor of an event is found: placeholders, of which the first with a value wins. Default:
	// {http.auth.user.id} {benti.jwt.user_id} {benti.jwt.sub} {benti.response.actor} {benti.response.creator.id}
	// {benti.response.creator} {benti.request.actor} {benti.request.creator}
	Actor []string `json:"actor,omitempty"`

	// Who may manage webhooks. Default: whoever the API lets read /queues.
	Authorize *Authorize `json:"authorize,omitempty"`

	// When a client gets its answer: "sync", once its event is on stable storage, or "async", at once.
	// Default: sync.
	Durability string `json:"durability,omitempty"`

	// What happens to calls while the store fails: "pass" forwards them and keeps their events in the reserve,
	// and when that is full, in memory; "reject" answers them with 503. Default: pass.
	OnStoreFailure string `json:"on_store_failure,omitempty"`

	// How many bytes of a request or response body are looked at. Default: 1048576.
	BodyLimit int64 `json:"body_limit,omitempty"`

	// Rows added to the endpoint table, or put in the place of the row with the same method and path. For source api.
	// Default: none.
	Routes []Route `json:"routes,omitempty"`

	// For source instance: by the names of fields such as ticket.queue.id, the paths in requests and
	// responses where they are looked for instead of the default ones, of which the first with a value wins. Default:
	// for each field the paths of the table in docs/configuration.md.
	Fields map[string][]string `json:"fields,omitempty"`

	// Whether to forward calls of /webhooks to the API rather than serve the subscription API. Default: false.
	DisableWebhooksAPI bool `json:"disable_webhooks_api,omitempty"`

	app    *App
	logger *zap.Logger
	namer  string // Project with its global placeholders resolved
	table  *matcher.Table
	rules  *matcher.RuleTable // of source instance; table is its own
	actor  []matcher.Source
	api    *subscriptionAPI
}

// Route is a row of the endpoint table.
type Route struct {
	// What happens to the item: add, update or remove. Required.
	Action string `json:"action"`

	// The kind of item: alert, ticket, reply, user, media, classification or queue. Required.
	Item string `json:"item"`

	// The request's method in upper case, such as POST. Required.
	Method string `json:"method"`

	// The request's path behind prefix and version, such as /tickets/{ticketId}/notes. Required.
	Path string `json:"path"`

	// Where the item's id is found: placeholders, of which the first with a value wins. Default: the usual
	// places in the response.
	ID []string `json:"id,omitempty"`

	// Where the id of the ticket that holds the item is found, likewise. Default: nowhere, so null.
	Parent []string `json:"parent,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.benti_webhooks", New: func() caddy.Module { return new(Handler) }}
}

// Provision reads the settings.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := ctx.App("benti")
	if err != nil {
		return fmt.Errorf("getting benti app: %w", err)
	}
	h.app = app.(*App)
	h.setDefaults()
	if err := h.check(); err != nil {
		return err
	}
	h.api = newSubscriptionAPI(h)
	return h.Authorize.provision()
}

func (h *Handler) setDefaults() {
	if h.Project == "" {
		h.Project = tenantPlaceholder
	}
	if h.Source == "" {
		h.Source = "api"
	}
	if len(h.Actor) == 0 && h.Source != instanceSource {
		h.Actor = defaultActor
	}
	if h.Authorize == nil {
		h.Authorize = new(Authorize)
	}
	h.Authorize.setDefaults()
	if h.Durability == "" {
		h.Durability = "sync"
	}
	if h.OnStoreFailure == "" {
		h.OnStoreFailure = "pass"
	}
	if h.BodyLimit == 0 {
		h.BodyLimit = defaultBodyLimit
	}
}

// check compiles the settings, so that the Caddyfile's parser and Provision refuse the same things.
func (h *Handler) check() error {
	if err := checkProject(h.Project); err != nil {
		return fmt.Errorf("project: %w", err)
	}
	var err error
	if h.namer, err = resolveGlobals(h.Project); err != nil {
		return fmt.Errorf("project: %w", err)
	}
	if err := h.checkClaims(); err != nil {
		return fmt.Errorf("project: %w", err)
	}
	for _, c := range []struct {
		name, value string
		allowed     []string
	}{
		{"source", h.Source, sources},
		{"durability", h.Durability, durabilities},
		{"on_store_failure", h.OnStoreFailure, storeFailures},
	} {
		if err := oneOf(c.value, c.allowed); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if h.BodyLimit < 0 || h.BodyLimit > maxBodyLimit {
		return errors.New("body_limit: must be greater than zero, and at most 1 GiB")
	}
	if h.Source == instanceSource {
		return h.checkInstance()
	}
	return h.checkAPI()
}

// checkClaims refuses a project that callers could choose for themselves.
func (h *Handler) checkClaims() error {
	if h.Authorize == nil || !strings.Contains(h.Project, "{benti.jwt.") {
		return nil
	}
	if mode := h.Authorize.Mode; mode == "user" || mode == "bearer" {
		return fmt.Errorf("with authorize %s nobody verifies the claims of a token; use {http.auth.user.id} or another placeholder of the authentication in front", mode)
	}
	return nil
}

// checkAPI makes the table of endpoints.
func (h *Handler) checkAPI() error {
	if name, err := h.foreign(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var err error
	if h.actor, err = parseSources(h.Actor); err != nil {
		return fmt.Errorf("actor: %w", err)
	}
	rows := matcher.Rows()
	for i, route := range h.Routes {
		if slices.ContainsFunc(h.Routes[:i], route.same) {
			return fmt.Errorf("route %s %s is given twice", route.Method, route.Path)
		}
		row, err := route.row()
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	h.table, err = matcher.NewTable(h.Prefix, rows)
	return err
}

// same reports whether two rows match the same requests: what their parameters are called does not matter.
func (r *Route) same(other Route) bool {
	return r.Method == other.Method && anyPlaceholder.ReplaceAllString(r.Path, "{}") == anyPlaceholder.ReplaceAllString(other.Path, "{}")
}

func (r *Route) row() (matcher.Row, error) {
	row := matcher.Row{Item: r.Item, Action: r.Action, Method: r.Method, Path: r.Path}
	var err error
	if row.ID, err = parseSources(r.ID); err != nil {
		return row, fmt.Errorf("route %s %s: id: %w", r.Method, r.Path, err)
	}
	if row.Parent, err = parseSources(r.Parent); err != nil {
		return row, fmt.Errorf("route %s %s: parent: %w", r.Method, r.Path, err)
	}
	return row, nil
}

func parseSources(texts []string) ([]matcher.Source, error) {
	var sources []matcher.Source
	for _, text := range texts {
		source, err := matcher.ParseSource(text)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	return sources, nil
}

// ServeHTTP hands the request on, untouched unless it is a call that changes something and of which a
// webhook wants to hear.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path, encoded := matcher.WirePath(r.URL)
	match, ok := h.table.Match(r.Method, path, encoded)
	if ok {
		return h.serveMatched(w, r, next, match)
	}
	if h.DisableWebhooksAPI {
		return next.ServeHTTP(w, r)
	}
	base, rest, ok := h.table.Base(path, encoded)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	below, ok := belowWebhooks(rest, encoded)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	return h.api.serve(w, r, next, base, below)
}

func (h *Handler) serveMatched(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, match matcher.Match) error {
	c, err := h.app.acquire()
	if err != nil {
		return h.unavailable(w, r, next, err)
	}
	if under, ok := r.Context().Value(observedKey{}).(*atomic.Bool); ok && under.Load() { // the directive stands twice in the request's way
		return next.ServeHTTP(w, r)
	}
	if directory := c.directory.Load(); directory != nil && directory.Len() == 0 {
		return next.ServeHTTP(w, r)
	}
	project := h.project(r)
	wanted := h.wanted(c, &match, project)
	if len(wanted) == 0 {
		return next.ServeHTTP(w, r)
	}
	if name := repeatedIdentity(r.Header); name != "" {
		for _, item := range wanted {
			c.metrics.underivable.WithLabelValues(item, "ambiguous").Inc()
		}
		h.logger.Warn("no event is made of a call that says twice who makes it", zap.String("header", name))
		return next.ServeHTTP(w, r)
	}
	if h.OnStoreFailure == "reject" && !c.healthy() {
		return h.reject(w)
	}
	return h.observe(w, r, next, match, project, wanted)
}

// unavailable handles a request while there is no core at all, which happens only if a new one could not
// be made.
func (h *Handler) unavailable(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, err error) error {
	h.logger.Error("event not watched for", zap.Error(err))
	if h.OnStoreFailure == "reject" {
		return h.reject(w)
	}
	return next.ServeHTTP(w, r)
}

func (h *Handler) reject(w http.ResponseWriter) error {
	w.Header().Set("Retry-After", "5")
	return writeError(w, problem{Code: http.StatusServiceUnavailable, Message: "the store of webhooks does not take events at the moment; the call was not forwarded"})
}

// observe forwards a wanted request and keeps the event that comes of it.
func (h *Handler) observe(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, match matcher.Match, project string, wanted []string) error {
	c, err := holdCore(h.app) // until the end of the request, which may be after Cleanup
	if err != nil {
		return h.unavailable(w, r, next, err)
	}
	c.awaitJournals()
	o := &observation{handler: h, core: c, project: project, wanted: wanted, next: next}
	defer o.leave()
	return o.run(w, r, match)
}

// detach returns a context that outlives the client by no more than the given time. rejoin ends that: from then on
// it ends with the client.
func detach(ctx context.Context, after time.Duration) (detached context.Context, rejoin func()) {
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(after, cancel)
		context.AfterFunc(detached, func() { timer.Stop() })
	})
	return detached, func() {
		stop()
		context.AfterFunc(ctx, cancel)
	}
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
