package caddymodule

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/bentihooks/bentihooks/journal"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
}

const adminPath = "/benti/"

// adminAPI serves /benti/ on Caddy's admin endpoint. It holds no app: after a reload that failed, the
// endpoint belongs to a configuration that never came to be. What runs is in the pool of cores.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.benti", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes returns the routes of the admin endpoint.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

func (a *adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	segments := strings.Split(strings.TrimPrefix(r.URL.Path, adminPath), "/")
	switch {
	case len(segments) == 1 && segments[0] == "status":
		return only(w, r, http.MethodGet, a.status)
	case len(segments) == 1 && segments[0] == "in-doubt":
		return only(w, r, http.MethodGet, a.inDoubt)
	case len(segments) == 3 && segments[0] == "in-doubt" && segments[2] == "acknowledge":
		return only(w, r, http.MethodPost, func(w http.ResponseWriter, _ *http.Request) error { return a.acknowledge(w, segments[1]) })
	}
	return writeError(w, problem{Code: http.StatusNotFound, Message: "no such resource"})
}

// only serves one method.
func only(w http.ResponseWriter, r *http.Request, method string, serve func(http.ResponseWriter, *http.Request) error) error {
	if r.Method == method {
		return serve(w, r)
	}
	w.Header().Set("Allow", method)
	return writeError(w, problem{Code: http.StatusMethodNotAllowed, Message: "allowed here: " + method})
}

// statusView is how one store fares.
type statusView struct {
	Store      string      `json:"store"`
	State      *storeState `json:"state"`
	Webhooks   int         `json:"webhooks"`
	Deliveries *countsView `json:"deliveries"` // null while the store is not open
	InReserve  int         `json:"in_reserve"`
	InMemory   int         `json:"in_memory"`
	InDoubt    int         `json:"in_doubt"`
	// Unnoted counts the requests that went without a note of being in flight, because too many were.
	Unnoted uint64 `json:"unnoted"`
}

// countsView is store.Counts. Enqueued is the sum of all others, or something was lost.
type countsView struct {
	Enqueued   uint64 `json:"enqueued"`
	Pending    uint64 `json:"pending"`
	Delivering uint64 `json:"delivering"`
	Delivered  uint64 `json:"delivered"`
	Dead       uint64 `json:"dead"`
	Dropped    uint64 `json:"dropped"`
	Pruned     uint64 `json:"pruned"`
}

func (a *adminAPI) status(w http.ResponseWriter, r *http.Request) error {
	stores := []statusView{}
	for _, c := range runningCores() {
		view := statusView{Store: c.identity, State: c.state.Load(), InDoubt: len(c.inFlight.inDoubt()), Unnoted: c.inFlight.missed()}
		view.InReserve, view.InMemory = c.intake.kept()
		if directory := c.directory.Load(); directory != nil {
			view.Webhooks = directory.Len()
		}
		if e := c.opened.Load(); e != nil {
			if counts, err := e.store.Counts(r.Context()); err == nil {
				view.Deliveries = new(countsView(counts))
			}
		}
		stores = append(stores, view)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"version": Version(), "stores": stores})
}

// inDoubtView is a request whose outcome is not known.
type inDoubtView struct {
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Method  string    `json:"method"`
	Path    string    `json:"path"`
	Project string    `json:"project"`
	Item    string    `json:"item"`
	Store   string    `json:"store"`
}

func (a *adminAPI) inDoubt(w http.ResponseWriter, _ *http.Request) error {
	views := []inDoubtView{}
	for _, c := range runningCores() {
		for _, e := range c.inFlight.inDoubt() {
			views = append(views, inDoubtView{
				ID: e.ID, Time: e.Time.UTC(), Method: e.Method, Path: e.Path, Project: e.Project, Item: e.Item, Store: c.identity,
			})
		}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"data": views})
}

func (a *adminAPI) acknowledge(w http.ResponseWriter, id string) error {
	for _, c := range runningCores() {
		found, err := c.inFlight.acknowledge(id)
		if err != nil {
			return writeError(w, problem{Code: http.StatusServiceUnavailable, Message: err.Error()})
		}
		if found {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	return writeError(w, problem{Code: http.StatusNotFound, Message: "no such entry"})
}

// runningCores returns all cores, in the order of their names.
func runningCores() []*core {
	var all []*core
	cores.Range(func(_, value any) bool {
		all = append(all, value.(*core))
		return true
	})
	slices.SortFunc(all, func(a, b *core) int { return cmp.Compare(a.identity, b.identity) })
	return all
}

// kept says how many events wait outside of the store.
func (i *intake) kept() (inReserve, inMemory int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.reserve != nil {
		inReserve = i.reserve.Len()
	}
	return inReserve, len(i.memory)
}

func (f *inFlight) missed() uint64 {
	if notes := f.notes.Load(); notes != nil {
		return notes.Missed()
	}
	return 0
}

func (f *inFlight) acknowledge(id string) (bool, error) {
	notes := f.notes.Load()
	if notes == nil {
		return false, nil
	}
	found, err := notes.Acknowledge(id)
	if errors.Is(err, journal.ErrClosed) {
		return false, nil
	}
	return found, err
}

var _ caddy.AdminRouter = (*adminAPI)(nil)
