package caddymodule

import (
	"context"
)

// adminWebhook is a webhook as the admin endpoint lists it.
type adminWebhook struct {
	UUID    string   `json:"uuid"`
	Item    string   `json:"item"`
	Events  []string `json:"events"`
	URL     string   `json:"url"`
	Status  string   `json:"status"`
	Project string   `json:"project"`
}

// ask asks the server which webhooks want the events.
func (e *explanation) ask(ctx context.Context, f *serverFlags) error {
	return nil
}
