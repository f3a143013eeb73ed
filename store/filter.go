package store

import "time"

// Filter chooses deliveries, for operators. The zero value chooses all; what is set must all hold.
type Filter struct {
	// State is one of the states of a listing, or empty.
	State State
	// Project, Webhook and Item are compared whole.
	Project string
	Webhook string
	Item    string
	// Since and Until bound CreatedAt: not before Since, before Until.
	Since time.Time
	Until time.Time
}

// Matches reports whether f chooses d.
func (f *Filter) Matches(d *Delivery) bool {
	return (f.State == "" || f.State == d.State) &&
		(f.Project == "" || f.Project == d.Project) &&
		(f.Webhook == "" || f.Webhook == d.Webhook) &&
		(f.Item == "" || f.Item == d.Item) &&
		(f.Since.IsZero() || !d.CreatedAt.Before(f.Since)) &&
		(f.Until.IsZero() || d.CreatedAt.Before(f.Until))
}
