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

	"golang.org/x/net/idna"

	"github.com/bentihooks/bentihooks/matcher"
	"github.com/bentihooks/bentihooks/store"
)

const (
	maxURL    = 2048
	maxSecret = 512
)

// webhookInput is what a call says about a webhook; nil is what it does not say.
type webhookInput struct {
	item, url, secret *string
}

var inputFields = []string{"item", "url", "secret"}

func (in *webhookInput) complete() error {
	for i, value := range []*string{in.item, in.url, in.secret} {
		if value == nil {
			return invalid(inputFields[i], inputFields[i]+" is missing")
		}
	}
	return nil
}

func (in *webhookInput) apply(w *store.Webhook) {
	if in.item != nil {
		w.Item = *in.item
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
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxAPIBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge()
		}
		return nil, problem{Code: http.StatusBadRequest, Message: "the body could not be read"}
	}
	values, err := parseInput(c.r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, err
	}
	return checkInput(values)
}

func tooLarge() problem {
	return problem{Code: http.StatusRequestEntityTooLarge, Message: "the body may be 64 KiB long at most"}
}

// parseInput reads a flat object of texts.
func parseInput(contentType string, body []byte) (map[string]string, error) {
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && (media == "application/json" || strings.HasSuffix(media, "+json")):
		return parseJSONInput(body)
	case err == nil && media == "application/x-www-form-urlencoded":
		return parseFormInput(body)
	}
	return nil, problem{
		Code:    http.StatusUnsupportedMediaType,
		Message: "the Content-Type must be application/json or application/x-www-form-urlencoded",
	}
}

func parseJSONInput(body []byte) (map[string]string, error) {
	if !utf8.Valid(body) {
		return nil, malformed("the body is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, malformed("the body must be a JSON object")
	}
	values := make(map[string]string)
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, malformed("the body is not valid JSON")
		}
		if !slices.Contains(inputFields, name) {
			return nil, unknownField(name)
		}
		if _, twice := values[name]; twice {
			return nil, problem{Code: http.StatusBadRequest, Message: name + " is given twice", Field: name}
		}
		value, err := decoder.Token()
		if err != nil {
			return nil, malformed("the body is not valid JSON")
		}
		text, ok := value.(string)
		if !ok {
			return nil, invalid(name, name+" must be a string")
		}
		values[name] = text
	}
	if _, err := decoder.Token(); err != nil { // the closing brace
		return nil, malformed("the body is not valid JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("something follows the JSON object")
	}
	return values, nil
}

func parseFormInput(body []byte) (map[string]string, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, malformed("the body is not valid application/x-www-form-urlencoded")
	}
	values := make(map[string]string)
	for name, all := range form {
		switch {
		case !slices.Contains(inputFields, name):
			return nil, unknownField(name)
		case len(all) > 1:
			return nil, problem{Code: http.StatusBadRequest, Message: name + " is given twice", Field: name}
		case !utf8.ValidString(all[0]):
			return nil, malformed(name + " is not UTF-8")
		}
		values[name] = all[0]
	}
	return values, nil
}

func unknownField(name string) problem {
	name = strings.ToValidUTF8(name[:min(len(name), 64)], "")
	return invalid(name, "unknown field "+strconv.Quote(name)+"; allowed are "+strings.Join(inputFields, ", "))
}

func checkInput(values map[string]string) (*webhookInput, error) {
	in := new(webhookInput)
	if item, ok := values["item"]; ok {
		if err := oneOf(item, matcher.Items()); err != nil {
			return nil, invalid("item", "item "+err.Error())
		}
		in.item = &item
	}
	if text, ok := values["url"]; ok {
		normal, err := checkURL(text)
		if err != nil {
			return nil, invalid("url", "url "+err.Error())
		}
		in.url = &normal
	}
	if secret, ok := values["secret"]; ok {
		if err := checkSecret(secret); err != nil {
			return nil, invalid("secret", "secret "+err.Error())
		}
		in.secret = &secret
	}
	return in, nil
}

// hostProfile maps names as browsers do, but lets underscores be, which real hosts have.
var hostProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// checkURL returns the URL with its host in ASCII.
func checkURL(text string) (string, error) {
	if len(text) > maxURL {
		return "", fmt.Errorf("may be %d bytes long at most", maxURL)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", errors.New("must not hold spaces or control characters")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("is not a valid URL")
	case u.Scheme != "https":
		return "", errors.New("must use https")
	case u.Opaque != "" || u.Hostname() == "":
		return "", errors.New("must have a host")
	case u.User != nil:
		return "", errors.New("must not hold a user name or password")
	case strings.Contains(text, "#"):
		return "", errors.New("must not hold a fragment")
	}
	u.Host = strings.TrimSuffix(u.Host, ":")
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", errors.New("must have a port from 1 to 65535")
		}
	}
	if strings.HasPrefix(u.Host, "[") { // an IPv6 address
		return u.String(), nil
	}
	host, err := hostProfile.ToASCII(u.Hostname())
	if err != nil || host == "" {
		return "", errors.New("has a host that is no valid name")
	}
	if port := u.Port(); port != "" {
		host += ":" + port
	}
	u.Host = host
	if normal := u.String(); len(normal) <= maxURL {
		return normal, nil
	}
	return "", fmt.Errorf("may be %d bytes long at most", maxURL)
}

// origin is what a secret is bound to: scheme, host and port.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
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
