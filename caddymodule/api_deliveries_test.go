package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/bentihooks/bentihooks/store"
)

// TestPageOfLargeDeliveriesEndsEarlyAndGoesOn has a reply with a long text in each delivery.
func TestPageOfLargeDeliveriesEndsEarlyAndGoesOn(t *testing.T) {
	s := newScene(t)
	s.mustLoad(s.caddyfile("", "benti_webhooks {\n\t\tauthorize off\n\t}"))
	w := s.subscribe("reply")
	const large, all = 512 << 10, 60
	payload := fmt.Appendf(nil, "%q", bytes.Repeat([]byte("x"), large))
	now := time.Now()
	for range all {
		d := store.Delivery{
			ID: uuid.Must(uuid.NewV7()).String(), Webhook: w.ID, Project: w.Project, Item: "reply", Action: "add",
			Payload: payload, State: store.Pending, CreatedAt: now, Due: now.Add(time.Hour),
		}
		if err := s.engine().store.Enqueue(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]bool)
	for cursor := ""; ; {
		response, err := http.Get(s.site + "/webhooks/" + w.ID + "/deliveries?limit=500&cursor=" + cursor)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if most := pageSize + pageStep*(large+1<<10); len(body) > most {
			t.Errorf("a page of %d bytes, more than %d", len(body), most)
		}
		var page struct {
			Data []deliveryView
			Next *string
		}
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Data {
			if seen[d.ID] {
				t.Errorf("%s stands on two pages", d.ID)
			}
			seen[d.ID] = true
		}
		if page.Next == nil {
			break
		}
		cursor = *page.Next
	}
	if len(seen) != all {
		t.Errorf("%d deliveries of %d are listed", len(seen), all)
	}
}

func TestDeliveryIsNotRedeliveredWithoutEnd(t *testing.T) {
	s := newScene(t)
	s.mustLoad(s.caddyfile("", "benti_webhooks {\n\t\tauthorize off\n\t}"))
	w := s.subscribe("ticket")
	now := time.Now()
	for attempts, want := range map[int]int{maxAttempts - 1: http.StatusAccepted, maxAttempts: http.StatusConflict} {
		d := store.Delivery{
			ID: uuid.Must(uuid.NewV7()).String(), Webhook: w.ID, Project: w.Project, Item: "ticket", Action: "add", Payload: []byte("{}"),
			State: store.Pending, CreatedAt: now, Due: now.Add(time.Hour), Attempts: make([]store.Attempt, attempts),
		}
		if err := s.engine().store.Enqueue(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		response, err := http.Post(s.site+"/webhooks/"+w.ID+"/deliveries/"+d.ID+"/redeliver", "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != want {
			t.Errorf("status %d after %d attempts, want %d", response.StatusCode, attempts, want)
		}
	}
}
