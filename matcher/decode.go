package matcher

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxEncodings is how many encodings on top of each other are undone. More than one is rare already.
	maxEncodings = 3
	// maxWindow is the largest window that RFC 9659 allows zstd as a content encoding.
	maxWindow = 8 << 20
)

var errEncoding = errors.New("unknown content encoding")

// decode undoes the encodings of a body, the last one first. No more than limit bytes come out of any
// of them; cut tells that there would have been more, or that the body itself was cut.
func decode(b Body, limit int) (out []byte, cut bool, err error) {
	encodings, err := parseEncodings(b.Encoding)
	if err != nil {
		return nil, false, err
	}
	if len(encodings) == 0 || len(b.Bytes) == 0 {
		n := min(len(b.Bytes), limit)
		return b.Bytes[:n], b.Cut || n < len(b.Bytes), nil
	}
	cut = b.Cut
	var r io.Reader = bytes.NewReader(b.Bytes)
	for i := len(encodings) - 1; i >= 0; i-- {
		decoder, err := newDecoder(encodings[i], r)
		if err != nil {
			return stopped(nil, cut, err)
		}
		defer decoder.Close()
		// Each layer is bounded, or a small body could make the inner ones work for hours on the outer ones' output.
		r = &bounded{from: decoder, left: limit, over: &cut}
	}
	out, err = io.ReadAll(r)
	return stopped(out, cut, err)
}

// stopped judges the end of decoding: running out of bytes is what a cut body does.
func stopped(out []byte, cut bool, err error) ([]byte, bool, error) {
	if err == nil || (cut && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF))) {
		return out, cut, nil
	}
	return nil, false, fmt.Errorf("decoding body: %w", err)
}

func parseEncodings(header string) ([]string, error) {
	var encodings []string
	for e := range strings.SplitSeq(header, ",") {
		switch e = strings.ToLower(strings.TrimSpace(e)); e {
		case "", "identity":
		case "gzip", "x-gzip", "br", "zstd", "deflate":
			encodings = append(encodings, e)
		default:
			return nil, errEncoding
		}
		if len(encodings) > maxEncodings {
			return nil, errors.New("too many content encodings")
		}
	}
	return encodings, nil
}

func newDecoder(encoding string, r io.Reader) (io.ReadCloser, error) {
	switch encoding {
	case "gzip", "x-gzip":
		return gzip.NewReader(r)
	case "br":
		return io.NopCloser(brotli.NewReader(r)), nil
	case "zstd":
		// A concurrency of 1 decodes in the calling goroutine.
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case "deflate":
		return newInflater(r)
	}
	return nil, errEncoding
}

// newInflater reads what RFC 9110 section 8.4.1.2 calls deflate, which is zlib, as well as the bare deflate that
// many servers send instead. A zlib header has method 8 and is a multiple of 31.
func newInflater(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReader(r)
	head, err := buffered.Peek(2)
	if len(head) < 2 {
		return nil, err
	}
	if head[0]&0xf == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(buffered)
	}
	return flate.NewReader(buffered), nil
}

// bounded ends after a number of bytes and sets over if there are more.
type bounded struct {
	from io.Reader
	left int
	over *bool
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left > 0 {
		n, err := b.from.Read(p[:min(len(p), b.left)])
		b.left -= n
		return n, err
	}
	if *b.over {
		return 0, io.EOF
	}
	n, err := io.ReadFull(b.from, make([]byte, 1))
	if n > 0 {
		*b.over = true
		return 0, io.EOF
	}
	return 0, err
}
