package e2e

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/hex"
	"io"
	"testing"
)

func gzipped(s string) string {
	var b bytes.Buffer
	return compressed(&b, gzip.NewWriter(&b), s)
}

// deflated is in the zlib format, which is what HTTP calls deflate (RFC 9110, section 8.4.1.2).
func deflated(s string) string {
	var b bytes.Buffer
	return compressed(&b, zlib.NewWriter(&b), s)
}

func compressed(b *bytes.Buffer, w io.WriteCloser, s string) string {
	io.WriteString(w, s) // into memory, which does not fail
	w.Close()
	return b.String()
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
