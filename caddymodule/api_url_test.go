package caddymodule

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestURLsAreStoredInTheirPlainForm(t *testing.T) {
	t.Parallel()
	path := strings.Repeat("x", maxURL-len("https://example.com/"))
	for text, want := range map[string]string{
		"https://example.com":                          "https://example.com",
		"https://example.com/a/../b?c=d&e=%20;f":       "https://example.com/a/../b?c=d&e=%20;f",
		"https://example.com/" + path:                  "https://example.com/" + path,
		"HTTPS://EXAMPLE.com/A":                        "https://example.com/A",
		"https://example.com.:0443/":                   "https://example.com.:443/",
		"https://example.com:/":                        "https://example.com/",
		"https://a_b.example.com/":                     "https://a_b.example.com/",
		"https://münchen.example/ä?ö":                  "https://xn--mnchen-3ya.example/%C3%A4?%C3%B6",
		"https://MÜNCHEN.example:8443/":                "https://xn--mnchen-3ya.example:8443/",
		"https://xn--mnchen-3ya.example/":              "https://xn--mnchen-3ya.example/",
		"https://例え。テスト/":                              "https://xn--r8jz45g.xn--zckzah/",
		"https://ｅｘａｍｐｌｅ．com/":                         "https://example.com/",
		"https://loc\u00adalhost/":                     "https://localhost/",
		"https://１２７.0.0.1/":                           "https://127.0.0.1/",
		"https://%E4%BE%8B.com/":                       "https://xn--fsq.com/",
		"https://[2600:0:0:0:0:0:0:00A1]:8443/":        "https://[2600::a1]:8443/",
		"https://[::FFFF:127.0.0.1]/":                  "https://[::ffff:127.0.0.1]/",
		"https://" + strings.Repeat("a", 63) + ".test": "https://" + strings.Repeat("a", 63) + ".test",
	} {
		got, err := checkURL(text, nil)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
		if again, err := checkURL(got, nil); err != nil || again != got {
			t.Errorf("%q: stored again it is %q, %v", got, again, err)
		}
	}
}

