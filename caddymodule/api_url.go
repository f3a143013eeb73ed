package caddymodule

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxURL = 2048
	// maxHost and maxLabel are what fits into a question to the DNS (RFC 1035, section 2.3.4).
	maxHost  = 253
	maxLabel = 63
)

// checkURL returns a receiver's URL as it is stored: with its host in ASCII, an IPv6 address in its short form, and a port without
// leading zeros. ports are those allowed; none means all. Which address is behind the host is not looked at here.
func checkURL(text string, ports []uint16) (string, error) {
	if err := checkText(text); err != nil {
		return "", err
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
	port, err := plainPort(u)
	if err != nil {
		return "", err
	}
	if u.Host, err = plainHost(u); err != nil {
		return "", err
	}
	u.Host += port
	if err := checkPort(u, ports); err != nil {
		return "", err
	}
	u.RawQuery = escapeNonASCII(u.RawQuery)
	normal := u.String()
	if len(normal) > maxURL {
		return "", tooLongURL()
	}
	if again, err := url.Parse(normal); err != nil || again.Host != u.Host {
		return "", errors.New("is not a valid URL")
	}
	return normal, nil
}

func checkText(text string) error {
	switch {
	case len(text) > maxURL:
		return tooLongURL()
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return errors.New("must not hold spaces or control characters")
	case strings.ContainsRune(text, utf8.RuneError):
		return errors.New("holds a character that could not be read (U+FFFD)")
	}
	return nil
}

func tooLongURL() error { return fmt.Errorf("may be %d bytes long at most", maxURL) }

// escapeNonASCII does for a query what [url.URL.String] does for a path.
func escapeNonASCII(query string) string {
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// plainPort returns the port with a colon in front, or nothing if there is none.
func plainPort(u *url.URL) (string, error) {
	text := u.Port()
	if text == "" {
		return "", nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("must have a port from 1 to 65535")
	}
	return ":" + strconv.FormatUint(n, 10), nil
}

// hostProfile maps names as browsers do, but lets underscores be, which real hosts have.
var hostProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// plainHost returns the host as it stands in a URL, without its port.
func plainHost(u *url.URL) (string, error) {
	if strings.HasPrefix(u.Host, "[") {
		addr, err := netip.ParseAddr(u.Hostname())
		if err != nil {
			return "", errors.New("has a host that is no valid address")
		}
		if addr.Zone() != "" {
			return "", errors.New("has an address with a zone, which means something on one machine only")
		}
		return "[" + addr.String() + "]", nil
	}
	host, err := hostProfile.ToASCII(u.Hostname())
	if err != nil || !validHost(host) || !utf8.ValidString(u.Hostname()) {
		return "", errors.New("has a host that is no valid name")
	}
	// The mapping takes some names that it does not give back.
	if again, err := hostProfile.ToASCII(host); err != nil || again != host {
		return "", errors.New("has a host that is no valid name")
	}
	return host, nil
}

// validHost reports whether a name in ASCII can be looked up. The profile maps some characters to ones that would end the host
// where the URL is read again, such as the full-width colon and solidus.
func validHost(host string) bool {
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > maxHost {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// checkPort refuses a URL whose port is not allowed.
func checkPort(u *url.URL, ports []uint16) error {
	if len(ports) == 0 {
		return nil
	}
	text := u.Port()
	if text == "" {
		text = "443"
	}
	if n, err := strconv.ParseUint(text, 10, 16); err == nil && slices.Contains(ports, uint16(n)) {
		return nil
	}
	allowed := make([]string, len(ports))
	for i, port := range ports {
		allowed[i] = strconv.Itoa(int(port))
	}
	return fmt.Errorf("has port %s; allowed here are %s", text, strings.Join(allowed, ", "))
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
