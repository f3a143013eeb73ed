package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const nobody = "01890000-0000-7000-8000-000000000000"

// Every operation of docs/openapi.yaml answers with every status that the file has for it, as the file says.
func TestAnswersAreAsTheOpenAPIFileSays(t *testing.T) {
	t.Parallel()
	c := readContract(t)
	up := newUpstream(t)
	p := site(t, up, config{delivery: "retry 10ms\ntimeout 30s"})
	tryRefusals(c, p, up)
	trySubscriptions(c, p, "/webhooks", `"item":"ticket"`, `{"item":"reply"}`)
	trySubscriptions(c, p, "/webhooks/app", `"events":["answer"]`, `{"events":["reply-ticket"]}`)
	tryOperations(c, p)
	tryClosedStore(c)
	c.complete()
}

// everywhere calls do for each operation that has the status in the file.
func (c *contract) everywhere(status string, do func(operation string)) {
	paths, _ := c.at("paths")
	for path := range paths.(map[string]any) {
		for _, method := range c.methods(path) {
			if answer, _ := c.at("paths", path, strings.ToLower(method), "responses", status); answer != nil {
				do(method + " " + path)
			}
		}
	}
}

// tryRefusals gets what is answered whatever the call is about.
func tryRefusals(c *contract, p *proxy, up *upstream) {
	for status, api := range map[int]int{401: 401, 403: 403, 502: 500} {
		up.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(api) })
		c.everywhere(fmt.Sprint(status), func(operation string) { c.try(p, status, operation, "") })
	}
	up.answer(nil)
	c.everywhere("401", func(operation string) {
		c.try(p, 400, operation, "", "X-Inbenta-Key", "a", "X-Inbenta-Key", "b")
	})
	paths, _ := c.at("paths")
	rc := newReceiver(c.t)
	user, instance := p.register("user", rc.url("/")), p.registerInstance(rc.url("/instance"), "answer")
	for path := range paths.(map[string]any) {
		id := user.UUID
		if strings.HasPrefix(path, "/webhooks/app/") {
			id = instance.UUID
		}
		c.try(p, 405, "PATCH "+path, "", "{id}", id, "{deliveryId}", nobody)
	}
	c.everywhere("404", func(operation string) { c.try(p, 404, operation, "", "{id}", nobody, "{deliveryId}", nobody) })
}

func trySubscriptions(c *contract, p *proxy, base, what, change string) {
	rc := newReceiver(c.t)
	one := base + "/{id}"
	input := func(url string) string { return fmt.Sprintf(`{%s,"url":%q,"secret":%q}`, what, url, p.newSecret()) }
	var created struct{ UUID string }
	c.try(p, 201, "POST "+base, input(rc.url("/"))).decode(c.t, &created)
	id := []string{"{id}", created.UUID}
	c.try(p, 200, "GET "+base, "")
	c.try(p, 200, "GET "+one, "", id...)
	c.try(p, 409, "POST "+base, input(rc.url("/")))
	for _, operation := range []string{"POST " + base, "PUT " + one} {
		c.try(p, 400, operation, "[]", id...)
		c.try(p, 413, operation, strings.Repeat(" ", 65<<10), id...)
		c.try(p, 415, operation, "x", append(id, "Content-Type", "text/plain")...)
		c.try(p, 422, operation, `{"url":"http://example.com/"}`, id...)
	}
	var second struct{ UUID string }
	c.try(p, 201, "POST "+base, input(rc.url("/2"))).decode(c.t, &second)
	c.try(p, 409, "PUT "+one, fmt.Sprintf(`{"url":%q}`, rc.url("/")), "{id}", second.UUID)
	c.try(p, 200, "PUT "+one, change, "{id}", second.UUID)

	var ping struct{ ID string }
	c.try(p, 202, "POST "+one+"/ping", "", id...).decode(c.t, &ping)
	rc.next()
	c.try(p, 202, "POST "+one+"/deliveries/{deliveryId}/redeliver", "", append(id, "{deliveryId}", ping.ID)...)
	rc.next()
	c.try(p, 400, "GET "+one+"/deliveries?limit=0", "", id...)
	c.try(p, 200, "GET "+one+"/deliveries?limit=1", "", id...)
	p.adminPost(http.StatusOK, "/benti/webhooks/"+created.UUID+"/disable", "", nil)
	c.try(p, 409, "POST "+one+"/ping", "", id...)
	c.try(p, 409, "POST "+one+"/deliveries/{deliveryId}/redeliver", "", append(id, "{deliveryId}", ping.ID)...)

	tryHandshakesInFlight(c, p, base, one, id, input)
	c.try(p, 204, "DELETE "+one, "", id...)
}

