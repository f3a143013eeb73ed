package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// twin is one Caddy with the same site twice in front of the same API: once with benti_webhooks in it, and webhooks that
// want its events, and once without. Each is served over plain HTTP and over TLS, with HTTP/1, 2 and 3.
type twin struct {
	*proxy
	api   *rawAPI
	rc    *receiver
	sites [2]address // without and with us
	cases atomic.Int64
	ids   atomic.Int64
}

// address is where a site listens.
type address struct{ plain, tls string }

const (
	without = iota
	with
)

// twinRoutes are the site. BENTI(x) is benti_webhooks with the prefix x, or nothing.
const twinRoutes = `
	handle_errors {
		@handled path /handled/*
		handle @handled {
			header X-Handled {err.status_code}
			respond "handled {err.status_code} {err.status_text}" {err.status_code}
		}
		handle /fallback/* {
			BENTI(/fallback)
			reverse_proxy API
		}
	}
	handle /async/* {
		BENTI(/async durability async)
		reverse_proxy API
	}
	handle /handled/v1/* {
		BENTI(/handled)
		reverse_proxy API
	}
	handle_path /stripped/* {
		BENTI()
		reverse_proxy API
	}
	handle /old/* {
		uri replace /old/ /renamed/
		BENTI(/renamed)
		reverse_proxy API
	}
	handle /encoded/* {
		encode zstd gzip
		BENTI(/encoded)
		reverse_proxy API
	}
	handle /inside/* {
		route {
			BENTI(/inside)
			encode gzip
			reverse_proxy API
		}
	}
	handle /limited/* {
		request_body {
			max_size 1000
		}
		BENTI(/limited)
		reverse_proxy API
	}
	handle /guarded/* {
		forward_auth API {
			uri /auth
			copy_headers X-User
		}
		BENTI(/guarded)
		reverse_proxy API
	}
	handle /password/* {
		basic_auth {
			ann $2a$04$64VAlvmkqEotOD.ttJ6HhuOA4ZY8XV4qkpoPVMoG8.s7lFCwLRyQu
		}
		BENTI(/password)
		reverse_proxy API
	}
	handle /rewritten/* {
		route {
			BENTI(/rewritten)
			uri strip_prefix /rewritten
			method PATCH
			request_header X-Added {method}
			reverse_proxy API {
				header_up X-Method {method}
				header_up X-Uri {uri}
				header_up X-Path {path}
				header_down X-Method {method}
				header_down -X-Legacy
			}
		}
	}
	handle /inspected/* {
		route {
			BENTI(/inspected)
			@blocked expression {http.request.body}.contains("forbidden")
			respond @blocked "not that" 403
			request_header X-Body {http.request.body}
			reverse_proxy API
		}
	}
	handle /buffered/* {
		BENTI(/buffered)
		reverse_proxy API {
			request_buffers 100KB
			response_buffers 100KB
		}
	}
	handle /flushed/* {
		BENTI(/flushed)
		reverse_proxy API {
			flush_interval 5ms
		}
	}
	handle /nolength/* {
		BENTI(/nolength)
		reverse_proxy API {
			header_down -Content-Length
		}
	}
	handle /caught/* {
		BENTI(/caught)
		reverse_proxy API {
			@bad status 4xx
			handle_response @bad {
				respond "caught {rp.status_code}" 418
			}
		}
	}
	handle /instance/* {
		BENTI(/instance source instance)
		reverse_proxy API
	}
	handle /fallback/* {
		BENTI(/fallback)
		reverse_proxy 127.0.0.1:1
	}
	handle /down/* {
		BENTI(/down)
		reverse_proxy 127.0.0.1:1
	}
	handle /handled/down/* {
		BENTI(/handled/down)
		reverse_proxy 127.0.0.1:1
	}
	handle {
		BENTI()
		reverse_proxy API
	}
`

var bentiMark = regexp.MustCompile(`BENTI\((\S*)(.*)\)`)

