package caddymodule

import (
	"net/http"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// findTime is how long a listing looks for enough to fill a page. A page may have less, and even nothing, and a next.
const findTime = 15 * time.Millisecond

// adminDeliveryView is a delivery as the admin endpoint shows it.
type adminDeliveryView struct {
	deliveryView
	Webhook string `json:"webhook"`
	Project string `json:"project"`
	Item    string `json:"item"`
	Action  string `json:"action"`
	Ping    bool   `json:"ping"`
	Store   string `json:"store"`
}

func (c *core) view(d *store.Delivery) adminDeliveryView {
	return adminDeliveryView{
		deliveryView: viewDelivery(d), Webhook: d.Webhook, Project: d.Project, Item: d.Item, Action: d.Action, Ping: d.Ping,
		Store: c.identity,
	}
}

func (c *adminCall) deliveries() error {
	p, err := queryParameters(c.r.URL.Query(), append(deliveryFilters, "limit")...)
	if err != nil {
		return err
	}
	f, err := p.filter(listingStates)
	if err != nil {
		return err
	}
	limit, err := p.limit()
	if err != nil {
		return err
	}
	core, err := c.one(p["store"])
	if err != nil {
		return err
	}
	e, err := core.engine()
	if err != nil {
		return err
	}
	page := struct {
		Data []adminDeliveryView `json:"data"`
		Next *string             `json:"next"`
	}{Data: []adminDeliveryView{}}
	cursor := p["cursor"]
	for until := time.Now().Add(findTime); ; {
		ds, next, err := e.store.Find(c.r.Context(), f, cursor, limit-len(page.Data))
		if err != nil {
			return err
		}
		for i := range ds {
			page.Data = append(page.Data, core.view(&ds[i]))
		}
		if next == "" {
			break
		}
		if cursor = next; len(page.Data) == limit || time.Now().After(until) {
			page.Next = &cursor
			break
		}
	}
	return writeJSON(c.w, http.StatusOK, page)
}

func (c *adminCall) delivery(id string) error {
	return c.each(func(core *core) error {
		d, err := core.findDelivery(c.r.Context(), id)
		if err != nil {
			return err
		}
		return writeJSON(c.w, http.StatusOK, core.view(&d))
	})
}

func (c *adminCall) replay(id string) error {
	return c.each(func(core *core) error {
		if err := core.replayDelivery(c.r.Context(), id); err != nil {
			return err
		}
		return writeJSON(c.w, http.StatusAccepted, map[string]string{"id": id})
	})
}

// replayMany replays what a filter chooses, a step of it. Without a state it is for dead ones. Something has to be given:
// an empty filter is more likely a mistake than the wish to send everything again.
func (c *adminCall) replayMany() error {
	p, err := c.bodyParameters(deliveryFilters...)
	if err != nil {
		return err
	}
	f, err := p.filter(replayStates)
	if err != nil {
		return err
	}
	if f == (store.Filter{}) {
		return problem{Code: http.StatusBadRequest, Message: "a filter is needed, such as {\"state\":\"dead\"}"}
	}
	if f.State == "" {
		f.State = store.Dead
	}
	core, err := c.one(p["store"])
	if err != nil {
		return err
	}
	done, err := core.replayDeliveries(c.r.Context(), f, p["cursor"])
	if err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, done)
}
