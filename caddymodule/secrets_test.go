package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A token that is written out in a Caddyfile is not in the configuration that Caddy keeps and shows.
func TestWrittenOutTokensAreAdaptedToTheirDigests(t *testing.T) {
	t.Parallel()
	const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" // of "test"
	config, err := adapt(":80 {\n\tbenti_webhooks {\n\t\tauthorize bearer test secret-token {env.TOKEN} " + digest + "\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(config); strings.Count(text, digest) != 2 || !strings.Contains(text, "{env.TOKEN}") || strings.Contains(text, "secret-token") {
		t.Errorf("adapted to %s", text)
	}
}

func TestTokensAreComparedByTheirDigests(t *testing.T) {
	t.Parallel()
	a := &Authorize{Mode: "bearer", Tokens: []string{"plain", hideTokens([]string{"hidden"})[0], "sha256:short"}}
	if err := a.provision(); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]bool{"plain": true, "hidden": true, "sha256:short": true, a.Tokens[1]: false, "": false, "short": false} {
		r := httptest.NewRequest(http.MethodGet, "/webhooks", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if err := a.compareToken(httptest.NewRecorder(), r); (err == nil) != want {
			t.Errorf("%q: %v", token, err)
		}
	}
}
