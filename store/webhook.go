package store

import (
	"net/url"
	"slices"
	"time"
)

// Status tells how a webhook fares.
type Status string

const (
	// Active is a webhook whose deliveries arrive, as far as is known.
	Active Status = "active"
	// Failing is a webhook whose latest attempts failed. It still gets deliveries.
	Failing Status = "failing"
	// Disabled is a webhook that an operator switched off. It gets no new deliveries.
	Disabled Status = "disabled"
	// Gone is a webhook whose receiver answered 410. It gets no new deliveries until a PUT revives it.
	Gone Status = "gone"
)

// Webhook is one subscription: a project's wish to have one kind of event posted to one URL.
type Webhook struct {
	// ID is the uuid that the subscription API gave out.
	ID string
	// Project is the tenant. Webhooks of one project are invisible to every other.
	Project string
	// Item is the kind of event an api webhook wants, such as "ticket". Empty for instance webhooks.
	Item string
	// Events are the names an instance webhook wants, such as "close-ticket". Empty for api webhooks.
	Events []string
	// URL is the receiver's address: absolute, https, host in ASCII.
	URL string
	// Secret proves to the receiver where a request comes from. It is never given out again.
	Secret string
	// PreviousSecret signs too, beside Secret, until PreviousUntil. Empty when the secret never changed.
	PreviousSecret string
	PreviousUntil  time.Time
	Status         Status
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// Normal is w as it comes back from a store: times in UTC, nothing shared with the caller.
func (w *Webhook) Normal() Webhook {
	n := *w
	n.Events = slices.Clone(w.Events)
	for _, t := range []*time.Time{&n.CreatedAt, &n.UpdatedAt, &n.PreviousUntil} {
		*t = t.Round(0).UTC()
	}
	return n
}

// Changed is w after a change, which may not touch id, project and time of creation: those stay. w itself stays as it is.
func (w *Webhook) Changed(change func(*Webhook) error) (Webhook, error) {
	next := w.Normal()
	if err := change(&next); err != nil {
		return Webhook{}, err
	}
	next.ID, next.Project, next.CreatedAt = w.ID, w.Project, w.CreatedAt
	return next.Normal(), nil
}

// Instance reports whether w is an instance webhook rather than an api one.
func (w *Webhook) Instance() bool { return len(w.Events) > 0 }

// Off reports whether w gets no deliveries: an operator switched it off, or its receiver is gone.
func (w *Webhook) Off() bool { return w.Status == Disabled || w.Status == Gone }

// Wants reports whether w gets new deliveries for name: an item for an api webhook, an event name for
// an instance webhook.
func (w *Webhook) Wants(name string) bool {
	if w.Off() {
		return false
	}
	return (w.Item != "" && w.Item == name) || slices.Contains(w.Events, name)
}

// Host is the receiver's host and port, without anything of the URL that may be confidential.
func (w *Webhook) Host() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// Same reports whether v subscribes to the same item, or one of the same events, at the same place for the same
// project, which no two webhooks may: the receiver would get all of it twice.
func (w *Webhook) Same(v *Webhook) bool {
	if w.Project != v.Project || w.URL != v.URL {
		return false
	}
	return w.Item != "" && w.Item == v.Item || slices.ContainsFunc(w.Events, func(name string) bool { return slices.Contains(v.Events, name) })
}
