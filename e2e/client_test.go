package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
}

// do makes a call through the proxy. header holds names and values in turn. It may be called from any goroutine.
func (p *proxy) do(ctx context.Context, method, path, body string, header ...string) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, p.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	p.checkAnswer(method+" "+path, response.Header, got)
	return &answer{status: response.StatusCode, header: response.Header, body: string(got)}, err
}

// call is do for calls that must get an answer.
func (p *proxy) call(method, path, body string, header ...string) *answer {
	p.t.Helper()
	got, err := p.do(p.t.Context(), method, path, body, header...)
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// must is call for calls that must get a certain status. The subscription API is asked again while it has no store:
// a start does not wait for longer than two seconds for one to open, and a busy disk may take longer.
func (p *proxy) must(status int, method, path, body string, header ...string) *answer {
	p.t.Helper()
	got := p.call(method, path, body, header...)
	if strings.HasPrefix(path, "/v1/webhooks") && status != http.StatusServiceUnavailable && got.status == http.StatusServiceUnavailable {
		eventually(p.t, method+" "+path+": a store", func() bool {
			got = p.call(method, path, body, header...)
			return got.status != http.StatusServiceUnavailable
		})
	}
	if got.status != status {
		p.t.Fatalf("%s %s: status %d, want %d: %s", method, path, got.status, status, got.body)
	}
	return got
}

// ticket creates a ticket and returns what the API answered.
func (p *proxy) ticket(header ...string) string {
	p.t.Helper()
	return p.must(http.StatusCreated, http.MethodPost, "/v1/tickets", `{"title":"Printer on fire"}`, header...).body
}

// webhook is a subscription as the subscription API shows it, and its secret.
type webhook struct {
	UUID      string    `json:"uuid"`
	Item      string    `json:"item"`
	Events    []string  `json:"events"`
	URL       string    `json:"url"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`

	secret string
}

func (w *webhook) path() string {
	if len(w.Events) > 0 {
		return "/v1/webhooks/app/" + w.UUID
	}
	return "/v1/webhooks/" + w.UUID
}

// registration is the body of a call that registers a webhook.
func registration(item, url, secret string) string {
	return fmt.Sprintf(`{"item":%q,"url":%q,"secret":%q}`, item, url, secret)
}

// register makes a webhook through the subscription API.
func (p *proxy) register(item, url string, header ...string) *webhook {
	p.t.Helper()
	w := &webhook{Item: item, URL: url, secret: p.newSecret()}
	p.must(http.StatusCreated, http.MethodPost, "/v1/webhooks", registration(item, url, w.secret), header...).decode(p.t, w)
	return w
}

// registerInstance makes an instance webhook.
func (p *proxy) registerInstance(url string, events ...string) *webhook {
	p.t.Helper()
	w := &webhook{Events: events, URL: url, secret: p.newSecret()}
	p.must(http.StatusCreated, http.MethodPost, "/v1/webhooks/app", instanceRegistration(url, w.secret, events...)).decode(p.t, w)
	return w
}

// instanceRegistration is the body of a call that registers an instance webhook.
func instanceRegistration(url, secret string, events ...string) string {
	return fmt.Sprintf(`{"events":["%s"],"url":%q,"secret":%q}`, strings.Join(events, `","`), url, secret)
}

// webhooks lists them.
func (p *proxy) webhooks(header ...string) []webhook {
	p.t.Helper()
	var list struct{ Data []webhook }
	p.must(http.StatusOK, http.MethodGet, "/v1/webhooks", "", header...).decode(p.t, &list)
	return list.Data
}

// get returns the webhook as it stands now.
func (p *proxy) get(w *webhook, header ...string) webhook {
	p.t.Helper()
	var now webhook
	p.must(http.StatusOK, http.MethodGet, w.path(), "", header...).decode(p.t, &now)
	return now
}

// becomes waits until the webhook has the given status, which follows shortly after the attempt that changes it.
func (p *proxy) becomes(w *webhook, status string) {
	p.t.Helper()
	eventually(p.t, "a webhook that is "+status, func() bool { return p.get(w).Status == status })
}

// delivery is one as the subscription API lists it.
type delivery struct {
	ID            string          `json:"id"`
	State         string          `json:"state"`
	Event         json.RawMessage `json:"event"`
	CreatedAt     time.Time       `json:"created_at"`
	NextAttemptAt *time.Time      `json:"next_attempt_at"`
	Attempts      []struct {
		N          int       `json:"n"`
		At         time.Time `json:"at"`
		Status     *int      `json:"status"`
		DurationMS *int64    `json:"duration_ms"`
		Error      *string   `json:"error"`
		Response   *string   `json:"response"`
	} `json:"attempts"`
}

// page lists deliveries of a webhook, with a query such as "?limit=3".
func (p *proxy) page(w *webhook, query string, header ...string) (list []delivery, next string) {
	p.t.Helper()
	var page struct {
		Data []delivery
		Next *string
	}
	p.must(http.StatusOK, http.MethodGet, w.path()+"/deliveries"+query, "", header...).decode(p.t, &page)
	if page.Next != nil {
		next = *page.Next
	}
	return page.Data, next
}

// settled waits until the newest delivery of a webhook is in the given state, and returns it.
func (p *proxy) settled(w *webhook, state string, header ...string) delivery {
	p.t.Helper()
	var newest delivery
	eventually(p.t, "a delivery that is "+state, func() bool {
		list, _ := p.page(w, "?limit=1", header...)
		if len(list) == 1 {
			newest = list[0]
		}
		return newest.State == state
	})
	return newest
}

// decode reads an answer strictly: an unknown field is an error.
func (a *answer) decode(t *testing.T, to any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(a.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("more than one JSON text: %s", a.body)
	}
}

// checkError fails unless the answer is an error as the subscription API words it.
func (a *answer) checkError(t *testing.T, status int, field string) (message string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	var errs struct {
		Errors []struct {
			Code    int
			Message string
			Field   string
		}
	}
	a.decode(t, &errs)
	if len(errs.Errors) != 1 || errs.Errors[0].Code != status || errs.Errors[0].Message == "" || errs.Errors[0].Field != field {
		t.Errorf("want one error with code %d and field %q: %s", status, field, a.body)
		return ""
	}
	return errs.Errors[0].Message
}
