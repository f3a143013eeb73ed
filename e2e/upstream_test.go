package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
)

// upstream is a stub of the legacy API. Unless told otherwise it accepts every call, as the real one answers: a POST with 201
// and an id, which count up from 1; a PUT with the id in its path; a DELETE with 204; a GET with an empty list.
type upstream struct {
	server *httptest.Server
	hold   chan struct{} // what calls wait for that hang, see [hang]
	gone   sync.Once

	mu     sync.Mutex
	script http.HandlerFunc
	calls  []call
	ids    int
}

// call is a request as the API got it.
type call struct {
	method string
	uri    string
	header http.Header
	body   []byte
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := new(upstream)
	// At a port that no other test is given, so that nobody else answers there once it is closed.
	listener := listen(t, fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	u.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: u}}
	u.server.Start()
	t.Cleanup(u.server.Close)
	return u
}

// letGo ends the hanging of calls.
func (u *upstream) letGo() { u.gone.Do(func() { close(u.hold) }) }

func (u *upstream) address() string { return strings.TrimPrefix(u.server.URL, "http://") }

// answer has calls answered by a script from now on; nil for the usual answers. The script finds the body in the
// request as usual.
func (u *upstream) answer(script http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.script = script
}

// ServeHTTP implements http.Handler.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	u.mu.Lock()
	u.calls = append(u.calls, call{method: r.Method, uri: r.RequestURI, header: r.Header.Clone(), body: body})
	script := u.script
	u.mu.Unlock()
	if script == nil {
		script = u.usual
	}
	script(w, r)
}

func (u *upstream) usual(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.Method {
	case http.MethodPost:
		id := u.nextID()
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"id":%d}`, id)
	case http.MethodPut:
		fmt.Fprintf(w, `{"id":%q}`, path.Base(r.URL.Path))
	case http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		fmt.Fprint(w, `{"data":[]}`)
	}
}

func (u *upstream) nextID() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ids++
	return u.ids
}

// created is how many ids were given out so far.
func (u *upstream) created() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ids
}

// seen returns all calls so far.
func (u *upstream) seen() []call {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls[:len(u.calls):len(u.calls)]
}

// respond is a script that gives one answer to every call but reads, which get the usual one.
func (u *upstream) respond(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			u.usual(w, r)
			return
		}
		for name, values := range header {
			w.Header()[name] = values
		}
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}
