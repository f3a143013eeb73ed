package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/e2e/browser"
)

const dashboardSite = "handle_path /hooks/* {\n\tbenti_dashboard {\n\t\tauthorize loopback\n\t}\n}"

// dashboardScene is a proxy with the dashboard at /hooks/ and one webhook, whose deliveries wait for an hour after a failure.
func dashboardScene(t *testing.T) (*proxy, *receiver, *webhook) {
	t.Helper()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 1h", site: dashboardSite})
	return p, rc, p.register("ticket", rc.url("/hook"))
}

// failing is how many attempts fail in a row before a webhook is.
const failing = 3

// shows waits until a part of the page has a text.
func shows(tab *browser.Page, selector, text string) {
	tab.Until(fmt.Sprintf("%q in %s", text, selector), func() bool { return strings.Contains(tab.Text(selector), text) })
}

// An operator watches a webhook fail and, once its receiver is well again, has the delivery attempted. Nothing is
// loaded anew by hand, and nothing of what is in the page is lost.
func TestDashboardShowsAFailureAndItsRepairLive(t *testing.T) {
	t.Parallel()
	p, rc, w := dashboardScene(t)
	tab := browser.Open(t, browser.Options{})
	tab.Go(p.url + "/hooks/webhooks")
	shows(tab, "#live", "Live")
	row := "#w-" + w.UUID
	shows(tab, row, "active")
	browser.Eval[bool](tab, "window.sameDocument = true")
	browser.Eval[int](tab, fmt.Sprintf("document.querySelector('%s a').focus(), 1", row))

	rc.answer(statuses(http.StatusServiceUnavailable))
	for range failing {
		p.ticket()
	}
	shows(tab, row, "failing")
	shows(tab, row, "status 503")
	shows(tab, "#announce", "Webhooks that fail: 1.")
	if !browser.Eval[bool](tab, fmt.Sprintf("window.sameDocument === true && document.activeElement === document.querySelector('%s a')", row)) {
		t.Error("the page was loaded anew, or the focus is lost")
	}

	tab.Click(row + " a")
	shows(tab, "#why", "status 503")
	d := p.settled(w, "pending")
	tab.Click("#d-" + d.ID + " a")
	shows(tab, "#state", "pending")
	shows(tab, "#request", "X-Hook-Signature: ••••••••")
	shows(tab, "#request", string(d.Event))
	if strings.Contains(browser.Eval[string](tab, "document.documentElement.outerHTML"), w.secret) {
		t.Error("the secret is in the page")
	}
	rc.answer(nil)
	tab.Click("#actions button")
	shows(tab, ".message", "The delivery is due now.")
	shows(tab, "#state", "delivered")
	shows(tab, "#attempts", "status 200")
	if strings.Contains(tab.URL(), "done=") {
		t.Errorf("what was done stays in the address: %s", tab.URL())
	}
	p.becomes(w, "active")
	tab.Go(p.url + "/hooks/")
	shows(tab, "#figures", "25 %") // of four attempts
	tab.CheckAccessible()
}

func TestDashboardIsUsableWithKeysAlone(t *testing.T) {
	t.Parallel()
	p, _, w := dashboardScene(t)
	tab := browser.Open(t, browser.Options{})
	tab.Go(p.url + "/hooks/")
	focused := func() string { return browser.Eval[string](tab, "document.activeElement.textContent.trim()") }
	to := func(name string) {
		t.Helper()
		for range 60 {
			if strings.HasPrefix(focused(), name) {
				if !browser.Eval[bool](tab, "getComputedStyle(document.activeElement).outlineStyle !== 'none'") {
					t.Errorf("the focus on %s is not to be seen", name)
				}
				return
			}
			tab.Press(browser.Tab)
		}
		t.Fatalf("%s is not reached with Tab", name)
	}
	tab.Press(browser.Tab)
	if got := focused(); got != "Skip to the content" {
		t.Errorf("first comes %q", got)
	}
	to("Webhooks")
	tab.Press(browser.Enter)
	shows(tab, "h1", "Webhooks")
	to(strings.TrimPrefix(rcHost(w), "https://"))
	tab.Press(browser.Enter)
	shows(tab, "#status", "active")
	to("Disable")
	tab.Press(browser.Enter)
	shows(tab, "#status", "disabled")
	p.becomes(w, "disabled")
	to("Enable")
	tab.Press(browser.Enter)
	shows(tab, "#status", "active")
}

