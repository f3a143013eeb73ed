package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// partOfUpload is how much of a body the API reads before it is given up. It is less than what is sent: where the proxy's
// buffer ends is chance.
const partOfUpload = 32 << 10

// takesPart is a script that reads part of a body, and waits for the proxy to give up.
func takesPart(c *apiConn) {
	n, err := io.CopyN(io.Discard, c.in, partOfUpload)
	c.note(fmt.Sprintf("%s%d bytes of the body, %v", c.request.head, n, err))
	c.note(fmt.Sprint("gone: ", c.drainToEnd()))
}

// answersAtLength is a script that sends more than is on its way at any time.
func answersAtLength(c *apiConn) {
	c.readRequest()
	c.send(ok(201, asJSON, created(huge)))
	c.note(fmt.Sprint("gone: ", c.drainToEnd()))
}

// goesOn is a script that answers after the client has gone, unless the proxy hangs up within a moment.
func goesOn(c *apiConn) {
	c.readRequest()
	c.current.await()
	// Long enough for the proxy to notice the client's leave: without us it takes a millisecond.
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err := c.in.Peek(1)
	_ = c.SetReadDeadline(time.Time{})
	c.send(ok(201, asJSON, created(60)))
	c.note(fmt.Sprint("gone: ", !errors.Is(err, os.ErrDeadlineExceeded)))
}

var stages = []struct {
	at     stage
	script apiScript
}{{inUpload, takesPart}, {beforeAnswer, leftAlone}, {inAnswer, answersAtLength}}

func TestExchangesThatClientsCancelAreTheSameWithAndWithoutUs(t *testing.T) {
	t.Parallel()
	tw := newTwin(t)
	var want []string
	start := time.Now()
	for _, protocol := range []string{"2", "3"} {
		for _, path := range append([]string{wantedPath, "/async/v1/tickets", "/handled/v1/tickets"}, otherPaths...) {
			wanted := strings.HasSuffix(path, wantedPath)
			for _, stage := range stages {
				id := fmt.Sprint(tw.nextID())
				name := fmt.Sprintf("HTTP/%s client cancels %s to %s", protocol, stage.at, path)
				plain := tw.cancel(t, without, protocol, path, id, stage.at, stage.script)
				if wanted && stage.at == beforeAnswer { // the wanted difference: the call goes on
					if !strings.HasSuffix(plain.api, "gone: true") {
						t.Errorf("%s, without us: the API saw %s", name, plain.api)
					}
					plain.api = strings.TrimSuffix(plain.api, "true") + "false"
					stage.script = goesOn
				}
				ours := tw.cancel(t, with, protocol, path, id, stage.at, stage.script)
				tw.check(t, name, plain, ours)
				if wanted && stage.at != inUpload {
					want = append(want, id)
				}
			}
		}
	}
	tw.checkEvents(t, want)
	t.Logf("%d exchanges compared, of which %d made events, in %v", tw.cases.Load(), len(want), time.Since(start).Round(time.Millisecond))
}

// cancel makes an exchange up to a stage and gives it up. Then it makes another over the same connection.
func (tw *twin) cancel(t *testing.T, site int, protocol, path, id string, at stage, script apiScript) (seen outcome) {
	t.Helper()
	client := tw.sites[site].client(protocol).(canceller)
	defer client.close()
	x := &exchange{id: id, protocol: protocol, method: "POST", path: path, sending: "none"}
	if at == inUpload {
		x.sending, x.body = "length", created(1<<20)
	}
	api := tw.api.expect(id, named(script, id))
	defer tw.api.forget(id)
	seen.client = client.cancel(x, at, func() { seen.api = api.next() })
	api.proceed <- struct{}{}

	after := &exchange{id: id + "-after", protocol: protocol, method: "POST", path: "/v1/other", sending: "length", body: fire}
	next := tw.api.expect(after.id, answered(ok(200, asJSON, created(60))))
	defer tw.api.forget(after.id)
	seen.client += "\n" + client.exchange(after)
	seen.api += "\n" + next.next() + "\n" + api.next()
	return seen
}
