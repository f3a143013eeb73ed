package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

var items = []string{"alert", "ticket", "reply", "user", "media", "classification", "queue"}

// registerAll registers a webhook per item, each with the item for a path.
func registerAll(p *proxy, rc *receiver, path string) map[string]*webhook {
	p.t.Helper()
	all := make(map[string]*webhook)
	for _, item := range items {
		all[item] = &webhook{Item: item, URL: rc.url("/" + item), secret: p.newSecret()}
		body := registration(item, all[item].URL, all[item].secret)
		p.must(http.StatusCreated, http.MethodPost, path, body).decode(p.t, all[item])
	}
	return all
}

// checkPayload compares an event with what it must be, byte for byte but for its time, which must be a second in
// which the call was under way.
func checkPayload(t *testing.T, payload, want string, from, to time.Time) {
	t.Helper()
	_, rest, _ := strings.Cut(payload, `"timestamp":`)
	digits, _, _ := strings.Cut(rest, ",")
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || seconds < from.Unix() || seconds > to.Unix() {
		t.Errorf("timestamp %q is not from %d to %d", digits, from.Unix(), to.Unix())
	}
	if want = strings.Replace(want, "TIME", digits, 1); payload != want {
		t.Errorf("payload is\n%s, want\n%s", payload, want)
	}
}

// The table of the vendor's page, row by row.
func TestEveryRowOfTheTableGivesItsEvent(t *testing.T) {
	t.Parallel()
	rows := []struct {
		method, path, request, response string
		status                          int
		item, want                      string
	}{
		{"POST", "/tickets/100/alerts", `{"creator":4014}`, `{"id":200}`, 201, "alert", `{"id":200,"item":"alert","action":"add","timestamp":TIME,"actor":4014,"parent":100}`},
		{"POST", "/tickets", `{"creator":4014}`, `{"id":200}`, 201, "ticket", `{"id":200,"item":"ticket","action":"add","timestamp":TIME,"actor":4014,"parent":null}`},
		{"POST", "/tickets/100/subtickets", `{"creator":4014}`, `{"data":{"id":200}}`, 201, "ticket", `{"id":200,"item":"ticket","action":"add","timestamp":TIME,"actor":4014,"parent":100}`},
		{"PUT", "/tickets/100", `{"creator":4014}`, ``, 204, "ticket", `{"id":100,"item":"ticket","action":"update","timestamp":TIME,"actor":4014,"parent":null}`},
		{"POST", "/tickets/100/replies", `{"creator":4014}`, `{"data":[{"id":200}]}`, 200, "reply", `{"id":200,"item":"reply","action":"add","timestamp":TIME,"actor":4014,"parent":100}`},
		{"POST", "/users", `{"creator":4014}`, `{"uuid":"a-b"}`, 201, "user", `{"id":"a-b","item":"user","action":"add","timestamp":TIME,"actor":4014,"parent":null}`},
		{"PUT", "/users/007", `{"creator":4014}`, `{}`, 200, "user", `{"id":"007","item":"user","action":"update","timestamp":TIME,"actor":4014,"parent":null}`},
		{"POST", "/media", `{"creator":4014,"ticket_id":100}`, `{"id":"200"}`, 201, "media", `{"id":200,"item":"media","action":"add","timestamp":TIME,"actor":4014,"parent":100}`},
		{"POST", "/classifications", `{"creator":4014}`, `{"classification_id":12345678901234567890123}`, 201, "classification", `{"id":12345678901234567890123,"item":"classification","action":"add","timestamp":TIME,"actor":4014,"parent":null}`},
		{"DELETE", "/classifications/a%2Fb", ``, ``, 204, "classification", `{"id":"a/b","item":"classification","action":"remove","timestamp":TIME,"actor":null,"parent":null}`},
		{"POST", "/queues", `{"creator":4014}`, `{"queue":{"id":200}}`, 201, "queue", `{"id":200,"item":"queue","action":"add","timestamp":TIME,"actor":4014,"parent":null}`},
		{"PUT", "/queues/9", `{"creator":4014}`, `{}`, 202, "queue", `{"id":9,"item":"queue","action":"update","timestamp":TIME,"actor":4014,"parent":null}`},
	}
	for _, prefix := range []string{"", "/prod/ticketing"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			t.Parallel()
			up, rc := newUpstream(t), newReceiver(t)
			c := config{}
			if prefix != "" {
				c.handler = "prefix " + prefix
			}
			p := site(t, up, c)
			webhooks := registerAll(p, rc, prefix+"/v1/webhooks")
			for _, version := range []string{"", "/v1", "/v27"} {
				for _, slash := range []string{"", "/"} {
					for _, row := range rows {
						up.answer(up.respond(row.status, nil, row.response))
						path := prefix + version + row.path + slash
						from := time.Now()
						got := p.call(row.method, path, row.request, "X-Inbenta-Key", "")
						to := time.Now()
						if got.status != row.status || got.body != row.response {
							t.Errorf("%s %s: the client got %d %q", row.method, path, got.status, got.body)
						}
						event := rc.next()
						if event.path != "/"+row.item {
							t.Errorf("%s %s: event went to %s", row.method, path, event.path)
						}
						event.check(t, webhooks[row.item].secret)
						checkPayload(t, event.body, row.want, from, to)
						if calls := up.seen(); calls[len(calls)-1].uri != path || string(calls[len(calls)-1].body) != row.request {
							t.Errorf("%s %s: the API got %s %s", row.method, path, calls[len(calls)-1].uri, calls[len(calls)-1].body)
						}
					}
				}
			}
			rc.none()
		})
	}
}

