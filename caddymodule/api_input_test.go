package caddymodule

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzInput holds what a body is taken to say against what others read in it, and what is accepted against what may be stored.
func FuzzInput(f *testing.F) {
	const form, text = "application/x-www-form-urlencoded", "application/json"
	f.Add(text, []byte(`{"item":"queue","url":"https://example.com/","secret":"s"}`), false)
	f.Add(text, []byte(`{"events":["answer","close-ticket"],"url":"https://example.com/","secret":"s"}`), true)
	f.Add(text, []byte(`{"item":"queue","item":"ticket"}`), false)
	f.Add(text, []byte(`{"\u0069tem":"\ud800"} x`), false)
	f.Add(form, []byte(`item=queue&url=https%3A%2F%2Fexample.com&secret=s`), false)
	f.Add(form, []byte(`events[]=answer&events[]=answer&secret=%00`), true)
	f.Fuzz(func(t *testing.T, contentType string, body []byte, instance bool) {
		k := apiKind
		if instance {
			k = instanceKind
		}
		values, err := k.parse(contentType, body)
		if err != nil {
			checkProblem(t, err)
			return
		}
		read := make(inputValues)
		if strings.Contains(contentType, "json") {
			var fields map[string]any
			if err := json.Unmarshal(body, &fields); err != nil {
				t.Fatalf("taken for JSON: %v", err)
			}
			for name, value := range fields {
				read[name] = textsOf(value)
			}
		} else {
			query, err := url.ParseQuery(string(body))
			if err != nil {
				t.Fatalf("taken for a form: %v", err)
			}
			for name, texts := range query {
				read[strings.TrimSuffix(name, "[]")] = texts
			}
		}
		if !maps.EqualFunc(values, read, slices.Equal[[]string]) {
			t.Fatalf("read as %q, by others as %q", values, read)
		}
		in, err := checkInput(values, nil)
		if err != nil {
			checkProblem(t, err)
			return
		}
		if in.secret != nil && (*in.secret == "" || strings.ContainsFunc(*in.secret, func(r rune) bool { return r < ' ' || r > '~' })) {
			t.Errorf("secret %q", *in.secret)
		}
	})
}

func textsOf(value any) []string {
	list, ok := value.([]any)
	if !ok {
		text, _ := value.(string)
		return []string{text}
	}
	texts := []string{}
	for _, one := range list {
		text, _ := one.(string)
		texts = append(texts, text)
	}
	return texts
}

// checkProblem fails unless err can be shown to the caller.
func checkProblem(t *testing.T, err error) {
	t.Helper()
	p, ok := errors.AsType[problem](err)
	if !ok || p.Message == "" || len(p.Message) > 500 || !utf8.ValidString(p.Message) {
		t.Errorf("error %#v", err)
	}
	if p.Code != http.StatusBadRequest && p.Code != http.StatusUnsupportedMediaType && p.Code != http.StatusUnprocessableEntity {
		t.Errorf("code %d: %s", p.Code, p.Message)
	}
}
