package e2e

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

const (
	// bombSize is how much is in a compression bomb, in bytes: many times body_limit.
	bombSize = 128 << 20
	million  = 1_000_000

	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

func hostileInputs(t *testing.T) []hostile {
	t.Helper()
	var all []hostile
	for _, some := range [][]hostile{bombs(), hostileEncodings(t), hostileJSON(), hostileIDs(), hostilePaths(), overrides(), hostileForms(), hostileTokens(), hostileLocations()} {
		all = append(all, some...)
	}
	return all
}

// padding is white space, which JSON allows anywhere.
func padding(n int) string { return strings.Repeat(" ", n) }

func brotlied(s string) string {
	var b bytes.Buffer
	return compressed(&b, brotli.NewWriterLevel(&b, 1), s)
}

func zstded(s string) string {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err)
	}
	return compressed(&b, w, s)
}

// bareDeflated is what many servers call deflate.
func bareDeflated(s string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		panic(err)
	}
	return compressed(&b, w, s)
}

func bombs() []hostile {
	var all []hostile
	front, behind := `{"id":9,"x":"`+strings.Repeat("a", bombSize)+`"}`, `{"x":"`+strings.Repeat("a", bombSize)+`","id":9}`
	for encoding, encode := range map[string]func(string) string{"gzip": gzipped, "br": brotlied, "zstd": zstded, "deflate": deflated} {
		answer := []string{"Content-Encoding", encoding}
		all = append(all,
			hostile{name: encoding + " bomb behind the id", answer: answer, response: encode(front), event: `9 null null`},
			hostile{name: encoding + " bomb in front of the id", answer: answer, response: encode(behind), reason: "too_long"},
			hostile{name: encoding + " bomb in the request", header: []string{"Content-Encoding", encoding}, request: encode(front), response: `{"id":1}`, event: `1 null null`},
		)
	}
	twice := gzipped(gzipped(front))
	return append(all,
		hostile{name: "bare deflate bomb", answer: []string{"Content-Encoding", "deflate"}, response: bareDeflated(front), event: `9 null null`},
		hostile{name: "bomb in a bomb", answer: []string{"Content-Encoding", "gzip, gzip"}, response: twice, event: `9 null null`},
		hostile{name: "bomb in a bomb in a bomb", answer: []string{"Content-Encoding", "gzip, gzip, gzip"}, response: gzipped(twice), event: `9 null null`},
		hostile{name: "bomb in a bomb, four deep", answer: []string{"Content-Encoding", "gzip, gzip, gzip, gzip"}, response: gzipped(gzipped(twice)), reason: "undecodable"},
		hostile{name: "bomb of white space", answer: []string{"Content-Encoding", "gzip"}, response: gzipped(padding(bombSize) + `{"id":9}`), reason: "too_long"},
	)
}

func hostileEncodings(t *testing.T) []hostile {
	t.Helper()
	body := `{"id":9}`
	all := []hostile{
		{name: "window of zstd beyond all bounds", answer: []string{"Content-Encoding", "zstd"}, response: unhex(t, "28b52ffd00f8") + strings.Repeat("x", 100), reason: "undecodable"},
		{name: "empty gzip", answer: []string{"Content-Encoding", "gzip"}, response: "", reason: "no_id"},
	}
	for name, c := range map[string][2]string{
		"gzip that is none": {"gzip", body}, "br that is none": {"br", "\xff" + body}, "zstd that is none": {"zstd", body}, "deflate that is none": {"deflate", "\x78\x9c" + body},
		"cut gzip": {"gzip", gzipped(body)[:12]}, "cut zstd": {"zstd", zstded(body)[:8]}, "cut br": {"br", brotlied(body)[:3]}, "gzip with a wrong sum": {"gzip", gzipped(body)[:len(gzipped(body))-8] + "12345678"},
		"unknown encoding": {"snappy", body}, "encoding with a line of its own": {"gzip;q=1", gzipped(body)}, "gzip twice, applied once": {"gzip, gzip", gzipped(body)},
	} {
		all = append(all, hostile{name: name, answer: []string{"Content-Encoding", c[0]}, response: c[1], reason: "undecodable"})
	}
	return all
}

