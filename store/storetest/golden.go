package storetest

import (
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// Golden is a delivery with nothing at its zero value, of which engines keep the record that their first version wrote.
func Golden() store.Delivery {
	at := time.Date(2026, 11, 24, 10, 20, 30, 40, time.UTC)
	return store.Delivery{
		ID: "01890a5d-ac96-774b-bcce-b302099a8057", Webhook: "7d444840-9dc0-41d1-b245-5ffdce74fad2", Project: "acme", Item: "ticket",
		Action: "add", TraceContext: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Payload: []byte(`{"id":7}`), Ping: true,
		State: store.Dead, CreatedAt: at, Due: at.Add(time.Hour), Spent: 1,
		Attempts: []store.Attempt{
			{N: 1, At: at.Add(time.Second), Status: 503, Duration: 3 * time.Millisecond, Error: "status 503", Response: []byte("busy")},
			{N: 2, At: at.Add(time.Minute), Status: 0, Duration: 10 * time.Second, Error: "timeout"},
		},
	}
}
