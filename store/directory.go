package store

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Directory is the set of webhooks in memory. Readers take an immutable snapshot without a lock, so that
// a request finds out whether anybody wants its event at the price of one pointer. Only the engine that
// owns the webhooks writes to it. The zero value is an empty directory. Webhooks it returns must not be
// changed.
type Directory struct {
	mu       sync.Mutex // serialises writers
	snapshot atomic.Pointer[snapshot]
}

type snapshot struct {
	version   uint64
	byID      map[string]*Webhook
	byProject map[string][]*Webhook // oldest first
}

func (d *Directory) load() *snapshot {
	if s := d.snapshot.Load(); s != nil {
		return s
	}
	return &snapshot{}
}

// Get returns the webhook with the given id, or nil.
func (d *Directory) Get(id string) *Webhook { return d.load().byID[id] }

// Len is the number of webhooks of all projects.
func (d *Directory) Len() int { return len(d.load().byID) }

// Version changes whenever anything in the directory does.
func (d *Directory) Version() uint64 { return d.load().version }

// Project returns the webhooks of a project, oldest first.
func (d *Directory) Project(project string) []*Webhook { return d.load().byProject[project] }

// All returns every webhook, in no order.
func (d *Directory) All() []*Webhook { return slices.Collect(maps.Values(d.load().byID)) }

// Wanted reports whether any webhook of the project wants name (see [Webhook.Wants]).
func (d *Directory) Wanted(project, name string) bool {
	return slices.ContainsFunc(d.Project(project), func(w *Webhook) bool { return w.Wants(name) })
}

// Wanting returns the webhooks of a project that want name, oldest first.
func (d *Directory) Wanting(project, name string) []*Webhook {
	var ws []*Webhook
	for _, w := range d.Project(project) {
		if w.Wants(name) {
			ws = append(ws, w)
		}
	}
	return ws
}

// Duplicate returns a webhook other than w itself that is the same as w, or nil.
func (d *Directory) Duplicate(w *Webhook) *Webhook {
	for _, v := range d.Project(w.Project) {
		if v.ID != w.ID && v.Same(w) {
			return v
		}
	}
	return nil
}

// Reset replaces the whole content.
func (d *Directory) Reset(ws []Webhook) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &snapshot{version: d.Version() + 1, byID: make(map[string]*Webhook, len(ws)), byProject: make(map[string][]*Webhook)}
	for i := range ws {
		w := ws[i]
		s.byID[w.ID] = &w
		s.byProject[w.Project] = append(s.byProject[w.Project], &w)
	}
	for _, p := range s.byProject {
		slices.SortFunc(p, oldestFirst)
	}
	d.snapshot.Store(s)
}

// Put adds w or replaces the webhook with its id.
func (d *Directory) Put(w Webhook) { d.change(w.Project, w.ID, &w) }

// Delete removes the webhook with the given id, if there is one.
func (d *Directory) Delete(id string) {
	if w := d.Get(id); w != nil {
		d.change(w.Project, id, nil)
	}
}

func (d *Directory) change(project, id string, w *Webhook) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.load()
	s := &snapshot{version: old.version + 1, byID: maps.Clone(old.byID), byProject: maps.Clone(old.byProject)}
	if s.byID == nil {
		s.byID, s.byProject = make(map[string]*Webhook), make(map[string][]*Webhook)
	}
	ws := slices.DeleteFunc(slices.Clone(s.byProject[project]), func(v *Webhook) bool { return v.ID == id })
	delete(s.byID, id)
	if w != nil {
		s.byID[id] = w
		ws = append(ws, w)
		slices.SortFunc(ws, oldestFirst)
	}
	s.byProject[project] = ws
	if len(ws) == 0 {
		delete(s.byProject, project)
	}
	d.snapshot.Store(s)
}

func oldestFirst(a, b *Webhook) int {
	if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
		return c
	}
	return cmp.Compare(a.ID, b.ID)
}
