package main

import (
	"bufio"
	"bytes"
	"testing"
	"time"
)

func TestMessagesCarryTheirTimeAndTakeTurnsOfTenants(t *testing.T) {
	t.Parallel()
	m := target{addr: "127.0.0.1:80", path: wanted, tenants: 12}.message(10)
	meant := time.Unix(1_700_000_000, 123)
	for _, want := range []string{"t10", "t11", "t00"} {
		text := m.at(meant)
		if !bytes.Contains(text, []byte("X-Tenant: "+want+"\r\n")) {
			t.Errorf("not of %s: %s", want, text)
		}
		var r request
		if err := r.read(bufio.NewReader(bytes.NewReader(text))); err != nil {
			t.Fatal(err)
		}
		if got, ok := field(r.body, `"creator":`); !ok || got != meant.UnixNano() || len(r.body) != bodySize {
			t.Errorf("time %d in %d bytes: %s", got, len(r.body), r.body)
		}
	}
}
