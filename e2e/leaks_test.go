package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Every test ends with a look for the secrets it used, in whatever the proxy let out: its log at level debug, answers to
// clients and on the admin endpoint, requests to the API, and the files it wrote.

// secret makes a text known as one that must not come out.
func (p *proxy) secret(text string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secrets = append(p.secrets, text)
	return text
}

// newSecret makes a secret of a webhook, which unlike a client's credentials is not the API's business either.
func (p *proxy) newSecret() string {
	text := "a secret " + rand.Text()
	p.mu.Lock()
	p.hookSecrets = append(p.hookSecrets, text)
	p.mu.Unlock()
	return p.secret(text)
}

// leak returns the line of a text in which a secret stands, in clear or in an encoding that hides nothing; "" if none does.
func leak(text []byte, secrets []string) string {
	for _, secret := range secrets {
		for _, form := range []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), fmt.Sprintf("%x", secret),
		} {
			if at := bytes.Index(text, []byte(form)); at >= 0 {
				line := lineAt(text, at)
				return string(line[:min(len(line), 2000)])
			}
		}
	}
	return ""
}

func (p *proxy) knownSecrets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.secrets[:len(p.secrets):len(p.secrets)]
}

// checkAnswer looks at what a client, or an operator, got. It may be called from any goroutine.
func (p *proxy) checkAnswer(path string, header http.Header, body []byte) {
	text := append(fmt.Appendf(nil, "%v\n", header), body...)
	if line := leak(text, p.knownSecrets()); line != "" {
		p.t.Errorf("a secret is in the answer to %s: %s", path, line)
	}
}

// askAll asks for all that the admin endpoint shows, so that [proxy.checkAnswer] sees it.
func (p *proxy) askAll() {
	for _, path := range []string{
		"/config/", "/metrics", "/benti/status", "/benti/in-doubt", "/reverse_proxy/upstreams", "/debug/vars", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline",
	} {
		if _, _, err := p.adminCall(http.MethodGet, path, "", ""); err != nil {
			return // it has ended, or hangs: other checks say so
		}
	}
}

// checkUpstream looks at what the API got.
func (p *proxy) checkUpstream() {
	for _, c := range p.upstream.seen() {
		text := append(fmt.Appendf(nil, "%s %s %v ", c.method, c.uri, c.header), c.body...)
		if line := leak(text, p.hookSecrets); line != "" {
			p.t.Errorf("a webhook's secret went to the API: %s", line)
			return
		}
	}
}

// checkFiles looks at the files that the proxy wrote, among them autosave.json, Caddy's copy of its configuration. Those of a
// store hold secrets, unless it is encrypted.
func (p *proxy) checkFiles() {
	secrets := p.knownSecrets()
	encrypted := strings.Contains(p.config.store, "encryption_key")
	err := filepath.WalkDir(p.dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path == filepath.Dir(p.data) && !encrypted:
			return filepath.SkipDir
		case !e.Type().IsRegular() || filepath.Dir(path) == p.dir: // what the test wrote
			return nil
		}
		content, err := os.ReadFile(path)
		if line := leak(bytes.Trim(content, "\x00"), secrets); line != "" {
			p.t.Errorf("a secret is in the file %s: %q", path, line)
		}
		return err
	})
	if err != nil {
		p.t.Errorf("looking for secrets in files: %v", err)
	}
}
