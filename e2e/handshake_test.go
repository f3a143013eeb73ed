package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestHandshakeAsksTheReceiver(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "header X-Env prod"})
	seen := make(map[string]bool)
	for n := range 3 {
		w := p.register("ticket", fmt.Sprint(rc.url("/hook?n="), n), "X-Inbenta-Key", "of the caller", "Cookie", "a=b")
		got := <-rc.handshakes
		challenge := got.header.Get("X-Inbenta-Challenge")
		if len(challenge) < 22 || seen[challenge] { // 128 bits in base64
			t.Errorf("challenge %q", challenge)
		}
		seen[challenge] = true
		if got.header.Get("X-Hook-Signature") != w.secret || got.body != "" || got.path != "/hook" {
			t.Errorf("handshake at %s with %v, body %q", got.path, got.header, got.body)
		}
		for _, name := range []string{"Authorization", "Cookie", "X-Inbenta-Key"} {
			if got.header.Get(name) != "" {
				t.Errorf("header %s of the caller came along", name)
			}
		}
	}
	// White space around the challenge is nothing, nor is what lies beyond 4 KiB of it.
	rc.answerHandshake(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, " \r\n\t%s\n ", r.Header.Get("X-Inbenta-Challenge"))
	})
	p.register("queue", rc.url("/"))
}

func TestHandshakeThatFailsRegistersNothing(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := site(t, up, config{delivery: "timeout 300ms"})
	answers := func(script http.HandlerFunc) string {
		rc := newReceiver(t)
		rc.answerHandshake(script)
		return rc.url("/path")
	}
	status := func(code int) string {
		return answers(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			echo(w, r)
		})
	}
	elsewhere := newReceiver(t)
	expired, err := certs.issue("localhost", -time.Hour, net.IPv4(127, 0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	otherName, err := certs.issue("example.com", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := newAuthority("")
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(plain.Close)
	for _, c := range []struct{ name, url, class string }{
		{"wrong body", answers(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "of the answer") }), "challenge"},
		{"empty body", answers(func(http.ResponseWriter, *http.Request) {}), "challenge"},
		{"challenge and more", answers(func(w http.ResponseWriter, r *http.Request) {
			echo(w, r)
			io.WriteString(w, "of the answer")
		}), "challenge"},
		{"challenge in the header alone", answers(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Inbenta-Challenge", r.Header.Get("X-Inbenta-Challenge"))
		}), "challenge"},
		{"challenge behind 5 KiB of space", answers(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.Repeat(" ", 5<<10))
			echo(w, r)
		}), "challenge"},
		{"404", status(404), "status"},
		{"201", status(201), "status"},
		{"500", status(500), "status"},
		{"redirect", answers(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.url("/"), http.StatusFound)
		}), "status"},
		{"hangs", answers(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "time"},
		{"endless", answers(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, " ")
				http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		}), "time"},
		{"breaks off", answers(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "connection"},
		{"nobody listens", fmt.Sprintf("https://127.0.0.1:%d/", freePort(t)), "connection"},
		{"expired certificate", newReceiverAs(t, expired).url("/"), "TLS"},
		{"certificate for another name", newReceiverAs(t, otherName).url("/"), "TLS"},
		{"certificate of strangers", newReceiverAs(t, strangers.local).url("/"), "TLS"},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), "TLS"},
		{"address not allowed", "https://10.255.255.1/", "address"},
		{"no such host", "https://no-such-host.invalid/", "resolved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := p.call(http.MethodPost, "/v1/webhooks", registration("ticket", c.url, p.newSecret()))
			message := got.checkError(t, http.StatusUnprocessableEntity, "url")
			if !strings.Contains(message, c.class) {
				t.Errorf("message %q does not name the class %q", message, c.class)
			}
			// No detail that would make the call a port scanner.
			for _, detail := range []string{"127.0.0.1", "10.255", "of the answer", "404", "500", "refused by", "certificate has", "x509"} {
				if strings.Contains(message, detail) {
					t.Errorf("message %q tells %q", message, detail)
				}
			}
			if list := p.webhooks(); len(list) != 0 {
				t.Errorf("registered all the same: %+v", list)
			}
		})
	}
	if n := elsewhere.connections.Load(); n != 0 {
		t.Errorf("%d connections to where a redirect points", n)
	}
}

// An address that is no longer allowed is not attempted either.
func TestAddressIsCheckedOnEveryAttempt(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	w := p.register("ticket", rc.url("/"))
	before := rc.connections.Load()
	p.reload(config{public: true, delivery: "retry 50ms"})
	p.ticket()
	d := p.settled(w, "dead")
	if e := d.Attempts[0].Error; e == nil || !strings.HasPrefix(*e, "refused_address") {
		t.Errorf("listed: %+v", d)
	}
	if n := rc.connections.Load(); n != before {
		t.Errorf("%d connections to the receiver", n-before)
	}
}

func TestHandshakesInFlightAreBounded(t *testing.T) {
	t.Parallel()
	const most = 8
	up, slow, quick := newUpstream(t), newReceiver(t), newReceiver(t)
	p := site(t, up, config{delivery: "timeout 30s"})
	release := make(chan struct{})
	slow.answerHandshake(func(w http.ResponseWriter, r *http.Request) {
		<-release
		echo(w, r)
	})
	results := make(chan int, most)
	for n := range most {
		body := registration("ticket", fmt.Sprint(slow.url("/"), n), p.newSecret())
		go func() {
			got, err := p.do(t.Context(), http.MethodPost, "/webhooks", body)
			if err != nil {
				results <- 0
				return
			}
			results <- got.status
		}()
	}
	for range most {
		<-slow.handshakes
	}
	got := p.call(http.MethodPost, "/webhooks", registration("ticket", quick.url("/"), p.newSecret()))
	got.checkError(t, http.StatusTooManyRequests, "")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	p.register("ticket", quick.url("/"), "X-Inbenta-Key", "another project") // is not held up
	close(release)
	for range most {
		if status := <-results; status != http.StatusCreated {
			t.Errorf("status %d", status)
		}
	}
	p.register("ticket", quick.url("/"))
}
