package emitter

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	echo := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Inbenta-Challenge")) }
	for name, row := range map[string]struct {
		handler http.HandlerFunc
		class   string // empty: passes
		status  int
	}{
		"echo": {echo, "", 0},
		"echo with white space": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "\r\n %s\t\n", r.Header.Get("X-Inbenta-Challenge"))
		}, "", 0},
		"status 201": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(201)
			echo(w, r)
		}, ClassStatus, 201},
		"status 500": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "root password is 1234", 500) }, ClassStatus, 500},
		"nothing":    {func(http.ResponseWriter, *http.Request) {}, ClassChallenge, 200},
		"something else": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "root password is 1234")
		}, ClassChallenge, 200},
		"more than the challenge": {func(w http.ResponseWriter, r *http.Request) {
			echo(w, r)
			fmt.Fprint(w, "!")
		}, ClassChallenge, 200},
		"the challenge, too late": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.Repeat(" ", 5000))
			echo(w, r)
		}, ClassChallenge, 200},
		"in capitals": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.ToUpper(r.Header.Get("X-Inbenta-Challenge")), "A")
		}, ClassChallenge, 200},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ClassTimeout, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var challenge atomic.Value
			url := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
				challenge.Store(r.Header.Get("X-Inbenta-Challenge"))
				checkHandshake(t, r)
				row.handler(w, r)
			})
			c := loopback(time.Second)
			c.Header = http.Header{"X-Env": {"prod"}}
			err := newTestClient(t, c).Verify(t.Context(), url+"/hook?token=1", testSecret)
			if row.class == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var ve *VerifyError
			if !errors.As(err, &ve) || ve.Class != row.class || ve.Status != row.status || ve.Message == "" {
				t.Fatalf("error %#v, want class %s and status %d", err, row.class, row.status)
			}
			sent, _ := challenge.Load().(string)
			for _, secret := range []string{testSecret, sent, "1234", "127.0.0.1", "token", "201", "500"} {
				if secret != "" && strings.Contains(ve.Error(), secret) {
					t.Errorf("message %q tells %q", ve.Message, secret)
				}
			}
		})
	}
}

// checkHandshake checks the request of a handshake as the receiver sees it.
func checkHandshake(t *testing.T, r *http.Request) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if r.Method != http.MethodGet || err != nil || len(body) != 0 || r.URL.RequestURI() != "/hook?token=1" {
		t.Errorf("%s %s with %d bytes (%v)", r.Method, r.URL, len(body), err)
	}
	if got := r.Header.Get("X-Hook-Signature"); got != testSecret {
		t.Errorf("X-Hook-Signature is %q", got)
	}
	if got := r.Header.Get("X-Inbenta-Challenge"); len(got) < 32 {
		t.Errorf("challenge is %q, too short", got)
	}
	if got := r.Header.Get("User-Agent"); got != "Bentihooks/test" {
		t.Errorf("User-Agent is %q", got)
	}
	if len(r.Header) != 3 {
		t.Errorf("header %v, want the three", r.Header)
	}
}

func TestTheChallengeMayComeBackInTheHeaderForInstanceWebhooksOnly(t *testing.T) {
	t.Parallel()
	challenge := func(r *http.Request) string { return r.Header.Get("X-Inbenta-Challenge") }
	for name, row := range map[string]struct {
		handler       http.HandlerFunc
		instance, api bool // passes
	}{
		"in the header": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Inbenta-Challenge", challenge(r))
			fmt.Fprint(w, "ok")
		}, true, false},
		"in the body": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, " ", challenge(r), "\n") }, true, true},
		"in both": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Inbenta-Challenge", challenge(r))
			fmt.Fprint(w, challenge(r))
		}, true, true},
		"in the body, another in the header": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Inbenta-Challenge", "something")
			fmt.Fprint(w, challenge(r))
		}, true, true},
		"in the header, status 204": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Inbenta-Challenge", challenge(r))
			w.WriteHeader(204)
		}, false, false},
		"in the header, cut": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Inbenta-Challenge", challenge(r)[1:])
		}, false, false},
		"in another header": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Challenge", challenge(r))
		}, false, false},
		"nowhere": {func(http.ResponseWriter, *http.Request) {}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
				checkHandshake(t, r)
				row.handler(w, r)
			}) + "/hook?token=1"
			client := newTestClient(t, loopback(5*time.Second))
			if err := client.VerifyInstance(t.Context(), url, testSecret); (err == nil) != row.instance {
				t.Errorf("instance webhook: %v", err)
			}
			if err := client.Verify(t.Context(), url, testSecret); (err == nil) != row.api {
				t.Errorf("api webhook: %v", err)
			}
		})
	}
}

func TestVerifyTellsNetworkFailuresInClasses(t *testing.T) {
	t.Parallel()
	url := serve(t, true, func(http.ResponseWriter, *http.Request) {})
	public := loopback(time.Second)
	public.AllowCIDR = nil
	stranger := loopback(time.Second)
	stranger.RootCAs = x509.NewCertPool()
	nowhere := loopback(time.Second)
	nowhere.Resolver, _ = newNameServer(t)
	for class, row := range map[string]struct {
		c           Config
		url, detail string
	}{
		ClassRefusedAddress: {public, url, "not public"},
		ClassTLS:            {stranger, url, "unknown authority"},
		ClassDNS:            {nowhere, "https://nowhere.example.com", "no such host"},
		ClassConnect:        {loopback(time.Second), "https://127.0.0.9:1", "connection refused"},
	} {
		err := newTestClient(t, row.c).Verify(t.Context(), row.url, testSecret)
		var ve *VerifyError
		if !errors.As(err, &ve) || ve.Class != class || ve.Message == "" || strings.Contains(ve.Message, "127.0.0") {
			t.Errorf("%s: error %#v", class, err)
		} else if !strings.Contains(ve.Detail, row.detail) || strings.Contains(ve.Message, ve.Detail) {
			t.Errorf("%s: detail %q, which the message must not tell: %q", class, ve.Detail, ve.Message)
		}
	}
}

func TestChallengesDiffer(t *testing.T) {
	t.Parallel()
	if a, b := newChallenge(), newChallenge(); a == b || len(a) != 32 {
		t.Errorf("challenges %q and %q", a, b)
	}
}
