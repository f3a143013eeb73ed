package caddymodule

import (
	"encoding/json"
	"net/http"
)

// problem is an error as the subscription API tells it.
type problem struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`

	retryAfter int // seconds, told in the header of a 429; at least one
}

func (p problem) Error() string { return p.Message }

func writeError(w http.ResponseWriter, p problem) error {
	return writeJSON(w, p.Code, struct {
		Errors []problem `json:"errors"`
	}{[]problem{p}})
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	// An error here is the client's having gone.
	_ = encoder.Encode(v)
	return nil
}
