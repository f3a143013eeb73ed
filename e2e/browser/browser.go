// Package browser drives a headless Chromium in tests. What a page complains about, on its console or because of its content
// security policy, fails the test.
package browser

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// patience is how long a page may take for anything.
const patience = 30 * time.Second

// Keys for [Page.Press].
const (
	Tab   = kb.Tab
	Enter = kb.Enter
)

// Options say what kind of reader looks at the pages.
type Options struct {
	Dark     bool // prefers dark colours
	NoScript bool
	Width    int64 // of the window; 1280 if 0
	Height   int64 // 900 if 0
}

// Page is a tab of a browser of its own. Its methods end the test on failure.
type Page struct {
	t   testing.TB
	ctx context.Context // of the tab

	mu         sync.Mutex
	complaints []string
}

// Open starts a browser. The test is skipped where there is no Chromium.
func Open(t testing.TB, o Options) *Page {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium on PATH")
	}
	if o.Width == 0 {
		o.Width, o.Height = 1280, 900
	}
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(int(o.Width), int(o.Height)),
	}
	for _, name := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update",
		"disable-sync", "disable-dev-shm-usage", "hide-scrollbars",
	} {
		flags = append(flags, chromedp.Flag(name, true))
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, cancel := chromedp.NewContext(allocator)
	p := &Page{t: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	var listening sync.WaitGroup
	listening.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleWarning || m.IsException() {
				p.complain(m.String() + " " + m.URL)
			}
		}
	})
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser to end
		cancel()
		end()
		listening.Wait()
		for _, complaint := range p.Complaints() {
			t.Errorf("the browser complains: %s", complaint)
		}
	})
	scheme := "light"
	if o.Dark {
		scheme = "dark"
	}
	Call(p, "opening the browser", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}}
		if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
			return err
		}
		metrics := emulation.SetDeviceMetricsOverrideParams{Width: o.Width, Height: o.Height, DeviceScaleFactor: 1}
		if _, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, metrics); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: o.NoScript})
		return err
	}))
	return p
}

func (p *Page) complain(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complaints = append(p.complaints, text)
}

// Complaints returns what the pages complained about, and forgets it: the test is not failed for it.
func (p *Page) Complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.complaints
	p.complaints = nil
	return all
}

// Call runs an action; what tells about it if it fails.
func Call[T any](p *Page, what string, action chromedp.Action[T]) T {
	p.t.Helper()
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	// Not with a context that ends: the first action ties the browser to its own.
	go func() {
		value, err := chromedp.Run(p.ctx, action)
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			p.t.Fatalf("%s: %v", what, o.err)
		}
		return o.value
	case <-time.After(patience):
		p.t.Fatalf("%s: not done after %s", what, patience)
		panic("unreachable")
	}
}

// Eval runs JavaScript in the page, outside of the page's content security policy, and returns its value.
func Eval[T any](p *Page, script string) T {
	p.t.Helper()
	return Call(p, "running "+script, chromedp.Evaluate[T](script))
}

// Go opens an address.
func (p *Page) Go(url string) {
	p.t.Helper()
	Call(p, "opening "+url, chromedp.Navigate(url))
}

// Click clicks the first element that a CSS selector finds, once it is to be seen.
func (p *Page) Click(selector string) {
	p.t.Helper()
	Call(p, "clicking "+selector, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Press presses a key where the focus is.
func (p *Page) Press(key string) {
	p.t.Helper()
	Call(p, "pressing a key", chromedp.KeyEvent(key))
}

// Text returns the text of the first element that a selector finds, or nothing.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	return Call(p, "reading "+selector, chromedp.Evaluate[string](fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector)))
}

// URL returns the address of the page.
func (p *Page) URL() string {
	p.t.Helper()
	return Call(p, "asking for the address", chromedp.Location())
}

// Until waits for a condition.
func (p *Page) Until(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain for %s; the page %s shows:\n%s", what, p.URL(), p.Text("main"))
		}
	}
}

//go:embed accessible.js
var accessible string

// CheckAccessible fails the test for what makes the page hard to use with a keyboard, a screen reader, weak eyes or a small screen,
// as far as a program can tell.
func (p *Page) CheckAccessible() {
	p.t.Helper()
	for _, finding := range Eval[[]string](p, accessible) {
		p.t.Errorf("%s: %s", p.URL(), finding)
	}
}

// Screenshot returns the whole page as PNG.
func (p *Page) Screenshot() []byte {
	p.t.Helper()
	return Call(p, "taking a screenshot", chromedp.FullScreenshot(100))
}

// View returns what the window shows as PNG.
func (p *Page) View() []byte {
	p.t.Helper()
	return Call(p, "taking a picture of the window", chromedp.CaptureScreenshot())
}