func hostileJSON() []hostile {
	deep := strings.Repeat("[", million)
	return []hostile{
		{name: "a million brackets", response: deep, reason: "invalid"},
		{name: "a million brackets, closed", response: strings.Repeat("[", million/2) + strings.Repeat("]", million/2), reason: "invalid"},
		{name: "a million braces", response: strings.Repeat(`{"a":`, million/5), reason: "invalid"},
		{name: "a million brackets behind the id", response: `{"id":1,"x":` + deep, reason: "invalid"},
		{name: "a million brackets in a string", response: `{"id":1,"x":"` + deep + `"}`, event: `1 null null`},
		{name: "a million brackets in the request", request: deep, response: `{"id":1}`, event: `1 null null`},
		{name: "a million brackets in the request, id in the path", method: "PUT", path: "/v1/tickets/7", request: deep, status: 200, response: `{}`, event: `7 null null`},
		{name: "a million members", response: "{" + strings.Repeat(`"a":1,`, 150_000) + `"id":3}`, event: `3 null null`},
		{name: "a million elements in data", response: `{"data":[` + strings.Repeat(`{},`, 300_000) + `{"id":3}]}`, reason: "no_id"},
		{name: "id beyond the limit", response: `{"x":"` + strings.Repeat("a", 1<<20) + `","id":3}`, reason: "too_long"},
		{name: "id cut in two by the limit", response: padding(1<<20-8) + `{"id":12345}`, reason: "too_long"},
		{name: "nested just too deep", response: `{"id":1,"x":` + strings.Repeat("[", 512) + strings.Repeat("]", 512) + `}`, reason: "invalid"},
		{name: "nested just not too deep", response: `{"id":1,"x":` + strings.Repeat("[", 511) + strings.Repeat("]", 511) + `}`, event: `1 null null`},
		{name: "duplicate id", response: `{"id":1,"id":2}`, event: `1 null null`},
		{name: "duplicate id, the first an object", response: `{"id":{"id":5},"id":2}`, reason: "no_id"},
		{name: "duplicate data", response: `{"data":{"id":1},"data":{"id":2}}`, event: `1 null null`},
		{name: "duplicate actor", request: `{"creator":1,"creator":2}`, response: `{"id":1}`, event: `1 1 null`},
		{name: "key in disguise", response: `{"\u0069d":4}`, event: `4 null null`},
		{name: "key of another case", response: `{"ID":4,"Id":5}`, reason: "no_id"},
		{name: "error in disguise", response: `{"id":1,"\u0065rror":"no"}`},
		{name: "error beside an id", response: `{"errors":[{"id":5}],"id":1}`},
		{name: "error deep down", response: `{"id":1,"x":{"errors":[1]}}`, event: `1 null null`},
		{name: "text behind the object", response: `{"id":1}{"id":2}`, reason: "invalid"},
		{name: "bytes of no text", response: "\xff\xfe{\x00}", reason: "invalid"},
		{name: "UTF-16", response: "\xff\xfe{\x00\"\x00i\x00d\x00\"\x00:\x001\x00}\x00", reason: "invalid"},
		{name: "byte order mark", response: "\ufeff" + `{"id":1}`, event: `1 null null`},
		{name: "lone surrogate", response: `{"id":"\ud800"}`, event: `"` + "\ufffd" + `" null null`},
		{name: "comment", response: `/*{"id":1}*/{"id":2}`, reason: "invalid"},
		{name: "trailing comma", response: `{"id":1,}`, reason: "invalid"},
		{name: "gjson's modifiers as keys", response: `{"@this":{"id":1},"#":2,"*":3}`, reason: "no_id"},
		{name: "keys of a prototype", response: `{"__proto__":{"id":1},"constructor":{"id":2}}`, reason: "no_id"},
	}
}

