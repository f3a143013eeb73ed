package caddymodule

import (
	"cmp"
	"context"
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

const (
	adminPath = "/benti/"
	// adminTimeout bounds how long a call of the admin endpoint may take.
	adminTimeout = 30 * time.Second
)

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
	if r.URL.Path == adminPath+"backup" { // which may take as long as it likes
		return a.serveBackup(w, r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), adminTimeout)
	defer cancel()
	r.Body = http.MaxBytesReader(w, r.Body, maxAPIBody)
	call := &adminCall{w: w, r: r.WithContext(ctx), cores: runningCores()}
	if err := call.route(strings.Split(strings.TrimPrefix(r.URL.Path, adminPath), "/")); err != nil {
		return call.fail(err)
	}
	return nil
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