func TestURLsThatAreNoneOfAReceiver(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                                      "must use https",
		"example.com":                                           "must use https",
		"//example.com/":                                        "must use https",
		"http://example.com/":                                   "must use https",
		"ftp://example.com/":                                    "must use https",
		"file:///etc/passwd":                                    "must use https",
		"javascript:alert(1)":                                   "must use https",
		"https:example.com":                                     "must have a host",
		"https:/example.com":                                    "must have a host",
		"https:///example.com":                                  "must have a host",
		"https://:443/":                                         "must have a host",
		"https://me@example.com/":                               "must not hold a user name",
		"https://me:pw@example.com/":                            "must not hold a user name",
		"https://@example.com/":                                 "must not hold a user name",
		"https://good.example@127.0.0.1/":                       "must not hold a user name",
		"https://example.com/#":                                 "must not hold a fragment",
		"https://example.com#@127.0.0.1/":                       "must not hold a fragment",
		"https://example.com:0/":                                "port from 1 to 65535",
		"https://example.com:65536/":                            "port from 1 to 65535",
		"https://example.com:99999999999999999999/":             "port from 1 to 65535",
		"https://example.com:-1/":                               "not a valid URL",
		"https://example.com:443x/":                             "not a valid URL",
		"https://example.com:80:443/":                           "not a valid URL",
		"https://exa mple.com/":                                 "spaces or control",
		" https://example.com/":                                 "spaces or control",
		"https://example.com/\x00":                              "spaces or control",
		"https://example.com/\r\nX-Evil: 1":                     "spaces or control",
		"https://example.com/\t":                                "spaces or control",
		"https://example.com/\u00a0":                            "spaces or control",
		"https://example.com/\u0085":                            "spaces or control",
		"https://example.com/\u2028":                            "spaces or control",
		"https://example.com/\u007f":                            "spaces or control",
		"https://example.com/\ufffd":                            "could not be read",
		"https://example.com/\xff":                              "could not be read",
		"https://exam\\ple.com/":                                "not a valid URL",
		"https://example.com\\@127.0.0.1/":                      "not a valid URL",
		"https://%31%32%37.0.0.1/":                              "not a valid URL",
		"https://example.com%00.evil/":                          "not a valid URL",
		"https://exa%0Ample.com/":                               "not a valid URL",
		"https://example.com：22/":                               "host that is no valid name", // full-width colon
		"https://example.com／.evil.example/":                    "host that is no valid name", // full-width solidus
		"https://me＠example.com/":                               "host that is no valid name", // full-width at
		"https://example.com＃.evil.example/":                    "host that is no valid name",
		"https://example.com？.evil.example/":                    "host that is no valid name",
		"https://example.com％2f/":                               "host that is no valid name",
		"https://［::1］/":                                        "not a valid URL",
		"https://℀.example/":                                    "host that is no valid name", // maps to a/c
		"https://a,b.example/":                                  "host that is no valid name",
		"https://*.example.com/":                                "host that is no valid name",
		"https://./":                                            "host that is no valid name",
		"https://../":                                           "host that is no valid name",
		"https://a..b/":                                         "host that is no valid name",
		"https://.example.com/":                                 "host that is no valid name",
		"https://xn--/":                                         "host that is no valid name",
		"https://xn--\u00fc/":                                   "host that is no valid name",
		"https://\u0378.example/":                               "host that is no valid name", // unassigned
		"https://\u202eexample.com/":                            "host that is no valid name", // right to left override
		"https://" + strings.Repeat("a", 64) + ".test/":         "host that is no valid name",
		"https://" + strings.Repeat("a.", 127) + "test/":        "host that is no valid name",
		"https://[::1/":                                         "not a valid URL",
		"https://[]/":                                           "not a valid URL",
		"https://[foo]/":                                        "not a valid URL",
		"https://[127.0.0.1]/":                                  "not a valid URL",
		"https://[::1]extra/":                                   "not a valid URL",
		"https://[v1.x]/":                                       "not a valid URL",
		"https://[fe80::1%25eth0]/":                             "zone",
		"https://[::1%25]/":                                     "",
		"https://[fe80::1%eth0]/":                               "not a valid URL",
		"https://example.com/" + strings.Repeat("x", maxURL-19): "2048 bytes",
		"https://example.com/" + strings.Repeat("ä", maxURL/3):  "2048 bytes", // escaped
		"https://[2600::1]/" + strings.Repeat("ä", maxURL/3):    "2048 bytes",
	} {
		if got, err := checkURL(text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestOnlyAllowedPortsAreStored(t *testing.T) {
	t.Parallel()
	ports := []uint16{443, 8443}
	for text, want := range map[string]string{
		"https://example.com/":        "",
		"https://example.com:443/":    "",
		"https://example.com:08443/":  "",
		"https://[2600::1]:8443/":     "",
		"https://example.com:22/":     "has port 22; allowed here are 443, 8443",
		"https://[2600::1]:444/":      "has port 444; allowed here are 443, 8443",
		"https://example.com：22:443/": "host that is no valid name",
	} {
		_, err := checkURL(text, ports)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := checkURL("https://example.com/", []uint16{8443}); err == nil || !strings.Contains(err.Error(), "has port 443") {
		t.Errorf("the default port is allowed: %v", err)
	}
}

// FuzzCheckURL holds what is accepted against what the rest of the program takes for granted.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{
		"https://example.com:8443/a?b", "https://[2600::1]/", "https://münchen.example/", "https://example.com：22/", "https://a%2fb/", "https://１２７.1/", "https://℀/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := checkURL(text, []uint16{443, 8443})
		if err != nil {
			if got != "" || len(err.Error()) > 200 {
				t.Errorf("%q with %v", got, err)
			}
			return
		}
		u, err := url.Parse(got)
		if err != nil {
			t.Fatalf("%q is stored as %q: %v", text, got, err)
		}
		if u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Opaque != "" || len(got) > maxURL {
			t.Errorf("%q is stored as %q", text, got)
		}
		if port := u.Port(); port != "" && port != "443" && port != "8443" {
			t.Errorf("%q is stored with port %s", text, port)
		}
		host := u.Hostname()
		if addr, err := netip.ParseAddr(host); (err != nil || addr.String() != host) && !validHost(host) {
			t.Errorf("%q is stored with host %q", text, host)
		}
		if strings.ContainsFunc(u.Host+u.RequestURI(), func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q is stored as %q", text, got)
		}
		if again, err := checkURL(got, []uint16{443, 8443}); err != nil || again != got {
			t.Errorf("%q is stored as %q, and that as %q: %v", text, got, again, err)
		}
	})
}