func rcHost(w *webhook) string { return strings.TrimSuffix(w.URL, "/hook") }

func TestDashboardWorksWithoutJavaScript(t *testing.T) {
	t.Parallel()
	p, rc, w := dashboardScene(t)
	tab := browser.Open(t, browser.Options{NoScript: true})
	tab.Go(p.url + "/hooks/webhooks/" + w.UUID)
	if got := tab.Text("#live"); got != "" {
		t.Errorf("without JavaScript it says %q", got)
	}
	tab.Click("form[action$='/ping'] button")
	shows(tab, ".message", "A ping is on its way.")
	if got := rc.next(); got.header.Get("X-Hook-Ping") != "1" {
		t.Errorf("not a ping: %v", got.header)
	}
	rc.answer(statuses(http.StatusGatewayTimeout))
	for range failing {
		p.ticket()
	}
	p.settled(w, "pending")
	p.becomes(w, "failing")
	tab.Go(p.url + "/hooks/deliveries?state=pending")
	shows(tab, "#deliveries", "status 504")
	rc.answer(nil)
	tab.Click("#replay-title")
	tab.Click("form[action$='deliveries/replay'] button")
	shows(tab, ".message", "3 deliveries are due now.")
	p.settled(w, "delivered")
	tab.Go(p.url + "/hooks/deliveries?state=delivered")
	shows(tab, "#deliveries", "ticket add")
}

// A reload ends the streams of open pages, which come back by themselves; so does a stop.
func TestDashboardPagesDoNotHoldUpAReload(t *testing.T) {
	t.Parallel()
	p, _, _ := dashboardScene(t)
	tab := browser.Open(t, browser.Options{})
	tab.Go(p.url + "/hooks/")
	shows(tab, "#live", "Live")
	next := p.config
	next.benti = "retention 1d"
	begun := time.Now()
	p.reload(next) // waits for the former listener to close
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("the reload took %s", took)
	}
	shows(tab, "#live", "Live")
	p.register("queue", "https://"+newReceiver(t).address+"/")
	tab.Go(p.url + "/hooks/webhooks")
	shows(tab, "#webhooks", "2 of 2")
	p.stop()
	shows(tab, "#live", "Reconnecting")
	tab.Complaints() // of the server's being away
}

// A page that was opened before there was any webhook shows the first one, and its deliveries, without being loaded anew; and so
// it goes when the last one is deleted.
func TestOverviewFollowsTheFirstAndTheLastWebhook(t *testing.T) {
	t.Parallel()
	tab := browser.Open(t, browser.Options{})
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{site: dashboardSite})
	tab.Go(p.url + "/hooks/")
	shows(tab, "#live", "Live")
	shows(tab, "#first", "No webhooks yet")
	w := p.register("ticket", rc.url("/hook"))
	id := ticketID(p)
	shows(tab, "#latest", "ticket add "+id)
	shows(tab, "#store", "Deliveries ever")
	p.must(http.StatusNoContent, http.MethodDelete, "/v1/webhooks/"+w.UUID, "")
	shows(tab, "#first", "No webhooks yet")
}

func TestDemoStaysUpWithTheDashboard(t *testing.T) {
	t.Parallel()
	tab := browser.Open(t, browser.Options{})  // first, as without one the test ends here
	p := newProxy(t, newUpstream(t), config{}) // for its environment
	cmd := p.command(t.Context(), "benti", "demo")
	cmd.Env = append(cmd.Env, "TMPDIR="+p.dir)
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func() {
		p.exit = cmd.Wait()
		close(p.done)
	}()
	line := p.logged(0, "dashboard", "http://localhost:")
	url := strings.TrimSpace(line[strings.Index(line, "http://"):])
	tab.Go(url)
	shows(tab, "#latest", "ticket add 201")
	shows(tab, "#latest", "delivered")
	p.stop()
	tab.Complaints()
	if left, err := filepath.Glob(filepath.Join(p.dir, "bentihooks-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
