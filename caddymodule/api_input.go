package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bentihooks/bentihooks/matcher"
	"github.com/bentihooks/bentihooks/store"
)

const maxSecret = 512

// kind is one of the two kinds of webhooks.
type kind int

const (
	apiKind kind = iota
	instanceKind
)

// fields are what a webhook of the kind is made of.
func (k kind) fields() []string {
	if k == instanceKind {
		return []string{"events", "url", "secret"}
	}
	return []string{"item", "url", "secret"}
}

// unknown tells that a webhook of the kind has no such field.
func (k kind) unknown(name string) problem {
	allowed := "; allowed are " + strings.Join(k.fields(), ", ")
	switch {
	case name == "item" && k == instanceKind:
		return invalid(name, "webhooks with an item are registered at /webhooks, without app"+allowed)
	case name == "events" && k == apiKind:
		return invalid(name, "webhooks with events are registered at /webhooks/app"+allowed)
	}
	name = strings.ToValidUTF8(name[:min(len(name), 64)], "")
	return invalid(name, "unknown field "+strconv.Quote(name)+allowed)
}

// webhookInput is what a call says about a webhook; nil is what it does not say.
type webhookInput struct {
	item, url, secret *string
	events            *[]string
}

// complete returns an error unless all is said that makes a webhook of the kind.
func (in *webhookInput) complete(k kind) error {
	said := map[string]bool{"item": in.item != nil, "events": in.events != nil, "url": in.url != nil, "secret": in.secret != nil}
	for _, name := range k.fields() {
		if !said[name] {
			return invalid(name, name+" is missing")
		}
	}
	return nil
}

func (in *webhookInput) apply(w *store.Webhook) {
	if in.item != nil {
		w.Item = *in.item
	}
	if in.events != nil {
		w.Events = *in.events
	}
	if in.url != nil {
		w.URL = *in.url
	}
	if in.secret != nil {
		w.Secret = *in.secret
	}
}

// readInput reads and checks the body of a call.
func (c *apiCall) readInput() (*webhookInput, error) {
	if c.r.ContentLength > maxAPIBody {
		return nil, tooLarge()
	}
	if encoding := c.r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, problem{Code: http.StatusUnsupportedMediaType, Message: "the body must not be compressed"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxAPIBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge()
		}
		return nil, problem{Code: http.StatusBadRequest, Message: "the body could not be read"}
	}
	values, err := c.kind.parse(c.r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, err
	}
	return checkInput(values, c.ports())
}

// ports are those that receivers may have; none means all.
func (c *apiCall) ports() []uint16 { return c.handler.app.emitter.AllowPorts }

func tooLarge() problem {
	return problem{Code: http.StatusRequestEntityTooLarge, Message: "the body may be 64 KiB long at most"}
}

// inputValues are the texts of a body by the names of their fields. Only events may have another number than one.
type inputValues map[string][]string

// parse reads a flat object of texts and a list of them.
func (k kind) parse(contentType string, body []byte) (inputValues, error) {
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && (media == "application/json" || strings.HasSuffix(media, "+json")):
		return k.parseJSON(body)
	case err == nil && media == "application/x-www-form-urlencoded":
		return k.parseForm(body)
	}
	return nil, problem{
		Code:    http.StatusUnsupportedMediaType,
		Message: "the Content-Type must be application/json or application/x-www-form-urlencoded",
	}
}

func (k kind) parseJSON(body []byte) (inputValues, error) {
	if !utf8.Valid(body) {
		return nil, malformed("the body is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // one that is too large is no string either
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, malformed("the body must be a JSON object")
	}
	values := make(inputValues)
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, malformed("the body is not valid JSON")
		}
		if !slices.Contains(k.fields(), name) {
			return nil, k.unknown(name)
		}
		if _, twice := values[name]; twice {
			return nil, problem{Code: http.StatusBadRequest, Message: name + " is given twice", Field: name}
		}
		if values[name], err = readJSONTexts(decoder, name); err != nil {
			return nil, err
		}
	}
	if _, err := decoder.Token(); err != nil { // the closing brace
		return nil, malformed("the body is not valid JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("something follows the JSON object")
	}
	return values, nil
}

var noList = "events must be a list of names: allowed are " + strings.Join(matcher.InstanceEvents(), ", ")

// readJSONTexts reads the value of a field: a string, for events a list of strings.
func readJSONTexts(decoder *json.Decoder, name string) ([]string, error) {
	value, err := decoder.Token()
	if err != nil {
		return nil, malformed("the body is not valid JSON")
	}
	if name != "events" {
		text, ok := value.(string)
		if !ok {
			return nil, invalid(name, name+" must be a string")
		}
		return []string{text}, nil
	}
	if value != json.Delim('[') {
		return nil, invalid(name, noList)
	}
	texts := []string{}
	for decoder.More() {
		value, err := decoder.Token()
		if err != nil {
			return nil, malformed("the body is not valid JSON")
		}
		text, ok := value.(string)
		if !ok {
			return nil, invalid(name, noList)
		}
		texts = append(texts, text)
	}
	if _, err := decoder.Token(); err != nil { // the closing bracket
		return nil, malformed("the body is not valid JSON")
	}
	return texts, nil
}

// parseForm reads events from as many fields, "events" or "events[]".
func (k kind) parseForm(body []byte) (inputValues, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, malformed("the body is not valid application/x-www-form-urlencoded")
	}
	values := make(inputValues)
	for key, all := range form {
		name := key
		if key == "events[]" {
			name = "events"
		}
		if !slices.Contains(k.fields(), name) {
			return nil, k.unknown(name)
		}
		if _, twice := values[name]; twice || len(all) > 1 && name != "events" {
			return nil, problem{Code: http.StatusBadRequest, Message: name + " is given twice", Field: name}
		}
		if slices.ContainsFunc(all, func(text string) bool { return !utf8.ValidString(text) }) {
			return nil, malformed(name + " is not UTF-8")
		}
		values[name] = all
	}
	return values, nil
}

func checkInput(values inputValues, ports []uint16) (*webhookInput, error) {
	in := new(webhookInput)
	if item, ok := values["item"]; ok {
		if err := oneOf(item[0], matcher.Items()); err != nil {
			return nil, invalid("item", "item "+err.Error())
		}
		in.item = &item[0]
	}
	if events, ok := values["events"]; ok {
		if err := matcher.CheckInstanceEvents(events); err != nil {
			return nil, invalid("events", "events: "+err.Error())
		}
		in.events = &events
	}
	if url, ok := values["url"]; ok {
		normal, err := checkURL(url[0], ports)
		if err != nil {
			return nil, invalid("url", "url "+err.Error())
		}
		in.url = &normal
	}
	if secret, ok := values["secret"]; ok {
		if err := checkSecret(secret[0]); err != nil {
			return nil, invalid("secret", "secret "+err.Error())
		}
		in.secret = &secret[0]
	}
	return in, nil
}

// checkSecret allows what can travel in a header.
func checkSecret(secret string) error {
	switch {
	case secret == "":
		return errors.New("must not be empty")
	case len(secret) > maxSecret:
		return fmt.Errorf("may be %d characters long at most", maxSecret)
	case strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' }):
		return errors.New("must be visible ASCII characters, with spaces inside at most")
	case strings.TrimSpace(secret) != secret:
		return errors.New("must not begin or end with a space")
	}
	return nil
}

func invalid(field, message string) problem {
	return problem{Code: http.StatusUnprocessableEntity, Message: message, Field: field}
}

func malformed(message string) problem {
	return problem{Code: http.StatusBadRequest, Message: message}
}
