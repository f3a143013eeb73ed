package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bentihooks/bentihooks/e2e/browser"
)

// pages are all kinds of pages, by names.
func (s *dashboardScene) pages() map[string]string {
	return map[string]string{
		"overview": "", "overview-day": "?span=day", "webhooks": "webhooks", "webhook": "webhooks/" + s.webhooks["3"].ID,
		"webhook-gone": "webhooks/" + s.webhooks["6"].ID, "webhook-disabled": "webhooks/" + s.webhooks["4"].ID,
		"deliveries": "deliveries", "deliveries-dead": "deliveries?state=dead", "delivery-dead": "deliveries/" + s.ids["dead"],
		"delivery-pending": "deliveries/" + s.ids["pending"], "delivery": "deliveries/" + s.ids["delivered"], "in-doubt": "in-doubt",
		"none": "deliveries?project=nobody", "done": "webhooks/" + s.webhooks["0"].ID + "?done=ping",
	}
}

// Each page is checked in both colours and on a small screen. With BENTI_SCREENSHOTS, pictures go into the folder it names.
func TestDashboardIsAccessible(t *testing.T) {
	s, dir := newDashboardScene(t, true), os.Getenv("BENTI_SCREENSHOTS")
	for _, o := range []browser.Options{{}, {Dark: true}, {Width: 390, Height: 844}, {Width: 390, Height: 844, Dark: true}} {
		tab := browser.Open(t, o)
		for name, path := range s.pages() {
			tab.Go(s.site + "/hooks/" + path)
			tab.Until("life", func() bool { return tab.Text("#live") == "Live" })
			browser.Eval[int](tab, "document.querySelectorAll('details').forEach((d) => d.open = true), 1")
			tab.CheckAccessible()
			if dir == "" {
				continue
			}
			tab.Go(s.site + "/hooks/" + path)
			tab.Until("life", func() bool { return tab.Text("#live") == "Live" })
			look := map[bool]string{false: "light", true: "dark"}[o.Dark]
			if o.Width != 0 {
				look += "-phone"
			}
			savePicture(t, filepath.Join(dir, fmt.Sprintf("%s-%s.png", name, look)), tab.Screenshot())
			savePicture(t, filepath.Join(dir, fmt.Sprintf("view-%s-%s.png", name, look)), tab.View())
		}
	}
}

func TestEmptyDashboardAndItsRefusalsAreAccessible(t *testing.T) {
	s, dir := newDashboardScene(t, false), os.Getenv("BENTI_SCREENSHOTS")
	s.mustLoad(s.caddyfile("", openDashboard+"\n\thandle_path /closed/* {\n\t\tbenti_dashboard\n\t}"))
	tab := browser.Open(t, browser.Options{})
	for name, path := range map[string]string{
		"empty": "hooks/", "empty-webhooks": "hooks/webhooks", "empty-deliveries": "hooks/deliveries", "empty-in-doubt": "hooks/in-doubt",
		"refused": "closed/", "not-found": "hooks/nowhere",
	} {
		tab.Go(s.site + "/" + path)
		tab.CheckAccessible()
		if dir == "" {
			continue
		}
		savePicture(t, filepath.Join(dir, name+"-light.png"), tab.Screenshot())
	}
	for _, complaint := range tab.Complaints() { // of the status, which is no fault
		if !strings.Contains(complaint, "the server responded with a status of 40") {
			t.Error(complaint)
		}
	}
}

func savePicture(t *testing.T, file string, picture []byte) {
	t.Helper()
	if err := os.WriteFile(file, picture, 0o600); err != nil {
		t.Fatal(err)
	}
}
