package emitter

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// TestPostSendsExactlyTheContract reads the request as it is on the wire.
func TestPostSendsExactlyTheContract(t *testing.T) {
	t.Parallel()
	wire := make(chan string, 1)
	url := serveConn(t, true, func(conn net.Conn) {
		var seen bytes.Buffer
		req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &seen)))
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			t.Error(err)
		}
		wire <- seen.String()
		fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		untilClosed(conn)
	})
	c := loopback(5 * time.Second)
	c.Header = http.Header{"X-Env": {"prod"}}
	d, w := event(), hook(url+"/hook?token=1")
	d.Ping, d.TraceContext = true, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	d.Attempts = make([]store.Attempt, 2)
	w.PreviousSecret, w.PreviousUntil = "the old one", time.Now().Add(time.Hour)

	res := newTestClient(t, c).Post(t.Context(), w, d)
	if res.Class != ClassDelivered || res.Attempt.Status != 204 || res.Attempt.Error != "" || res.Attempt.N != 3 {
		t.Fatalf("result %+v", res)
	}
	head, body, _ := strings.Cut(<-wire, "\r\n\r\n")
	if body != string(d.Payload) {
		t.Errorf("body is %q", body)
	}
	timestamp := strconv.FormatInt(res.Attempt.At.Unix(), 10)
	want := []string{
		"POST /hook?token=1 HTTP/1.1",
		"Host: " + strings.TrimPrefix(url, "https://"),
		"Content-Length: " + strconv.Itoa(len(d.Payload)),
		"Content-Type: application/json",
		"User-Agent: Bentihooks/test",
		"X-Env: prod",
		"X-Hook-Attempt: 3",
		"X-Hook-Delivery: " + d.ID,
		"X-Hook-Ping: 1",
		"X-Hook-Signature: " + testSecret,
		"traceparent: " + d.TraceContext,
		"webhook-id: " + d.ID,
		"webhook-signature: " + signature(d, timestamp, testSecret) + " " + signature(d, timestamp, "the old one"),
		"webhook-timestamp: " + timestamp,
	}
	got := strings.Split(head, "\r\n")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// signature computes what a receiver would, from the specification's text.
func signature(d *store.Delivery, timestamp, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.%s.%s", d.ID, timestamp, d.Payload)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestThePreviousSecretSignsOnlyForItsTime(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	url := serve(t, true, func(_ http.ResponseWriter, r *http.Request) { got.Store(r.Header.Get("Webhook-Signature")) })
	w := hook(url)
	w.PreviousSecret, w.PreviousUntil = "the old one", time.Now().Add(-time.Second)
	newTestClient(t, loopback(5*time.Second)).Post(t.Context(), w, event())
	if s, _ := got.Load().(string); s == "" || strings.Contains(s, " ") {
		t.Errorf("signature is %q, want a single one", s)
	}
}

func TestConnectionsAreKeptAndHTTP2IsUsedWhereOffered(t *testing.T) {
	t.Parallel()
	for proto, h2 := range map[string]bool{"HTTP/2.0": true, "HTTP/1.1": false} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			seen := make(chan string, 3)
			url := serve(t, h2, func(w http.ResponseWriter, r *http.Request) {
				seen <- r.Proto + " " + r.RemoteAddr
				fmt.Fprint(w, strings.Repeat("x", 20_000)) // more than is kept, less than is drained
			})
			client := newTestClient(t, loopback(5*time.Second))
			for range 3 {
				res := client.Post(t.Context(), hook(url), event())
				if res.Class != ClassDelivered || len(res.Attempt.Response) != store.MaxResponse {
					t.Fatalf("result %+v", res)
				}
			}
			first := <-seen
			if !strings.HasPrefix(first, proto+" ") {
				t.Errorf("attempt came by %s", first)
			}
			if a, b := <-seen, <-seen; a != first || b != first {
				t.Errorf("connections: %s, %s, %s; want one", first, a, b)
			}
		})
	}
}