func hostileIDs() []hostile {
	digits := strings.Repeat("1234567890", 30)
	all := []hostile{
		{name: "id of 300 digits", response: `{"id":` + digits + `}`, event: digits + ` null null`},
		{name: "id of 300 digits in a string", response: `{"id":"` + digits + `"}`, event: digits + ` null null`},
		{name: "id of 300 digits in the path", method: "PUT", path: "/v1/tickets/" + digits, status: 200, response: `{}`, event: digits + ` null null`},
		{name: "id of 5,000 digits", response: `{"id":` + strings.Repeat("1", 5000) + `}`, reason: "no_id"},
		{name: "id of a megabyte", response: `{"id":"` + strings.Repeat("x", 1_000_000) + `"}`, reason: "no_id"},
		{name: "actor of a megabyte", request: `{"creator":"` + strings.Repeat("x", 1_000_000) + `"}`, response: `{"id":1}`, event: `1 null null`},
		{name: "id of 300 digits and a sign", response: `{"id":-` + digits + `}`, event: `-` + digits + ` null null`},
		{name: "id beyond floats", response: `{"id":1e400}`, event: `"1e400" null null`},
		{name: "leading zeros", response: `{"id":"007"}`, event: `"007" null null`},
		{name: "digits of another script", response: `{"id":"٣"}`, event: `"٣" null null`},
		{name: "id that would end the string", response: `{"id":"\",\"item\":\"user"}`, event: `"\",\"item\":\"user" null null`},
		{name: "id of control characters", response: `{"id":"\u0000\r\n\u001b[2J"}`, event: `"\u0000\r\n\u001b[2J" null null`},
		{name: "placeholders in an id", response: `{"id":"{env.HOME}{benti.jwt.sub}"}`, event: `"{env.HOME}{benti.jwt.sub}" null null`},
		{name: "placeholders in an actor", request: `{"creator":"{env.HOME}"}`, response: `{"id":1}`, event: `1 "{env.HOME}" null`},
		{name: "markup in an id", response: `{"id":"<script>&"}`, event: `"<script>&" null null`},
		{name: "id that is NaN", response: `{"id":NaN}`, reason: "invalid"},
	}
	for _, value := range []string{`{"id":5}`, `{}`, `[5]`, `[[5]]`, `null`, `true`, `false`, `""`} {
		all = append(all, hostile{name: "id that is " + value, response: `{"id":` + value + `}`, reason: "no_id"})
	}
	return all
}