// newTwin starts one. All webhooks belong to one project, and want tickets, replies and classifications.
func newTwin(t *testing.T) *twin {
	t.Helper()
	tw := &twin{api: newRawAPI(t), rc: newReceiver(t)}
	up := newUpstream(t) // not used, but proxies have one
	tw.proxy = newProxy(t, up, config{})
	cert, key := writeCertificate(t, tw.dir)
	var file strings.Builder
	file.WriteString("{\n\tadmin unix/ADMIN\n\tpersist_config off\n\tauto_https off\n\tbenti {\n\t\tstore badger DATA\n" +
		"\t\tdelivery {\n\t\t\ttrust_pool file CA\n\t\t\tLOCAL\n\t\t\ttimeout 1m\n\t\t}\n\t}\n}\n") // none is made twice because the machine is busy
	for i := range tw.sites {
		plain, tls := freePort(t), freePort(t)
		if i == with {
			plain = tw.port
		}
		tw.sites[i] = address{fmt.Sprintf("127.0.0.1:%d", plain), fmt.Sprintf("127.0.0.1:%d", tls)}
		routes := bentiMark.ReplaceAllStringFunc(twinRoutes, func(mark string) string {
			m := bentiMark.FindStringSubmatch(mark)
			if i == without {
				return ""
			}
			text := "benti_webhooks {\nproject all\nauthorize off\n" + strings.TrimSpace(m[2]) + "\n"
			if m[1] != "" {
				text += "prefix " + m[1] + "\n"
			}
			return text + "}"
		})
		routes = strings.ReplaceAll(routes, "API", tw.api.address())
		fmt.Fprintf(&file, "http://:%d {\n%s}\nhttps://:%d {\ntls %s %s\n%s}\n", plain, routes, tls, cert, key, routes)
	}
	tw.config = config{caddyfile: file.String()}
	tw.start()
	tw.awaitHTTP3()
	for _, item := range []string{"ticket", "reply", "classification"} {
		tw.register(item, tw.rc.url("/"+item))
	}
	return tw
}

// awaitHTTP3 waits until both sites offer HTTP/3, with which Caddy begins in the background and only then says so in answers.
func (tw *twin) awaitHTTP3() {
	tw.t.Helper()
	for _, site := range tw.sites {
		client := site.client("2")
		eventually(tw.t, "HTTP/3 to be offered", func() bool {
			return strings.Contains(client.exchange(&exchange{protocol: "2", method: "GET", path: "/", sending: "none"}), "alt-svc: ")
		})
		client.close()
	}
}

// writeCertificate writes that of localhost for a server to read.
func writeCertificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	return writePair(t, dir, certs.local)
}

// writePair writes a certificate and its key.
func writePair(t *testing.T, dir string, pair tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// nextID names a case, and the item that it is about.
func (tw *twin) nextID() int64 { return 1_000_000 + tw.ids.Add(1) }

// client returns a new client of a site.
func (a address) client(protocol string) wireClient {
	switch protocol {
	case "2":
		return &h2{address: a.tls}
	case "3":
		return newH3(a.tls)
	}
	return &h1{address: a.plain}
}

// outcome is all that was seen of an exchange.
type outcome struct{ client, api string }

// normalisations are all that may differ between two exchanges that are the same, beside where chunks and frames end, and
// what [matrixCase.settle], [digest.gunzip] and [h3.exchange] say.
var normalisations = []struct {
	why     string
	pattern *regexp.Regexp
	to      string
}{
	{"the moment at which Caddy answers by itself", regexp.MustCompile(`(?mi)^date: .*$`), "Date: now"},
	{
		"Caddy asks for a body itself when it reads it, and hands on the API's asking; the client sees one or both, by who is first",
		regexp.MustCompile(`(HTTP/1.1 100 Continue\r\n(Server: Caddy\r\n)?(Alt-Svc: .*\r\n)?\r\n)+`), "100\n",
	},
	{
		"over HTTP/3 Go cannot tell at once whether there is a body; it looks for one of such methods for 200 ms, and then sends an empty one",
		regexp.MustCompile(`(?s)^((?:GET|HEAD|OPTIONS|DELETE) .*?)Transfer-Encoding: chunked\r\n(.*)\(chunked\) ""\ntrailer "\\r\\n"$`), `$1$2(none) ""`,
	},
	{"each site listens on a port of its own", regexp.MustCompile(`h3=":\d+"`), `h3=":port"`},
}

func normalise(text string) string {
	for _, n := range normalisations {
		text = n.pattern.ReplaceAllString(text, n.to)
	}
	return text
}

// check compares what was seen without us and with us.
func (tw *twin) check(t *testing.T, name string, plain, ours outcome) bool {
	t.Helper()
	tw.cases.Add(1)
	same := true
	if strings.Contains(plain.api, sawNothing) {
		t.Errorf("%s: without us %s", name, sawNothing)
	}
	for _, side := range []struct{ who, plain, ours string }{{"client", plain.client, ours.client}, {"API", plain.api, ours.api}} {
		if p, o := normalise(side.plain), normalise(side.ours); p != o {
			t.Errorf("%s: the %s saw without us:\n%s\nand with us:\n%s", name, side.who, p, o)
			same = false
		}
	}
	return same
}

// events counts the events that were ever made.
func (tw *twin) events() (n int) {
	tw.t.Helper()
	return int(tw.status().Deliveries.Enqueued)
}