func TestOnly2xxIsSuccess(t *testing.T) {
	t.Parallel()
	url := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
	})
	client := newTestClient(t, loopback(5*time.Second))
	for _, status := range []int{200, 201, 202, 204, 226, 299, 300, 304, 400, 401, 404, 408, 410, 418, 429, 500, 502, 503, 599, 999} {
		res := client.Post(t.Context(), hook(fmt.Sprint(url, "/", status)), event())
		want, text := ClassStatus, fmt.Sprint("status ", status)
		if status < 300 {
			want, text = ClassDelivered, ""
		}
		if res.Class != want || res.Attempt.Status != status || !strings.HasPrefix(res.Attempt.Error, text) {
			t.Errorf("%d: %+v", status, res)
		}
		if asked := res.RetryAfter == 7*time.Second; asked != (status == 429 || status == 503) {
			t.Errorf("%d: retry after %v", status, res.RetryAfter)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var stolen atomic.Int32
	thief := serve(t, true, func(http.ResponseWriter, *http.Request) { stolen.Add(1) })
	client := newTestClient(t, loopback(5*time.Second))
	for _, status := range []int{301, 302, 303, 307, 308} {
		url := serve(t, true, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief, status) })
		res := client.Post(t.Context(), hook(url), event())
		if res.Class != ClassStatus || res.Attempt.Error != fmt.Sprintf("status %d: redirects are not followed", status) {
			t.Errorf("%d: %+v", status, res)
		}
		if err := client.Verify(t.Context(), url, testSecret); err == nil {
			t.Errorf("%d: a redirect passed the handshake", status)
		}
	}
	if n := stolen.Load(); n != 0 {
		t.Errorf("the target of the redirects got %d requests", n)
	}
}

// TestHostileReceivers are held to one deadline, and none gets the client to hang or to fill its memory.
func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
	drip := func(s string) func(net.Conn) {
		return func(conn net.Conn) {
			go untilClosed(conn)
			for i := 0; ; i++ {
				if _, err := conn.Write([]byte{s[i%len(s)]}); err != nil {
					return
				}
				<-time.After(20 * time.Millisecond)
			}
		}
	}
	say := func(s string) func(net.Conn) {
		return func(conn net.Conn) {
			fmt.Fprint(conn, s)
			untilClosed(conn)
		}
	}
	hangUp := func(s string) func(net.Conn) {
		return func(conn net.Conn) { fmt.Fprint(conn, s) }
	}
	flood := func(s string) func(net.Conn) {
		return func(conn net.Conn) {
			go untilClosed(conn)
			for {
				if _, err := fmt.Fprint(conn, s); err != nil {
					return
				}
			}
		}
	}
	for name, row := range map[string]struct {
		plain  bool // no TLS before handle
		handle func(net.Conn)
		class  string
		text   string
	}{
		"silent before TLS":          {true, untilClosed, ClassTimeout, "no complete answer within 300ms"},
		"garbage instead of TLS":     {true, say("HTTP/1.1 400 Bad Request\r\n\r\n"), ClassTLS, "does not speak TLS"},
		"hangs up before TLS":        {true, func(net.Conn) {}, ClassTLS, ""},
		"silent":                     {false, untilClosed, ClassTimeout, ""},
		"drips the head":             {false, drip("HTTP/1.1 200 OK\r\nX: "), ClassTimeout, ""},
		"drips 1xx heads":            {false, drip("HTTP/1.1 100 Continue\r\n\r\n"), ClassTimeout, ""},
		"hangs within the body":      {false, say(head + "x"), ClassTimeout, ""},
		"hangs within an error body": {false, say("HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nx"), ClassTimeout, ""},
		"ends within the body":       {false, hangUp(head + "x"), ClassConnect, "closed before the answer was complete"},
		"ends without an answer":     {false, hangUp(""), ClassConnect, "closed before the answer was complete"},
		"long body, then hangs":      {false, say(head + strings.Repeat("x", 100_000)), ClassDelivered, ""},
		"endless body": {false, func(conn net.Conn) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			flood("1000\r\n" + strings.Repeat("x", 0x1000) + "\r\n")(conn)
		}, ClassDelivered, ""},
		"endless head":         {false, flood("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 100)), ClassConnect, "no valid HTTP answer"},
		"endless 1xx":          {false, flood("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"), ClassConnect, "no valid HTTP answer"},
		"not HTTP":             {false, say("220 mail.example ESMTP\r\n"), ClassConnect, "no valid HTTP answer"},
		"switches protocols":   {false, say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), ClassStatus, "status 101"},
		"a bomb, not inflated": {false, say("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"), ClassDelivered, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serveConn(t, !row.plain, func(conn net.Conn) {
				if !row.plain { // else the answer comes before its question, and is dropped as unasked for
					req, err := http.ReadRequest(bufio.NewReader(conn))
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, req.Body); err != nil {
						return
					}
				}
				row.handle(conn)
			})
			client := newTestClient(t, loopback(300*time.Millisecond))
			began := time.Now()
			res := client.Post(t.Context(), hook(url+"/hook?token=abc"), event())
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if res.Class != row.class || !strings.Contains(res.Attempt.Error, row.text) {
				t.Errorf("class %s, error %q; want %s, %q", res.Class, res.Attempt.Error, row.class, row.text)
			}
			checkError(t, res)
		})
	}
}

// checkError holds for the error text of every attempt.
func checkError(t *testing.T, res Result) {
	t.Helper()
	text := res.Attempt.Error
	if len(text) > 300 || strings.Contains(text, testSecret) || strings.Contains(text, "token=") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("error %q is too long or says too much", text)
	}
	if (text == "") != (res.Class == ClassDelivered) {
		t.Errorf("class %s with error %q", res.Class, text)
	}
}