// Cells that are empty in the vendor's table, calls that look like those in it, and calls that failed.
func TestOtherCallsGiveNoEvent(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "max_per_webhook 1"})
	webhooks := registerAll(p, rc, "/v1/webhooks")
	same := func(method, path string, got *answer, status int, body string) {
		if got.status != status || got.body != body {
			t.Errorf("%s %s: the client got %d %q, want %d %q", method, path, got.status, got.body, status, body)
		}
	}

	up.answer(func(w http.ResponseWriter, r *http.Request) { // reads too
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"id":5}`)
	})
	for _, c := range [][2]string{
		{"PUT", "/v1/tickets/1/alerts/2"},
		{"DELETE", "/v1/tickets/1/alerts/2"},
		{"DELETE", "/v1/tickets/1"},
		{"PUT", "/v1/tickets/1/replies/2"},
		{"DELETE", "/v1/tickets/1/replies/2"},
		{"DELETE", "/v1/users/1"},
		{"PUT", "/v1/media/1"},
		{"DELETE", "/v1/media/1"},
		{"PUT", "/v1/classifications/1"},
		{"DELETE", "/v1/queues/1"},
		{"GET", "/v1/tickets"},
		{"GET", "/v1/tickets/1"},
		{"GET", "/v1/queues"},
		{"PATCH", "/v1/tickets/1"},
		{"POST", "/v1/tickets/1"},
		{"PUT", "/v1/tickets"},
		{"PUT", "/v1/tickets/"},
		{"POST", "/v1/tickets//"},
		{"POST", "//v1/tickets"},
		{"POST", "/v1//tickets"},
		{"POST", "/v1/ticket"},
		{"POST", "/v1/Tickets"},
		{"POST", "/V1/tickets"},
		{"POST", "/v/tickets"},
		{"POST", "/vone/tickets"},
		{"POST", "/v1/v1/tickets"},
		{"POST", "/api/tickets"},
		{"POST", "/v1/tickets/1/2/alerts"},
		{"POST", "/v1/tickets//alerts"},
		{"POST", "/v1/tickets/1/alerts/2"},
		{"POST", "/v1/tickets/1%2Falerts"},
		{"POST", "/v1/tickets.json"},
		{"POST", "/v1/../v1/ticket"},
		{"POST", "/"},
		{"POST", "/webhook"},
		{"POST", "/v1/webhooksx"},
	} {
		same(c[0], c[1], p.call(c[0], c[1], `{"creator":1}`), http.StatusCreated, `{"id":5}`)
	}

	for _, status := range []int{300, 302, 400, 401, 404, 409, 422, 500, 503} {
		up.answer(up.respond(status, nil, `{"id":5}`))
		same("POST", "/v1/tickets", p.call("POST", "/v1/tickets", `{}`), status, `{"id":5}`)
	}
	for _, body := range []string{
		`{"errors":[{"code":7,"message":"no"}]}`, `{"error":{"code":7,"message":"no"}}`, `{"id":5,"error":"no"}`, ` {"errors":{"a":1},"id":5}`,
		`{"data":{}}`, `{"id":null}`, `not JSON`, `{"id":{"x":1}}`, // underivable
	} {
		up.answer(up.respond(http.StatusOK, nil, body))
		same("POST", "/v1/tickets", p.call("POST", "/v1/tickets", `{}`), http.StatusOK, body)
		if body != `{"data":{}}` {
			continue
		}
		line := p.logged(0, `"level":"warn"`, "no event could be derived", `"item":"ticket"`, `"reason":"no_id"`, `"request_id":"`)
		if strings.Contains(line, `"request_id":""`) {
			t.Errorf("the request has no id: %s", line)
		}
	}
	// Empty error fields are no error. This event also comes last: what comes before it would show.
	up.answer(up.respond(http.StatusOK, nil, `{"id":6,"errors":[],"error":null}`))
	p.must(http.StatusOK, "POST", "/v1/tickets", `{}`)
	if got := rc.next(); !strings.HasPrefix(got.body, `{"id":6,`) {
		t.Errorf("unexpected event %s", got.body)
	}
	for item, w := range webhooks {
		list, _ := p.page(w, "")
		if want := map[bool]int{true: 1}[item == "ticket"]; len(list) != want {
			t.Errorf("%s: %d deliveries, want %d: %+v", item, len(list), want, list)
		}
	}
}

