package matcher

import (
	"fmt"
	"mime/multipart"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
)

func TestFieldsAreFoundInForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, path, want string }{
		{"ticket_id=5", "ticket_id", "5"},
		{"a=1&ticket_id=5&ticket_id=6", "ticket_id", "5"},
		{"ticket%5Fid=a%20b+c", "ticket_id", "a b c"},
		{"ticket[id]=5", "ticket.id", "5"},
		{"ticket%5Bid%5D=5", "ticket.id", "5"},
		{"a[b][c]=5", "a.b.c", "5"},
		{"a[0]=5", "a.0", "5"},
		{"a[b]=5&a.b=6", "a.b", "6"},
		{"a=%zz%4", "a", "%zz%4"},
		{"a", "a", ""},
		{"=5", "", "5"},
		{"a=1;b=2", "b", ""},
		{"a=b=c", "a", "b=c"},
		{"&&a=1&&", "a", "1"},
		{"", "a", ""},
	} {
		d := parseForm([]byte(c.body), false)
		if got := d.find(c.path); got != c.want {
			t.Errorf("%s at %s: got %q; want %q", c.body, c.path, got, c.want)
		}
	}
}

func TestTheLastFieldOfACutFormIsNotSeen(t *testing.T) {
	t.Parallel()
	d := parseForm([]byte("a=1&b=12"), true)
	if got := d.find("a"); got != "1" {
		t.Errorf("a: got %q", got)
	}
	if got := d.find("b"); got != "" {
		t.Errorf("b: got %q", got)
	}
}

func TestFormsOfManyPairsAreBounded(t *testing.T) {
	t.Parallel()
	d := parseForm([]byte(strings.Repeat("a=1&", maxPairs)+"b=2"), false)
	if got := d.find("b"); got != "" {
		t.Errorf("got %q", got)
	}
	d = parseForm([]byte(strings.Repeat("a=1&", maxPairs-1)+"b=2"), false)
	if got := d.find("b"); got != "2" {
		t.Errorf("got %q", got)
	}
}

// multipartBody writes fields as name, value pairs; a name with a colon has a file name behind it.
func multipartBody(t testing.TB, fields ...string) (contentType, body string) {
	t.Helper()
	var b strings.Builder
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		name, file, isFile := strings.Cut(fields[i], ":")
		disposition := fmt.Sprintf("form-data; name=%q", name)
		if isFile {
			disposition += fmt.Sprintf("; filename=%q", file)
		}
		part, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(fields[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

func TestFieldsAreFoundInMultipartBodies(t *testing.T) {
	t.Parallel()
	contentType, body := multipartBody(t, "file:a.png", "\x89PNG\r\n--x", "empty:", "no file", "ticket_id", "5", "ticket_id", "6",
		"ticket[id]", "7", "long", strings.Repeat("1", maxField+1), "most", strings.Repeat("1", maxField), "last", "8")
	d := parseMultipart(contentType, []byte(body), false)
	for path, want := range map[string]string{
		"ticket_id": "5", "ticket.id": "7", "last": "8", "file": "", "empty": "", "long": "", "most": strings.Repeat("1", maxField),
	} {
		if got := d.find(path); got != want {
			t.Errorf("%s: got %.20q", path, got)
		}
	}
	for _, contentType := range []string{"multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"", "multipart/form-data; a"} {
		if d := parseMultipart(contentType, []byte(body), false); d.fault != ReasonInvalid {
			t.Errorf("%s: got %q", contentType, d.fault)
		}
	}
}

func TestOnlyWholePartsOfACutMultipartBodyAreSeen(t *testing.T) {
	t.Parallel()
	// The second value goes on with what looks like a boundary, so that a cut right there could mislead.
	contentType, body := multipartBody(t, "a", "12345", "b", "6\r\n--BOUNDARYx\r\n7", "f:x", "data", "c", "8")
	_, boundary, _ := strings.Cut(contentType, "boundary=")
	body = strings.ReplaceAll(body, "BOUNDARY", boundary)
	want := map[string]string{"a": "12345", "b": "6\r\n--" + boundary + "x\r\n7", "c": "8"}
	for i := range len(body) + 1 {
		d := parseMultipart(contentType, []byte(body[:i]), true)
		for path, value := range want {
			got := d.find(path)
			if got != "" && got != value {
				t.Fatalf("cut at %d: %s is %q", i, path, got)
			}
		}
	}
	d := parseMultipart(contentType, []byte(body), false)
	for path, value := range want {
		if got := d.find(path); got != value {
			t.Errorf("%s: got %q", path, got)
		}
	}
}

func TestMultipartBodiesOfManyPartsAreBounded(t *testing.T) {
	t.Parallel()
	fields := make([]string, 0, 2*maxParts+2)
	for i := range maxParts {
		fields = append(fields, fmt.Sprint("f", i), "1")
	}
	contentType, body := multipartBody(t, append(fields, "last", "2")...)
	d := parseMultipart(contentType, []byte(body), false)
	if got := d.find("last"); got != "" || len(d.fields) != maxParts {
		t.Errorf("got %q, %d fields", got, len(d.fields))
	}
	bomb := strings.Repeat("--x\r\n\r\n\r\n", 300_000)
	if d := parseMultipart("multipart/form-data; boundary=x", []byte(bomb), false); len(d.fields) != 0 || !d.cut {
		t.Errorf("got %d fields", len(d.fields))
	}
}

func FuzzForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "a=1&b[c]=%20", false)
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n", true)
	f.Add("multipart/form-data; boundary=\"a b\"", "--a b\r\n\r\n\r\n--a b", false)
	f.Fuzz(func(t *testing.T, contentType, body string, cut bool) {
		d := parseRequest(Body{Type: contentType, Bytes: []byte(body), Cut: cut}, 1<<16)
		for key, value := range d.fields {
			if len(key)+len(value) > 2*len(body)+2 {
				t.Fatalf("%q grew to %q=%q", body, key, value)
			}
		}
		form := parseForm([]byte(body), cut)
		if want, err := url.ParseQuery(body); err == nil && !cut && !form.cut && len(body) < maxPairs {
			for key := range want {
				if got := form.fields[key]; got != want.Get(key) {
					t.Fatalf("%q: %q is %q, want %q", body, key, got, want.Get(key))
				}
			}
		}
		for i := 0; i < len(body) && i < 64; i++ { // no cut may change the value of a field
			for key, value := range parseForm([]byte(body[:i]), true).fields {
				if form.fields[key] != value {
					t.Fatalf("%q cut at %d: %q is %q", body, i, key, value)
				}
			}
		}
	})
}