func tryHandshakesInFlight(c *contract, p *proxy, base, one string, id []string, input func(string) string) {
	const most = 8
	slow, release, ended := newReceiver(c.t), make(chan struct{}), make(chan struct{})
	slow.answerHandshake(func(w http.ResponseWriter, r *http.Request) {
		<-release
		echo(w, r)
	})
	for n := range most {
		body := input(slow.url(fmt.Sprint("/", n)))
		go func() {
			_, _ = p.do(context.Background(), http.MethodPost, base, body)
			ended <- struct{}{}
		}()
	}
	for range most {
		await(c.t, "a handshake that hangs", slow.handshakes)
	}
	c.try(p, 429, "POST "+base, input(slow.url("/more")))
	c.try(p, 429, "PUT "+one, fmt.Sprintf(`{"secret":%q}`, p.newSecret()), id...)
	close(release)
	for range most {
		await(c.t, "the end of a registration", ended)
	}
}

// await takes from a channel what must come.
func await[T any](t *testing.T, what string, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(2 * patience): // a call's own limit
		t.Fatalf("waited in vain: %s", what)
	}
	return got
}

func tryOperations(c *contract, p *proxy) {
	rc := newReceiver(c.t)
	w := p.register("ticket", rc.url("/ticket"))
	p.ticket()
	d := p.settled(w, "delivered")
	webhook, delivery := []string{"{id}", w.UUID}, []string{"{id}", d.ID}
	c.try(p, 200, "GET /benti/status", "")
	c.try(p, 200, "GET /benti/webhooks?limit=2", "")
	c.try(p, 400, "GET /benti/webhooks?status=x", "")
	c.try(p, 200, "GET /benti/webhooks/{id}", "", webhook...)
	c.try(p, 202, "POST /benti/webhooks/{id}/ping", "", webhook...)
	c.try(p, 200, "GET /benti/deliveries", "")
	c.try(p, 400, "GET /benti/deliveries?state=x", "")
	c.try(p, 200, "GET /benti/deliveries/{id}", "", delivery...)
	c.try(p, 202, "POST /benti/deliveries/{id}/replay", "", delivery...)
	c.try(p, 200, "POST /benti/deliveries/replay", `{"state":"any"}`)
	c.try(p, 400, "POST /benti/deliveries/replay", `{}`)
	c.try(p, 413, "POST /benti/deliveries/replay", strings.Repeat(" ", 65<<10))
	c.try(p, 200, "POST /benti/webhooks/{id}/disable", "", webhook...)
	c.try(p, 409, "POST /benti/webhooks/{id}/ping", "", webhook...)
	c.try(p, 409, "POST /benti/deliveries/{id}/replay", "", delivery...)
	c.try(p, 200, "POST /benti/webhooks/{id}/enable", "", webhook...)

	hang(c.t, p, p.upstream, nil, [][2]string{{"POST", "/v1/tickets"}})
	p.kill()
	p.upstream.answer(nil)
	p.start()
	c.try(p, 200, "GET /benti/in-doubt", "")
	end := p.inject(allSyncs, "error=EIO")
	c.try(p, 503, "POST /benti/in-doubt/{id}/acknowledge", "", "{id}", p.inDoubt()[0].ID)
	end()
	c.try(p, 204, "POST /benti/in-doubt/{id}/acknowledge", "", "{id}", p.inDoubt()[0].ID)
}

// tryClosedStore calls a proxy whose store has no room to be made.
func tryClosedStore(c *contract) {
	p, other := onSmallDisk(c.t, "160m", newUpstream(c.t), config{})
	other.fill(0)
	p.start()
	c.everywhere("503", func(operation string) {
		if strings.HasPrefix(operation, "POST /benti/in-doubt/") {
			return // needs no store, see tryOperations
		}
		c.try(p, 503, operation, `{"state":"dead"}`, "{id}", nobody, "{deliveryId}", nobody)
	})
	c.try(p, 200, "GET /benti/status", "")
}
