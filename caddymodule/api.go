package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/store"
)

const (
	webhooksPath = "/webhooks"
	// instanceSegment, below it, is where instance webhooks are.
	instanceSegment = "app"
	// maxWebhooks is how many webhooks a project may have.
	maxWebhooks = 1000
	// maxAPIBody is how long the body of a call may be.
	maxAPIBody = 64 << 10
	// apiStoreTimeout bounds how long a call waits for the store.
	apiStoreTimeout = 10 * time.Second
)

// subscriptionAPI serves /webhooks and what is below it.
type subscriptionAPI struct {
	handler   *Handler
	crossSite *http.CrossOriginProtection
}

func newSubscriptionAPI(h *Handler) *subscriptionAPI {
	return &subscriptionAPI{handler: h, crossSite: http.NewCrossOriginProtection()}
}

// belowWebhooks returns the decoded segments behind /webhooks in a path behind prefix and version; false if
// the path is another, at no cost unless it is an odd one.
func belowWebhooks(rest string, encoded bool) ([]string, bool) {
	if rest == "" {
		return nil, false
	}
	first, below, deeper := strings.Cut(rest[1:], "/")
	if encoded && strings.Contains(first, "%") {
		first, _ = url.PathUnescape(first)
	}
	if first != webhooksPath[1:] {
		return nil, false
	}
	below = strings.TrimSuffix(below, "/")
	if !deeper || below == "" {
		return nil, true
	}
	segments := strings.Split(below, "/")
	for i := range segments {
		if encoded {
			var err error
			if segments[i], err = url.PathUnescape(segments[i]); err != nil {
				return nil, false
			}
		}
	}
	return segments, true
}

// apiCall is one call of the subscription API.
type apiCall struct {
	*subscriptionAPI
	w       http.ResponseWriter
	r       *http.Request
	core    *core
	engine  *engine
	project string
	self    string // the path of the collection as the caller knows it
	kind    kind   // of the webhooks in it
}

// serve answers a call. base is prefix and version of its path, below the segments behind /webhooks.
func (s *subscriptionAPI) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, base string, below []string) error {
	h := s.handler
	if err := s.crossSite.Check(r); err != nil {
		return writeError(w, problem{Code: http.StatusForbidden, Message: "browsers' cross-site calls are refused"})
	}
	if name := repeatedIdentity(r.Header); name != "" {
		return writeError(w, problem{Code: http.StatusBadRequest, Message: "the header " + name + " is given twice"})
	}
	if err := h.Authorize.allow(w, r, next, base); err != nil {
		return s.fail(w, err)
	}
	c, err := holdCore(h.app)
	if err != nil {
		return s.fail(w, err)
	}
	defer c.releaseLogged()
	e := c.opened.Load()
	if e == nil {
		return s.fail(w, store.ErrClosed)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	call := &apiCall{subscriptionAPI: s, w: w, r: r.WithContext(ctx), core: c, engine: e, project: h.project(r), self: base + webhooksPath}
	if err := call.route(below); err != nil {
		return s.fail(w, err)
	}
	return nil
}

type action func() error

// route finds the action for the segments below /webhooks: {id}, {id}/ping, {id}/deliveries, and
// {id}/deliveries/{deliveryId}/redeliver, and the same below /webhooks/app for instance webhooks.
func (c *apiCall) route(segments []string) error {
	if len(segments) > 0 && segments[0] == instanceSegment {
		c.kind, c.self, segments = instanceKind, c.self+"/"+instanceSegment, segments[1:]
	}
	if len(segments) == 0 {
		return c.byMethod(map[string]action{http.MethodGet: c.list, http.MethodPost: c.create})
	}
	webhook := c.engine.store.Directory().Get(segments[0])
	if webhook == nil || webhook.Project != c.project || webhook.Instance() != (c.kind == instanceKind) {
		return problem{Code: http.StatusNotFound, Message: "no such webhook"}
	}
	with := func(f func(*store.Webhook) error) action { return func() error { return f(webhook) } }
	switch {
	case len(segments) == 1:
		return c.byMethod(map[string]action{
			http.MethodGet: with(c.get), http.MethodPut: with(c.update), http.MethodDelete: with(c.remove),
		})
	case len(segments) == 2 && segments[1] == "ping":
		return c.byMethod(map[string]action{http.MethodPost: with(c.ping)})
	case len(segments) == 2 && segments[1] == "deliveries":
		return c.byMethod(map[string]action{http.MethodGet: with(c.deliveries)})
	case len(segments) == 4 && segments[1] == "deliveries" && segments[3] == "redeliver":
		redeliver := func(w *store.Webhook) error { return c.redeliver(w, segments[2]) }
		return c.byMethod(map[string]action{http.MethodPost: with(redeliver)})
	}
	return problem{Code: http.StatusNotFound, Message: "no such resource"}
}

func (c *apiCall) byMethod(actions map[string]action) error {
	if get, ok := actions[http.MethodGet]; ok {
		actions[http.MethodHead] = get // the server leaves out the body
	}
	if do, ok := actions[c.r.Method]; ok {
		return do()
	}
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if _, ok := actions[method]; ok {
			allowed = append(allowed, method)
		}
	}
	c.w.Header().Set("Allow", strings.Join(allowed, ", "))
	return problem{Code: http.StatusMethodNotAllowed, Message: "allowed here: " + strings.Join(allowed, ", ")}
}

// fail answers with an error.
func (s *subscriptionAPI) fail(w http.ResponseWriter, err error) error {
	if p, ok := errors.AsType[problem](err); ok {
		if p.Code == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", strconv.Itoa(max(1, p.retryAfter)))
		}
		return writeError(w, p)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return writeError(w, problem{Code: http.StatusNotFound, Message: "no such webhook or delivery"})
	case errors.Is(err, store.ErrDuplicate):
		return writeError(w, problem{Code: http.StatusConflict, Message: "the project has a webhook with this url and item, or one of these events, already", Field: "url"})
	case errors.Is(err, store.ErrLimit):
		return s.fail(w, problem{Code: http.StatusTooManyRequests, Message: "the project has as many webhooks as it may have (1,000)"})
	}
	s.handler.logger.Error("serving the subscription API", zap.Error(err))
	w.Header().Set("Retry-After", "5")
	return writeError(w, problem{Code: http.StatusServiceUnavailable, Message: "the store of webhooks is not available at the moment"})
}

// storeContext bounds a call's use of the store. A caller that goes away does not cancel it.
func (c *apiCall) storeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.r.Context()), apiStoreTimeout)
}
