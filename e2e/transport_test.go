package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
)

func TestHTTP2IsUsedWhereOffered(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("ticket", rc.url("/"))
	if got := <-rc.handshakes; got.proto != "HTTP/2.0" {
		t.Errorf("the handshake came with %s", got.proto)
	}
	for range 20 {
		p.ticket()
		if got := rc.next(); got.proto != "HTTP/2.0" {
			t.Errorf("a delivery came with %s", got.proto)
		}
	}
	if n := rc.connections.Load(); n > 2 {
		t.Errorf("%d connections for 20 deliveries one after the other", n)
	}
}

func TestLargeBodiesGoThroughIntact(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("media", rc.url("/"))

	noise := make([]byte, 10<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	var upload bytes.Buffer
	form := multipart.NewWriter(&upload)
	form.WriteField("ticket_id", "100")
	part, err := form.CreateFormFile("file", "noise")
	if err != nil {
		t.Fatal(err)
	}
	part.Write(noise)
	form.Close()
	long := `{"id":200,"rest":"` + strings.Repeat("0123456789abcdef", 5<<16) + `"}`

	for name, chunked := range map[string]bool{"with a length": false, "chunked": true} {
		t.Run(name, func(t *testing.T) {
			up.answer(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Trailer", "X-Sum")
				if !chunked {
					w.Header().Set("Content-Length", fmt.Sprint(len(long)))
				}
				w.WriteHeader(http.StatusCreated)
				io.WriteString(w, long)
				w.Header().Set("X-Sum", "42")
			})
			var body io.Reader = bytes.NewReader(upload.Bytes())
			if chunked {
				body = struct{ io.Reader }{body}
			}
			request, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/v1/media", body)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", form.FormDataContentType())
			response, err := p.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			got, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusCreated || string(got) != long {
				t.Errorf("the client got %d, %d bytes of %d, %v", response.StatusCode, len(got), len(long), err)
			}
			if chunked && response.Trailer.Get("X-Sum") != "42" {
				t.Errorf("trailer is %v", response.Trailer)
			}
			calls := up.seen()
			if sent := calls[len(calls)-1].body; !bytes.Equal(sent, upload.Bytes()) {
				t.Errorf("the API got %d bytes of %d, or others", len(sent), upload.Len())
			}
			event := rc.next()
			if !strings.HasPrefix(event.body, `{"id":200,"item":"media"`) || !strings.HasSuffix(event.body, `"parent":100}`) {
				t.Errorf("got %s", event.body)
			}
		})
	}
}

// Interim answers are not held with the final one.
func TestInterimAnswersPassAtOnce(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("ticket", rc.url("/"))
	hinted := make(chan struct{})
	up.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		select {
		case <-hinted:
		case <-r.Context().Done():
		}
		w.Header().Del("Link")
		up.usual(w, r)
	})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			if code != http.StatusEarlyHints || header.Get("Link") == "" {
				t.Errorf("interim answer %d with %v", code, header)
			}
			close(hinted)
			return nil
		},
	})
	got, err := p.do(ctx, "POST", "/tickets", `{}`)
	if err != nil || got.status != http.StatusCreated || got.header.Get("Link") != "" {
		t.Errorf("the client got %+v, %v", got, err)
	}
	rc.next()
}

// An answer that breaks off does so at the client too; what it tells of happened all the same.
func TestAnswerThatBreaksOffKeepsItsEvent(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{})
	p.register("ticket", rc.url("/"))
	up.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" {
			up.usual(w, r)
			return
		}
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Location", "/v1/tickets/77")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":77,"rest":"`)
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	got, err := p.do(t.Context(), "POST", "/tickets", `{}`)
	if err == nil {
		t.Errorf("the client got a whole answer: %+v", got)
	}
	if got := rc.next(); !strings.HasPrefix(got.body, `{"id":77,`) {
		t.Errorf("got %s", got.body)
	}
}
