package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const openAPIFile = "../docs/openapi.yaml"

// contract is docs/openapi.yaml, and which of its answers a test has seen.
type contract struct {
	t        *testing.T
	document map[string]any
	schemas  *jsonschema.Compiler
	seen     map[string]bool // "POST /webhooks 201"
}

func readContract(t *testing.T) *contract {
	t.Helper()
	text, err := os.ReadFile(openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{t: t, schemas: jsonschema.NewCompiler(), seen: make(map[string]bool)}
	if err := yaml.Unmarshal(text, &c.document); err != nil {
		t.Fatal(err)
	}
	c.schemas.DefaultDraft(jsonschema.Draft2020)
	c.schemas.AssertFormat()
	if err := c.schemas.AddResource("contract.json", c.document); err != nil {
		t.Fatal(err)
	}
	return c
}

// at follows names, and references, from the document's root; nil if there is nothing.
func (c *contract) at(names ...string) (value any, pointer string) {
	value = c.document
	for _, name := range names {
		node, _ := value.(map[string]any)
		value = node[name]
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		if node, ok := value.(map[string]any); ok {
			if to, ok := node["$ref"].(string); ok {
				value, pointer = c.at(strings.Split(strings.TrimPrefix(to, "#/"), "/")...)
			}
		}
	}
	return value, pointer
}

// methods are those of a path, in capitals.
func (c *contract) methods(path string) (all []string) {
	item, _ := c.at("paths", path)
	for name := range item.(map[string]any) {
		if name != "parameters" && name != "servers" {
			all = append(all, strings.ToUpper(name))
		}
	}
	return all
}

// fits checks a JSON text by the schema below a place that has content of type application/json.
func (c *contract) fits(what, pointer, body string) {
	c.t.Helper()
	schema, err := c.schemas.Compile("contract.json#" + pointer + "/content/application~1json/schema")
	if err != nil {
		c.t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		c.t.Errorf("%s: %v: %s", what, err, body)
	}
}

// check compares an exchange with the document.
func (c *contract) check(method, path, sent string, got *answer) {
	c.t.Helper()
	status := strconv.Itoa(got.status)
	what := method + " " + path + " " + status
	c.seen[what] = true
	value, pointer := c.at("paths", path, strings.ToLower(method), "responses", status)
	response, ok := value.(map[string]any)
	if !ok {
		c.t.Errorf("%s is not in %s: %s", what, openAPIFile, got.body)
		return
	}
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		if got.header.Get(name) == "" {
			c.t.Errorf("%s: no %s", what, name)
		}
	}
	if response["content"] == nil {
		if got.body != "" || got.header.Get("Content-Type") != "" {
			c.t.Errorf("%s: %s %s", what, got.header.Get("Content-Type"), got.body)
		}
		return
	}
	if got.header.Get("Content-Type") != "application/json" || got.header.Get("Cache-Control") != "no-store" {
		c.t.Errorf("%s: the header is %v", what, got.header)
	}
	c.fits(what, pointer, got.body)
	if _, request := c.at("paths", path, strings.ToLower(method), "requestBody"); got.status < 300 && sent != "" {
		c.fits(what+", request", request, sent)
	}
}

// complete fails for each answer in the document that has not been seen.
func (c *contract) complete() {
	paths, _ := c.at("paths")
	for path := range paths.(map[string]any) {
		for _, method := range c.methods(path) {
			responses, _ := c.at("paths", path, strings.ToLower(method), "responses")
			for status := range responses.(map[string]any) {
				if what := method + " " + path + " " + status; !c.seen[what] {
					c.t.Errorf("no request got %s", what)
				}
			}
		}
	}
}

// try makes a call of a path of the document, whose parameters are given in turn, and checks its answer.
func (c *contract) try(p *proxy, status int, operation, body string, with ...string) *answer {
	c.t.Helper()
	method, path, _ := strings.Cut(operation, " ")
	template, query, _ := strings.Cut(path, "?")
	request, err := http.NewRequestWithContext(c.t.Context(), method, p.url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.URL.Path, request.URL.RawQuery = template, query
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(with); i += 2 {
		if strings.HasPrefix(with[i], "{") {
			request.URL.Path = strings.ReplaceAll(request.URL.Path, with[i], with[i+1])
		} else if with[i] == "Content-Type" {
			request.Header.Set(with[i], with[i+1])
		} else {
			request.Header.Add(with[i], with[i+1])
		}
	}
	client := p.client
	if strings.HasPrefix(template, "/benti/") {
		request.Host, request.URL.Host = "127.0.0.1", "127.0.0.1"
		client = &http.Client{Timeout: patience, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", p.socket)
			},
		}}
	}
	response, err := client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	p.checkAnswer(operation, response.Header, text)
	got := &answer{status: response.StatusCode, header: response.Header, body: string(text)}
	if got.status != status {
		c.t.Errorf("%s: status %d, want %d: %s", operation, got.status, status, got.body)
	}
	if status == http.StatusMethodNotAllowed {
		for _, documented := range c.methods(template) { // each has it, as no operation is there for other methods
			c.check(documented, template, body, got)
		}
		allowed := slices.DeleteFunc(strings.Split(got.header.Get("Allow"), ", "), func(m string) bool { return m == http.MethodHead })
		if documented := c.methods(template); !slices.Equal(slices.Sorted(slices.Values(allowed)), slices.Sorted(slices.Values(documented))) {
			c.t.Errorf("%s: allowed are %v, documented %v", operation, allowed, documented)
		}
		return got
	}
	c.check(method, template, body, got)
	return got
}
