package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// receiver is a server that webhooks point to. Unless told otherwise it agrees to every handshake and accepts
// every delivery.
type receiver struct {
	t           *testing.T
	address     string
	certificate tls.Certificate
	connections atomic.Int32 // ever accepted
	released    chan struct{}

	// posts and handshakes are what it got, in order; both are large enough to never block.
	posts      chan *post
	handshakes chan *post

	mu        sync.Mutex
	server    *http.Server
	script    func(http.ResponseWriter, *post)
	handshake http.HandlerFunc
}

// post is a request as the receiver got it.
type post struct {
	path   string
	proto  string
	header http.Header
	body   string
	at     time.Time
	done   <-chan struct{} // closed when the sender has gone
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	return newReceiverAs(t, certs.local)
}

// newReceiverAs makes a receiver with a certificate of choice.
func newReceiverAs(t *testing.T, certificate tls.Certificate) *receiver {
	t.Helper()
	rc := &receiver{
		t: t, address: fmt.Sprintf("127.0.0.1:%d", freePort(t)), certificate: certificate, released: make(chan struct{}),
		posts: make(chan *post, 100_000), handshakes: make(chan *post, 10_000),
	}
	rc.up()
	t.Cleanup(func() {
		close(rc.released)
		rc.down()
	})
	return rc
}

func (rc *receiver) url(path string) string { return "https://" + rc.address + path }

// up has the receiver listen, at the same address as before.
func (rc *receiver) up() {
	rc.t.Helper()
	listener := listen(rc.t, rc.address)
	server := &http.Server{
		Handler:   rc,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{rc.certificate}},
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				rc.connections.Add(1)
			}
		},
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.server = server
	go server.ServeTLS(listener, "", "")
}

// down has the receiver refuse connections and break those it has.
func (rc *receiver) down() {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.server != nil {
		rc.server.Close()
	}
	rc.server = nil
}

// answer has deliveries answered by a script from now on; nil accepts them.
func (rc *receiver) answer(script func(http.ResponseWriter, *post)) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.script = script
}

// answerHandshake has handshakes answered by a script from now on; nil agrees.
func (rc *receiver) answerHandshake(script http.HandlerFunc) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.handshake = script
}

// ServeHTTP implements http.Handler.
func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	got := &post{path: r.URL.Path, proto: r.Proto, header: r.Header, body: string(body), at: time.Now(), done: r.Context().Done()}
	rc.mu.Lock()
	script, handshake := rc.script, rc.handshake
	rc.mu.Unlock()
	if r.Method == http.MethodGet {
		rc.handshakes <- got
		if handshake == nil {
			handshake = echo
		}
		handshake(w, r)
		return
	}
	rc.posts <- got
	if script != nil {
		script(w, got)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, r.Header.Get("X-Inbenta-Challenge")+"\n")
}

// statuses is a script that answers with one status after the other, the last for good.
func statuses(codes ...int) func(http.ResponseWriter, *post) {
	var n atomic.Int32
	return func(w http.ResponseWriter, _ *post) {
		w.WriteHeader(codes[min(int(n.Add(1)), len(codes))-1])
	}
}

// hang is a script that does not answer until the sender has gone or the test ends.
func (rc *receiver) hang(_ http.ResponseWriter, got *post) {
	select {
	case <-got.done:
	case <-rc.released:
	}
}

// next waits for a delivery.
func (rc *receiver) next() *post {
	rc.t.Helper()
	select {
	case got := <-rc.posts:
		return got
	case <-time.After(patience):
		rc.t.Fatal("no delivery came")
		return nil
	}
}

// none fails if a delivery has come that next did not return. Call it when what could have come has come.
func (rc *receiver) none() {
	rc.t.Helper()
	select {
	case got := <-rc.posts:
		rc.t.Errorf("unexpected delivery to %s: %s", got.path, got.body)
	default:
	}
}

func (p *post) id() string { return p.header.Get("X-Hook-Delivery") }

func (p *post) attempt() int {
	n, _ := strconv.Atoi(p.header.Get("X-Hook-Attempt"))
	return n
}

var (
	uuidForm  = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	agentForm = regexp.MustCompile(`^Bentihooks/\S+$`)
)

// check fails unless the request keeps the contract of a delivery, by its header and its signature.
func (p *post) check(t *testing.T, secret string) {
	t.Helper()
	want := map[string]string{
		"Content-Type": "application/json", "X-Hook-Signature": secret, "Webhook-Id": p.id(),
		"Content-Length": strconv.Itoa(len(p.body)),
	}
	for name, value := range want {
		if got := p.header.Values(name); len(got) != 1 || got[0] != value {
			t.Errorf("header %s is %q, want %q", name, got, value)
		}
	}
	if !uuidForm.MatchString(p.id()) {
		t.Errorf("X-Hook-Delivery %q is no uuid", p.id())
	}
	if p.attempt() < 1 {
		t.Errorf("X-Hook-Attempt is %q", p.header.Get("X-Hook-Attempt"))
	}
	if agent := p.header.Get("User-Agent"); !agentForm.MatchString(agent) {
		t.Errorf("User-Agent is %q", agent)
	}
	timestamp := p.header.Get("Webhook-Timestamp")
	if seconds, err := strconv.ParseInt(timestamp, 10, 64); err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
		t.Errorf("webhook-timestamp is %q", timestamp)
	}
	if got, want := p.header.Get("Webhook-Signature"), signature(p.id(), timestamp, p.body, secret); got != want {
		t.Errorf("webhook-signature is %q, want %q", got, want)
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Inbenta-Key", "X-Forwarded-For", "Idempotency-Key"} {
		if value, ok := p.header[name]; ok {
			t.Errorf("header %s: %q should not be there", name, value)
		}
	}
}

// signature is what the Standard Webhooks specification demands, with the secret's bytes for a key.
func signature(id, timestamp, body string, secrets ...string) string {
	var all []string
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(all, " ")
}
