package caddymodule

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// statusView is how one store fares.
type statusView struct {
	Store      string      `json:"store"`
	Engine     string      `json:"engine"`
	State      *storeState `json:"state"`
	Webhooks   int         `json:"webhooks"`
	Deliveries *countsView `json:"deliveries"` // null while the store is not open
	// OldestPending is null while nothing is pending or the store is not open.
	OldestPending *oldestView `json:"oldest_pending"`
	InReserve     int         `json:"in_reserve"`
	InMemory      int         `json:"in_memory"`
	InDoubt       int         `json:"in_doubt"`
	// Unnoted counts the requests that went without a note of being in flight, because too many were.
	Unnoted uint64    `json:"unnoted"`
	Rates   ratesView `json:"rates"`
	// Conservation says whether anything got lost on its way without being counted.
	Conservation conservationView `json:"conservation"`
}

type oldestView struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
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

func (c *adminCall) status() error {
	stores := []statusView{}
	for _, core := range c.cores {
		stores = append(stores, core.status(c.r.Context()))
	}
	return writeJSON(c.w, http.StatusOK, map[string]any{"version": Version(), "stores": stores})
}

// status tells how the store fares. A store that does not answer within countTimeout is left out of it.
func (c *core) status(ctx context.Context) statusView {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	engine, _, _ := strings.Cut(c.identity, ":")
	view := statusView{
		Store: c.identity, Engine: engine, State: c.state.Load(), InDoubt: len(c.inFlight.inDoubt()), Unnoted: c.inFlight.missed(),
		Rates: c.history.rates(time.Now()), Conservation: c.conservation(ctx),
	}
	view.InReserve, view.InMemory = c.intake.kept()
	if directory := c.directory.Load(); directory != nil {
		view.Webhooks = directory.Len()
	}
	e := c.opened.Load()
	if e == nil {
		return view
	}
	if counts, err := e.store.Counts(ctx); err == nil {
		view.Deliveries = new(countsView(counts))
	}
	if at, found, err := e.store.OldestPending(ctx); err == nil && found {
		view.OldestPending = &oldestView{At: at.UTC().Truncate(time.Millisecond), Seconds: max(time.Since(at).Seconds(), 0)}
	}
	return view
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

func (c *adminCall) inDoubt() error {
	views := []inDoubtView{}
	for _, core := range c.cores {
		for _, e := range core.inFlight.inDoubt() {
			views = append(views, inDoubtView{
				ID: e.ID, Time: e.Time.UTC(), Method: e.Method, Path: e.Path, Project: e.Project, Item: e.Item, Store: core.identity,
			})
		}
	}
	return writeJSON(c.w, http.StatusOK, map[string]any{"data": views})
}

func (c *adminCall) acknowledge(id string) error {
	for _, core := range c.cores {
		found, err := core.inFlight.acknowledge(id)
		if err != nil {
			c.w.Header().Set("Retry-After", "5")
			return problem{Code: http.StatusServiceUnavailable, Message: err.Error()}
		}
		if found {
			c.w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	return problem{Code: http.StatusNotFound, Message: "no such entry"}
}
