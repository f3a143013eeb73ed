package caddymodule

import (
	"bytes"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// page is what the templates get.
type page struct {
	Title   string
	Place   string
	Root    string // leads to the mount
	Now     time.Time
	Version string
	Frame   *frame // nil for those who may not see anything
	Done    string // what an action has done
	Body    any
	assets  *assets
}

// frame is what stands around every page.
type frame struct {
	Store     *storeState
	StoreName string
	InDoubt   int
	Announce  string // told by screen readers whenever it changes
}

// Asset returns the address of a file.
func (p *page) Asset(name string) string { return p.Root + "assets/" + p.assets.names[name] }

var pageFuncs = template.FuncMap{
	"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"exact":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") },
	"clock":     func(t time.Time) string { return t.UTC().Format(time.TimeOnly) },
	"ago":       func(t time.Time) string { return ago(t, time.Now()) },
	"duration":  durationText,
	"number":    numberText,
	"storeChip": storeChip,
}

// loadPages parses the templates, each page together with what all have.
var loadPages = sync.OnceValues(func() (map[string]*template.Template, error) {
	shared, err := template.New("").Funcs(pageFuncs).ParseFS(dashboardFiles, "dashboard/templates/layout.html", "dashboard/templates/parts.html")
	if err != nil {
		return nil, err
	}
	pages := make(map[string]*template.Template)
	for _, name := range []string{"overview", "webhooks", "webhook", "deliveries", "delivery", "in-doubt", "message"} {
		clone, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if pages[name], err = clone.ParseFS(dashboardFiles, "dashboard/templates/"+name+".html"); err != nil {
			return nil, err
		}
	}
	return pages, nil
})

// render answers with a page.
func (c *dashboardCall) render(status int, name, title string, f *frame, body any) error {
	pages, err := loadPages()
	if err != nil {
		return fmt.Errorf("parsing templates: %w", err)
	}
	all, err := loadAssets()
	if err != nil {
		return fmt.Errorf("reading assets: %w", err)
	}
	p := &page{
		Title: title, Place: c.place.name, Root: c.place.root(), Now: time.Now(), Version: Version(), Frame: f, Done: c.done(), Body: body, assets: all,
	}
	var out bytes.Buffer
	if err := pages[name].ExecuteTemplate(&out, "page", p); err != nil {
		return fmt.Errorf("rendering %s: %w", name, err)
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = out.WriteTo(c.w) // an error is the reader's having gone
	return nil
}

// chip is a state: a word, with a tone and an icon that say the same.
type chip struct{ Tone, Icon, Word string }

func storeChip(s *storeState) chip {
	switch s.Name {
	case stateOpen:
		return chip{"good", "check", "Store open"}
	case stateLowSpace:
		return chip{"bad", "warn", "Disk nearly full"}
	}
	return chip{"bad", "cross", "Store not open"}
}

func statusChip(s store.Status) chip {
	switch s {
	case store.Active:
		return chip{"good", "check", string(s)}
	case store.Failing:
		return chip{"bad", "warn", string(s)}
	}
	return chip{"idle", "dash", string(s)}
}

func stateChip(d *store.Delivery) chip {
	word := string(d.State)
	switch d.State {
	case store.Delivered:
		return chip{"good", "check", word}
	case store.Dead:
		return chip{"bad", "cross", word}
	case store.Delivering:
		return chip{"busy", "arrow", word}
	case store.Pending:
		if len(d.Attempts) > d.Spent {
			return chip{"warn", "again", word}
		}
		return chip{"idle", "clock", word}
	}
	return chip{"idle", "dash", word}
}

func attemptChip(a *store.Attempt) chip {
	if a.Error == "" {
		return chip{"good", "check", "succeeded"}
	}
	return chip{"bad", "cross", "failed"}
}

// ago tells a time by its distance, in both directions.
func ago(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d >= 5*time.Second:
		return distanceText(d) + " ago"
	case d > -5*time.Second:
		return "just now"
	default:
		return "in " + distanceText(-d)
	}
}

// distanceText tells a duration in one unit. The exact time is beside it.
func distanceText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " d"
}

// durationText tells a duration in at most two units.
func durationText(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "under 1 ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strings.TrimSuffix(strconv.FormatFloat(math.Floor(d.Seconds()*10)/10, 'f', 1, 64), ".0") + " s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return twoUnits(int(d.Minutes()), "min", int(d.Seconds())%60, "s", 10)
	case d < 24*time.Hour:
		return twoUnits(int(d.Hours()), "h", int(d.Minutes())%60, "min", 10)
	}
	return twoUnits(int(d.Hours())/24, "d", int(d.Hours())%24, "h", 7)
}

// twoUnits leaves out the lesser unit where there are enough of the greater.
func twoUnits(greater int, unit string, lesser int, lesserUnit string, enough int) string {
	if lesser == 0 || greater >= enough {
		return fmt.Sprintf("%d %s", greater, unit)
	}
	return fmt.Sprintf("%d %s %d %s", greater, unit, lesser, lesserUnit)
}

// numberText groups the digits of a whole number.
func numberText(n any) string {
	digits := fmt.Sprint(n)
	if f, ok := n.(float64); ok {
		digits = strconv.FormatFloat(f, 'f', 0, 64)
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// countText counts things by their name in singular and plural.
func countText[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return numberText(n) + " " + many
}

func percentText(part, whole uint64) string {
	if whole == 0 {
		return "–"
	}
	share := 100 * float64(part) / float64(whole)
	if part < whole && share > 99.9 {
		return "99.9 %" // not all
	}
	return strings.TrimSuffix(strconv.FormatFloat(share, 'f', 1, 64), ".0") + " %"
}

// quantileText is for tiles and tables, where there may be nothing.
func quantileText(s *spread, q float64) string {
	if s.n == 0 {
		return "–"
	}
	return durationText(s.quantile(q))
}

// done is what the action that led here did, in words of ours: the address only names it.
func (c *dashboardCall) done() string {
	query := c.r.URL.Query()
	switch query.Get("done") {
	case "replay":
		return "The delivery is due now."
	case "replays":
		n, _ := strconv.Atoi(query.Get("n")) // 0 of an address that somebody made up
		text := countText(n, "delivery is", "deliveries are") + " due now."
		if query.Has("more") {
			text += " It took too long to do them all: replay again for the others."
		}
		return text
	case "ping":
		return "A ping is on its way. It is sent once and listed below."
	case "enable":
		return "The webhook is enabled. It gets what happens from now on, and what waited for it."
	case "disable":
		return "The webhook is disabled. It gets nothing until it is enabled."
	case "acknowledge":
		return "The entry is acknowledged."
	}
	return ""
}

// problemTitle names a status to people.
func problemTitle(status int) string {
	switch status {
	case http.StatusNotFound:
		return "Not found"
	case http.StatusMethodNotAllowed:
		return "Not allowed"
	case http.StatusForbidden:
		return "Refused"
	case http.StatusServiceUnavailable:
		return "Not available"
	}
	return http.StatusText(status)
}
