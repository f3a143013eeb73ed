package matcher

import (
	"encoding/base64"
	"strings"
	"testing"
)

func bearer(claims string) string {
	return "Bearer e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestClaimsAreFoundInBearerTokens(t *testing.T) {
	t.Parallel()
	token := bearer(`{"sub":"u1","user_id":9007199254740993,"a":{"b":"??>>"},"ok":true}`)
	_, compact, _ := strings.Cut(token, " ")
	head, tail, _ := strings.Cut(compact, ".c2ln")
	for _, authorization := range []string{token, "bearer " + compact, "BEARER   " + compact + " ", "Bearer " + head + "==.c2ln" + tail, "Bearer " + head + "."} {
		d := parseClaims(authorization)
		for path, want := range map[string]string{"sub": "u1", "user_id": "9007199254740993", "a.b": "??>>", "ok": "", "x": ""} {
			if got := d.find(path); got != want {
				t.Errorf("%s at %s: got %q", authorization, path, got)
			}
		}
	}
}

func TestOtherCredentialsHaveNoClaims(t *testing.T) {
	t.Parallel()
	_, compact, _ := strings.Cut(bearer(`{"sub":"u1"}`), " ")
	for _, authorization := range []string{
		"", "Bearer", "Bearer ", "Basic " + compact, compact, "Bearer" + compact, "Bearer a.b", "Bearer ..", "Bearer a.!!.c", "Bearer " + compact + ".d",
		bearer(`["sub"]`), bearer(`{"sub":`), bearer(`"sub"`), bearer(`{"sub":"` + strings.Repeat("x", maxToken) + `"}`),
		bearer(strings.Repeat("[", 10_000)), "Bearer " + strings.Repeat(".", 100_000),
	} {
		d := parseClaims(authorization)
		if got := d.find("sub"); got != "" {
			t.Errorf("%.60s: got %q", authorization, got)
		}
	}
}

func FuzzJWT(f *testing.F) {
	f.Add(bearer(`{"sub":"u1"}`))
	f.Add("Bearer a.e30=.c")
	f.Add("bearer ....")
	f.Fuzz(func(t *testing.T, authorization string) {
		d := parseClaims(authorization)
		if text := d.find("sub"); text != "" && !strings.EqualFold(authorization[:6], "bearer") {
			t.Fatalf("%q: got %q", authorization, text)
		}
	})
}
