package e2e

import (
	"net/http"
	"testing"
)

// The real binary has no handler of events, but at level debug Caddy logs each event that is emitted.
func TestEventsAreEmittedOfWebhooksDeliveriesAndTheStore(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 1ms 1ms 1ms"})
	w := p.register("ticket", rc.url("/hook?token="+p.secret("confidential")))
	rc.answer(statuses(500, 500, 500, 500, 410))
	p.ticket()
	p.logged(0, `"msg":"event"`, "benti.webhook_failing", w.UUID, rc.address, `"error":"status 500"`)
	p.logged(0, `"msg":"event"`, "benti.delivery_dead", w.UUID, `"attempts":4`)
	p.ticket()
	p.logged(0, `"msg":"event"`, "benti.webhook_disabled", w.UUID, `"status":"gone"`)

	other := p.register("ticket", rc.url("/other"))
	if status, body, err := p.adminCall(http.MethodPost, "/benti/webhooks/"+other.UUID+"/disable", "", ""); err != nil || status != http.StatusOK {
		t.Fatalf("disabling: %d, %v: %s", status, err, body)
	}
	p.logged(0, `"msg":"event"`, "benti.webhook_disabled", other.UUID, `"status":"disabled"`)

	p.reload(config{store: "min_free 900TiB", delivery: "retry 1ms 1ms 1ms"})
	p.turns("low_space")
	p.logged(0, `"msg":"event"`, "benti.store_state", `"former":"open"`, `"state":"low_space"`)
	p.must(http.StatusCreated, http.MethodPost, "/v1/tickets", `{}`)
	p.reload(config{})
	p.logged(0, `"msg":"event"`, "benti.store_state", `"former":"low_space"`, `"state":"open"`)
}