func hostilePaths() []hostile {
	var all []hostile
	for _, path := range []string{
		"//v1/tickets/5", "/v1//tickets/5", "/v1/tickets//5", "/v1/tickets/5//", "/v1/./tickets/5", "/v1/../v1/tickets/5", "/x/../v1/tickets/5", "/v1/tickets/..",
		"/v1/tickets/.", "/v1/tickets/%2e%2e", "/v1/tickets/%2E", "/v1/tickets/.%2e", "/v1/Tickets/5", "/V1/tickets/5", "/v1/TICKETS/5", "/v1;x/tickets/5",
		"/v1/tickets;x=1/5", "/v1/tickets/%00", "/v1/tickets/5%0d%0aX:y", "/v1/tickets/5%7f", "/v1%2Ftickets/5", "/v1/tickets%2F5", "/v1/tickets/5/6", "/v1/tickets",
		"/v1/tickets/5/replies", "/v01x/tickets/5", "/v/tickets/5", "/v1/v1/tickets/5", `/v1\tickets\5`, "/v1/tickets/" + strings.Repeat("5", 9<<10), "/%76%31%2ftickets/5",
		"/v1/tickets/%2525%00",
	} {
		name := path
		all = append(all, hostile{name: "none: " + name[:min(len(name), 40)], method: "PUT", path: strings.ReplaceAll(path, `\`, "%5C"), status: 200, response: `{}`})
	}
	for path, id := range map[string]string{
		"a%2Fb": `"a/b"`, "%2F": `"/"`, "%2e%2e%2fadmin": `"../admin"`, "5;x=1": `"5;x=1"`, "5%3Bx": `"5;x"`, "%35": `5`, "%2535": `"%35"`, "5%20": `"5 "`, "%E2%80%8B5": `"` + "\u200b" + `5"`,
		"%ff": `"` + "\ufffd" + `"`, "...": `"..."`, "5?x=/../6": `5`, "5/": `5`, "5?_method=DELETE": `5`, "-1": `-1`, "%22": `"\""`, "%7Benv.HOME%7D": `"{env.HOME}"`,
	} {
		all = append(all, hostile{name: "path " + path, method: "PUT", path: "/v1/tickets/" + path, status: 200, response: `{}`, event: id + ` null null`})
	}
	return append(all, hostile{name: "encoded name of a row", method: "DELETE", path: "/v1/%63lassifications/5", status: 204, event: `5 null null`})
}

// overrides are what some frameworks take for another method or path. What the API makes of them is not known here, so they
// count for nothing.
func overrides() []hostile {
	var all []hostile
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		all = append(all,
			hostile{name: name + " of a read", method: "GET", header: []string{name, "POST"}, status: 200, response: `{"id":1}`},
			hostile{name: name + " of a creation", header: []string{name, "DELETE"}, response: `{"id":1}`, event: `1 null null`},
			hostile{name: name + " of another row", path: "/v1/queues/5", header: []string{name, "PUT"}, response: `{"id":1}`},
		)
	}
	for _, name := range []string{"X-Original-URL", "X-Rewrite-URL"} {
		all = append(all, hostile{name: name, method: "PUT", path: "/v1/nothing", header: []string{name, "/v1/tickets/5"}, status: 200, response: `{"id":1}`})
	}
	return append(all,
		hostile{name: "method of lower case", method: "post", response: `{"id":1}`},
		hostile{name: "method of its own", method: "POSTS", response: `{"id":1}`},
		hostile{name: "_method in a form", request: "_method=DELETE", header: []string{"Content-Type", formType}, response: `{"id":1}`, event: `1 null null`},
	)
}

func hostileForms() []hostile {
	const boundary = "multipart/form-data; boundary=x"
	part := func(name, value string) string {
		return "--x\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	media := func(name, contentType, request, parent string) hostile {
		return hostile{
			name: name, path: "/v1/media", header: []string{"Content-Type", contentType}, request: request, response: `{"id":1}`, event: `1 null ` + parent,
		}
	}
	return []hostile{
		media("a million parts behind the ticket", boundary, part("ticket_id", "5")+strings.Repeat("--x\r\n\r\n\r\n", million), "5"),
		media("a million parts in front of the ticket", boundary, strings.Repeat("--x\r\n\r\n\r\n", million)+part("ticket_id", "5"), "null"),
		media("a million empty lines", boundary, strings.Repeat("\r\n", million)+part("ticket_id", "5"), "null"),
		media("a million headers of a part", boundary, "--x\r\n"+strings.Repeat("A: b\r\n", million)+"\r\n5\r\n", "null"),
		media("a million bytes of a header", boundary, "--x\r\nContent-Disposition: form-data; name=\""+strings.Repeat("a", million)+"\"\r\n\r\n5\r\n", "null"),
		media("a boundary of nothing", "multipart/form-data; boundary=", part("ticket_id", "5"), "null"),
		media("no boundary", "multipart/form-data", part("ticket_id", "5"), "null"),
		media("a boundary that is too long", "multipart/form-data; boundary="+strings.Repeat("x", 1000), part("ticket_id", "5"), "null"),
		media("two tickets", boundary, part("ticket_id", "5")+part("ticket_id", "6")+"--x--", "5"),
		media("a ticket that is a file", boundary, "--x\r\nContent-Disposition: form-data; name=\"ticket_id\"; filename=\"../../5\"\r\n\r\n5\r\n"+part("ticketId", "6")+"--x--", "6"),
		media("a ticket of a megabyte", boundary, part("ticket_id", strings.Repeat("5", 500_000))+part("ticketId", "6")+"--x--", "6"),
		media("quoted-printable", boundary, "--x\r\nContent-Disposition: form-data; name=\"ticket_id\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=35\r\n--x--", `"=35"`),
		media("multipart in multipart", boundary, "--x\r\nContent-Disposition: form-data; name=\"f\"\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\nContent-Disposition: form-data; name=\"ticket_id\"\r\n\r\n5\r\n--y--\r\n--x--", "null"),
		media("a million pairs behind the ticket", formType, "ticket_id=5&"+strings.Repeat("a&", million), "5"),
		media("a million pairs in front of the ticket", formType, strings.Repeat("a&", million/4)+"ticket_id=5", "null"),
		media("a million separators", formType, strings.Repeat("&", million)+"ticket_id=5", "null"),
		media("a million percent signs", formType, "a="+strings.Repeat("%", million)+"&ticket_id=5", "5"),
		media("two tickets in a form", formType, "ticket_id=5&ticket_id=6", "5"),
		media("a broken escape", formType, "ticket_id=%zz", `"%zz"`),
		media("no text in a form", formType, "ticket_id=%ff%00", `"`+"\ufffd"+`\u0000"`),
		media("brackets without end", formType, "ticket_id"+strings.Repeat("[", 10_000)+"=5", "null"),
		media("JSON that says it is a form", formType, `{"ticket_id":5}`, "null"),
		media("a form that says it is JSON", jsonType, `ticket_id=5`, "null"),
		media("a type of a megabyte's worth of parameters", "application/json;"+strings.Repeat("a=b;", 5_000), `{"ticket_id":5}`, "5"),
		media("a type that is none", ";;;", `{"ticket_id":5}`, "5"),
	}
}

func hostileTokens() []hostile {
	encode := base64.RawURLEncoding.EncodeToString
	digits := strings.Repeat("7", 300)
	var all []hostile
	for _, c := range [][3]string{
		{"placeholders in a claim", `{"sub":"{env.HOME}"}`, `"{env.HOME}"`},
		{"control characters in a claim", `{"sub":"\u0000\r\nX: y"}`, `"\u0000\r\nX: y"`},
		{"300 digits", `{"user_id":` + digits + `}`, digits},
		{"objects for claims", `{"user_id":{"a":1},"sub":["x"]}`, `null`},
		{"duplicate claims", `{"sub":"a","sub":"b"}`, `"a"`},
		{"brackets without end", strings.Repeat("[", 8000), `null`},
		{"claims that are no object", `"sub"`, `null`},
		{"a claim of 8,000 bytes", `{"sub":"` + strings.Repeat("x", 8000) + `"}`, `null`},
		{"no text", "{\"sub\":\"\xff\"}", `"` + "\ufffd" + `"`},
		{"a claim that would end the string", `{"sub":"\",\"id\":\"1"}`, `"\",\"id\":\"1"`},
		{"no JSON", `{`, `null`},
	} {
		token := "Bearer " + encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(c[1])) + "."
		all = append(all, hostile{name: "token with " + c[0], header: []string{"Authorization", token}, response: `{"id":1}`, event: `1 ` + c[2] + ` null`})
	}
	for name, header := range map[string]string{
		"of dots": "Bearer " + strings.Repeat(".", 10_000), "of nothing": "Bearer ", "of another alphabet": "Bearer e30.!!!.x", "of five parts": "Bearer e30.e30.e30.e30.e30",
		"without a scheme": "e30.e30.x",
	} {
		all = append(all, hostile{name: "token " + name, header: []string{"Authorization", header}, response: `{"id":1}`, event: `1 null null`})
	}
	// The site's project is fixed: a key can be anything.
	for _, key := range []string{"{env.HOME}", "{benti.tenant}", "../../etc/passwd", "\xff\xfe", strings.Repeat("k", 8000), `";'--`, "a b\tc"} {
		all = append(all, hostile{name: fmt.Sprintf("key %.20q", key), header: []string{"X-Inbenta-Key", key}, response: `{"id":1}`, event: `1 null null`})
	}
	return all
}

func hostileLocations() []hostile {
	var all []hostile
	for location, id := range map[string]string{
		"/v1/tickets/9": `9`, "https://elsewhere.example/9?x=8#7": `9`, "/v1/tickets/a%2Fb": `"a/b"`, "//h": "", "javascript:alert(1)": "", "/x/%2e%2e": "", "/x/..": "", "/x/%00": "", "/x/%zz": "",
		"": "", "/": "", "/" + strings.Repeat("9", 9<<10): "", "/%7Benv.HOME%7D": `"{env.HOME}"`, "://": "",
	} {
		h := hostile{name: fmt.Sprintf("Location %.30q", location), answer: []string{"Location", location}, response: `{}`, event: id + ` null null`}
		if id == "" {
			h.event, h.reason = "", "no_id"
		}
		all = append(all, h)
	}
	return all
}