// Bodies in all their wrappings are understood, and go through unchanged.
func TestBodiesAreUnderstoodAndUnchanged(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("media", rc.url("/"))
	const multipart = "--B\r\nContent-Disposition: form-data; name=\"ticket_id\"\r\n\r\n100\r\n" +
		"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\nContent-Type: application/octet-stream\r\n\r\n\x00\xff{}\r\n" +
		"--B\r\nContent-Disposition: form-data; name=\"creator\"\r\n\r\n4014\r\n--B--\r\n"
	requests := []struct{ name, contentType, body string }{
		{"json", "application/json; charset=utf-8", `{"ticket_id":100,"creator":4014}`},
		{"json without a type", "", `{"ticket_id":100,"creator":4014}`},
		{"urlencoded", "application/x-www-form-urlencoded", `ticket_id=100&creator=4014`},
		{"multipart", "multipart/form-data; boundary=B", multipart},
	}
	const plain = `{"data":{"id":200}}`
	responses := []struct {
		encoding, body string
	}{
		{"", plain},
		{"gzip", gzipped(plain)},
		{"deflate", deflated(plain)},
		{"br", unhex(t, "0b09807b2264617461223a7b226964223a3230307d7d03")},
		{"zstd", unhex(t, "28b52ffd04009900007b2264617461223a7b226964223a3230307d7def9d281b")},
	}
	for _, request := range requests {
		for _, response := range responses {
			t.Run(request.name+" and "+response.encoding, func(t *testing.T) {
				header := http.Header{"X-Api": {"b", "a"}}
				if response.encoding != "" {
					header.Set("Content-Encoding", response.encoding)
				}
				up.answer(up.respond(http.StatusCreated, header, response.body))
				from := time.Now()
				got := p.must(http.StatusCreated, "POST", "/media", request.body, "Content-Type", request.contentType, "Accept-Encoding", response.encoding)
				if got.body != response.body || got.header.Get("Content-Encoding") != response.encoding || fmt.Sprint(got.header["X-Api"]) != "[b a]" {
					t.Errorf("the client got %q, %v", got.body, got.header)
				}
				calls := up.seen()
				if last := calls[len(calls)-1]; string(last.body) != request.body || last.header.Get("Content-Type") != request.contentType {
					t.Errorf("the API got %q, %v", last.body, last.header)
				}
				want := `{"id":200,"item":"media","action":"add","timestamp":TIME,"actor":4014,"parent":100}`
				checkPayload(t, rc.next().body, want, from, time.Now())
			})
		}
	}
}

// The first that is found of the places where an actor may be.
func TestActorIsFoundInItsUsualPlaces(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("ticket", rc.url("/"))
	jwt := func(claims string) string {
		encode := base64.RawURLEncoding.EncodeToString
		return "Bearer " + encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
	}
	for _, c := range []struct{ name, authorization, request, response, actor string }{
		{"user_id of the token", jwt(`{"user_id":"17","sub":"x"}`), `{"creator":1}`, `{"id":1,"actor":2}`, `17`},
		{"sub of the token", jwt(`{"sub":"jo"}`), `{"creator":1}`, `{"id":1,"actor":2}`, `"jo"`},
		{"actor of the response", "", `{"actor":1}`, `{"id":1,"actor":2,"creator":3}`, `2`},
		{"creator's id of the response", "Bearer no.jwt", `{"actor":1}`, `{"id":1,"creator":{"id":9007199254740993}}`, `9007199254740993`},
		{"creator of the response", "Basic x", `{"actor":1}`, `{"id":1,"creator":"jo"}`, `"jo"`},
		{"actor of the request", "", `{"actor":"007","creator":1}`, `{"id":1}`, `"007"`},
		{"nowhere", "", `{}`, `{"id":1}`, `null`},
		{"not a scalar", "", `{"creator":{"id":4}}`, `{"id":1}`, `null`},
		{"text to be escaped", "", `{"creator":"\"\\\u0000\u2028é"}`, `{"id":1}`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			up.answer(up.respond(http.StatusCreated, nil, c.response))
			header := []string{}
			if c.authorization != "" {
				header = []string{"Authorization", p.secret(c.authorization)}
			}
			from := time.Now()
			p.must(http.StatusCreated, "POST", "/tickets", c.request, header...)
			got := rc.next()
			if c.actor == "" {
				var event struct{ Actor string }
				(&answer{body: `{"Actor":` + between(got.body, `"actor":`, `,"parent"`) + `}`}).decode(t, &event)
				if event.Actor != "\"\\\x00\u2028é" {
					t.Errorf("actor is %q in %s", event.Actor, got.body)
				}
				return
			}
			checkPayload(t, got.body, `{"id":1,"item":"ticket","action":"add","timestamp":TIME,"actor":`+c.actor+`,"parent":null}`, from, time.Now())
		})
	}
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}
