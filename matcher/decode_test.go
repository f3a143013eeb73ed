package matcher

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// encoders are the content encodings; "raw" is deflate without its zlib wrapping.
var encoders = map[string]func(io.Writer) (io.WriteCloser, error){
	"gzip":    func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	"x-gzip":  func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	"br":      func(w io.Writer) (io.WriteCloser, error) { return brotli.NewWriter(w), nil },
	"zstd":    func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) },
	"deflate": func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil },
	"raw":     func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 6) },
}

func header(encoding string) string { return strings.ReplaceAll(encoding, "raw", "deflate") }

// encode applies encodings in the order of the header.
func encode(t testing.TB, encodings string, body []byte) []byte {
	t.Helper()
	for e := range strings.SplitSeq(encodings, ",") {
		if e = strings.TrimSpace(e); encoders[e] == nil {
			continue
		}
		var b bytes.Buffer
		w, err := encoders[e](&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		body = b.Bytes()
	}
	return body
}

var allEncodings = []string{
	"", "identity", "gzip", "x-gzip", "br", "zstd", "deflate", "raw", "gzip, br", "br,gzip", "zstd,deflate,gzip", "raw,raw", "identity, gzip ,",
}

func TestEncodingsAreUndone(t *testing.T) {
	t.Parallel()
	body := []byte(strings.Repeat(`{"id":5,"text":"abc"}`, 500))
	for _, e := range allEncodings {
		wire := encode(t, e, body)
		out, cut, err := decode(Body{Encoding: strings.ToUpper(header(e)), Bytes: wire}, len(body))
		if err != nil || cut || !bytes.Equal(out, body) {
			t.Errorf("%q: %d bytes, %v, %v", e, len(out), cut, err)
		}
		out, cut, err = decode(Body{Encoding: header(e), Bytes: wire}, len(body)-1)
		if err != nil || !cut || !bytes.Equal(out, body[:len(body)-1]) {
			t.Errorf("%q one byte over the limit: %d bytes, %v, %v", e, len(out), cut, err)
		}
		out, cut, err = decode(Body{Encoding: header(e)}, 10)
		if err != nil || cut || len(out) != 0 {
			t.Errorf("%q of nothing: %q, %v, %v", e, out, cut, err)
		}
	}
}

func TestCutEncodedBodiesAreDecodedAsFarAsTheyGo(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 400 {
		text.WriteString(strings.Repeat(string(rune('a'+i%26)), i%7))
	}
	body := []byte(text.String())
	for _, e := range allEncodings {
		wire := encode(t, e, body)
		longest := 0
		for i := range wire {
			out, cut, err := decode(Body{Encoding: header(e), Bytes: wire[:i], Cut: true}, 1<<20)
			if err != nil || !cut || !bytes.HasPrefix(body, out) {
				t.Fatalf("%q cut at %d of %d: %d bytes, %v, %v", e, i, len(wire), len(out), cut, err)
			}
			longest = max(longest, len(out))
			if _, _, err := decode(Body{Encoding: header(e), Bytes: wire[:i]}, 1<<20); err == nil && i > 0 && encoders[e] != nil {
				t.Fatalf("%q, a whole body that ends at %d of %d, is taken for sound", e, i, len(wire))
			}
		}
		if longest == 0 && e != "zstd" { // whose blocks, of up to 128 KiB, are decoded whole or not at all
			t.Errorf("%q: nothing decoded", e)
		}
	}
}

func TestBrokenEncodingsAreUndecodable(t *testing.T) {
	t.Parallel()
	body := []byte(strings.Repeat(`{"id":5}`, 100))
	corrupt := encode(t, "gzip", body)
	corrupt[len(corrupt)-6] ^= 1 // the checksum
	for _, b := range []Body{
		{Encoding: "compress", Bytes: body},
		{Encoding: "gzip, nope", Bytes: body},
		{Encoding: "gzip,gzip,gzip,gzip", Bytes: encode(t, "gzip,gzip,gzip,gzip", body)},
		{Encoding: "gzip", Bytes: body},
		{Encoding: "br", Bytes: body},
		{Encoding: "zstd", Bytes: body},
		{Encoding: "deflate", Bytes: []byte("\xff\xff\xff")},
		{Encoding: "deflate", Bytes: []byte("x")},
		{Encoding: "gzip", Bytes: corrupt},
		{Encoding: "gzip", Bytes: append(encode(t, "gzip", body), "trailing garbage"...)},
		{Encoding: "gzip", Bytes: corrupt[:4], Cut: false},
		{Encoding: "gzip", Bytes: body, Cut: true},
		{Encoding: "zstd", Bytes: hugeWindow},
	} {
		if out, _, err := decode(b, 1<<20); err == nil || out != nil {
			t.Errorf("%s of %.10q: %q, %v", b.Encoding, b.Bytes, out, err)
		}
	}
}

// hugeWindow is a sound but empty zstd frame that asks for a window of 16 MiB: magic, frame header descriptor,
// window descriptor, block header.
var hugeWindow = []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x70, 0x01, 0x00, 0x00}

func TestBombsAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	zeros := make([]byte, 64<<20)
	gzipped := encode(t, "gzip", zeros)
	empty := encode(t, "gzip", nil)
	for name, b := range map[string]Body{
		"gzip":    {Encoding: "gzip", Bytes: gzipped},
		"zstd":    {Encoding: "zstd", Bytes: encode(t, "zstd", zeros)},
		"br":      {Encoding: "br", Bytes: encode(t, "br", zeros)},
		"deflate": {Encoding: "deflate", Bytes: encode(t, "deflate", zeros)},
		"twice":   {Encoding: "gzip,gzip", Bytes: encode(t, "gzip", gzipped)},
		// Members without content: the outer layer puts out much, the inner one nothing.
		"nothing": {Encoding: "gzip,gzip", Bytes: encode(t, "gzip", bytes.Repeat(empty, (64<<20)/len(empty)))},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out, cut, err := decode(b, limit)
		runtime.ReadMemStats(&after)
		if err != nil || !cut || len(out) > limit || cap(out) > 2*limit {
			t.Errorf("%s: %d bytes, %v, %v", name, len(out), cut, err)
		}
		// Other tests run beside this one and allocate too; the figure is for the reader.
		t.Logf("%s: %d bytes on the wire, %d KiB allocated", name, len(b.Bytes), (after.TotalAlloc-before.TotalAlloc)>>10)
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range allEncodings {
		f.Add(header(e), encode(f, e, []byte(`{"id":5}`)), false)
		f.Add(header(e), encode(f, e, []byte(`{"id":5}`))[:5], true)
	}
	f.Add("zstd", hugeWindow, false)
	f.Fuzz(func(t *testing.T, encoding string, wire []byte, cut bool) {
		const limit = 1 << 12
		b := Body{Encoding: encoding, Bytes: wire, Cut: cut}
		out, more, err := decode(b, limit)
		if len(out) > limit || (err != nil && out != nil) || (err == nil && cut && !more) {
			t.Fatalf("%d bytes, %v, %v", len(out), more, err)
		}
		parseResponse(b, limit)
	})
}