func TestHTTP2ReceiverThatHangs(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"before the head": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"within the body": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "x")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newTestClient(t, loopback(300*time.Millisecond))
			res := client.Post(t.Context(), hook(serve(t, true, handler)), event())
			if res.Class != ClassTimeout || res.Attempt.Duration > 3*time.Second {
				t.Errorf("result %+v", res)
			}
		})
	}
}

func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	url := serve(t, true, func(http.ResponseWriter, *http.Request) {})
	resolver, _ := newNameServer(t, "127.0.0.1")
	old := serveConn(t, false, func(conn net.Conn) {
		server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate()}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
		_ = server.Handshake()
	})
	for name, row := range map[string]struct {
		url    string
		change func(*Config)
		text   string
	}{
		"unknown authority": {url, func(c *Config) { c.RootCAs = x509.NewCertPool() }, "tls: certificate signed by unknown authority"},
		"another host":      {withHost(url, "other.test"), func(*Config) {}, "tls: certificate is not valid for this host"},
		"TLS 1.1":           {old, func(*Config) {}, "tls: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := loopback(5 * time.Second)
			c.Resolver = resolver
			row.change(&c)
			res := newTestClient(t, c).Post(t.Context(), hook(row.url), event())
			if res.Class != ClassTLS || !strings.HasPrefix(res.Attempt.Error, row.text) {
				t.Errorf("class %s, error %q", res.Class, res.Attempt.Error)
			}
			checkError(t, res)
		})
	}
}

func TestPlainHTTPIsNotSpoken(t *testing.T) {
	t.Parallel()
	client := newTestClient(t, loopback(time.Second))
	for _, url := range []string{"http://127.0.0.1:1/", "ftp://127.0.0.1/", "https://", "://", "https://a b/"} {
		if res := client.Post(t.Context(), hook(url), event()); res.Class == ClassDelivered || res.Attempt.Error == "" {
			t.Errorf("%s: %+v", url, res)
		}
	}
}

func TestCancelIsNoTimeout(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := serve(t, true, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if res := newTestClient(t, loopback(5*time.Second)).Post(ctx, hook(url), event()); res.Class != ClassCanceled {
		t.Errorf("result %+v", res)
	}
}

func TestAKeptConnectionThatClosesDoesNotCostAnAttempt(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	url := serveConn(t, true, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for i := 0; ; i++ {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil || i == 1 {
				return // the second request on a connection gets no answer
			}
			requests.Add(1)
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	client := newTestClient(t, loopback(5*time.Second))
	for range 3 {
		if res := client.Post(t.Context(), hook(url), event()); res.Class != ClassDelivered {
			t.Errorf("result %+v", res)
		}
	}
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests answered", n)
	}
}

func TestEchoedSecretsAreNotKept(t *testing.T) {
	t.Parallel()
	url := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Repeat("-", store.MaxResponse-5), r.Header.Get("X-Hook-Signature"), testSecret)
	})
	res := newTestClient(t, loopback(5*time.Second)).Post(t.Context(), hook(url), event())
	kept := string(res.Attempt.Response)
	if len(kept) != store.MaxResponse || !strings.HasSuffix(kept, "-*****") {
		t.Errorf("kept %q", kept[max(0, len(kept)-20):])
	}
}

func TestAClosedClientStillWorksAndKeepsNothing(t *testing.T) {
	t.Parallel()
	var remote []string
	url := serve(t, false, func(_ http.ResponseWriter, r *http.Request) { remote = append(remote, r.RemoteAddr) })
	client := newTestClient(t, loopback(5*time.Second))
	client.Close()
	for range 2 {
		if res := client.Post(t.Context(), hook(url), event()); res.Class != ClassDelivered {
			t.Fatalf("result %+v", res)
		}
	}
	if len(remote) != 2 || remote[0] == remote[1] {
		t.Errorf("connections %v", remote)
	}
}

func TestTheEnvironmentsProxyIsIgnored(t *testing.T) {
	t.Parallel()
	if tr := NewClient(Config{}).rt.(*http.Transport); tr.Proxy != nil {
		t.Error("the transport has a proxy")
	}
}

func BenchmarkPost(b *testing.B) {
	for _, h2 := range []bool{false, true} {
		b.Run(fmt.Sprint("h2=", h2), func(b *testing.B) {
			url := serve(b, h2, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			client := newTestClient(b, loopback(10*time.Second))
			w, d := hook(url), event()
			b.ReportAllocs()
			for b.Loop() {
				if res := client.Post(b.Context(), w, d); res.Class != ClassDelivered {
					b.Fatalf("result %+v", res)
				}
			}
		})
	}
}
