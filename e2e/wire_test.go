package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// message is an HTTP/1 request or answer as it came over the wire: nothing is parsed that need not be, and nothing is
// put in another form.
type message struct {
	interim []string // heads of 1xx answers before it
	head    string   // with the empty line
	framing string   // of the body: none, length, chunked or until close
	body    digest   // without its framing
	trailer string   // with the empty line
	broken  string   // how it ended too early; empty if it did not
}

// digest takes a body of any length.
type digest struct {
	n     int64
	first []byte // as much of it as is kept
	sum   hash.Hash
}

// keptOfBody is how much of a body is kept as it is.
const keptOfBody = 64 << 10

func (d *digest) Write(p []byte) (int, error) {
	if d.sum == nil {
		d.sum = sha256.New()
	}
	d.sum.Write(p)
	d.n += int64(len(p))
	d.first = append(d.first, p[:min(len(p), keptOfBody-len(d.first))]...)
	return len(p), nil
}

func (d *digest) String() string {
	if d.n <= 1<<10 {
		return fmt.Sprintf("%q", d.first)
	}
	return fmt.Sprintf("%d bytes, sha256 %x", d.n, d.sum.Sum(nil))
}

// gunzip puts what the body holds in its place, if it is gzip: where flushes fell shows in it, and they fall where the
// proxy happened to find nothing more to read.
func (d *digest) gunzip() {
	in, err := gzip.NewReader(bytes.NewReader(d.first))
	if err != nil {
		return
	}
	var plain digest
	_, err = io.Copy(&plain, in)
	fmt.Fprint(&plain, " of gzip ", err)
	*d = plain
}

func (m *message) String() string {
	var b strings.Builder
	for _, head := range m.interim {
		b.WriteString(head)
	}
	fmt.Fprintf(&b, "%s(%s) %s", m.head, m.framing, &m.body)
	if m.framing == "chunked" {
		fmt.Fprintf(&b, "\ntrailer %q", m.trailer)
	}
	if m.broken != "" {
		fmt.Fprintf(&b, "\n%s", m.broken)
	}
	return b.String()
}

// readHead reads to the first empty line.
func readHead(in *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := in.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			return head.String(), err
		}
		if line == "\r\n" {
			return head.String(), nil
		}
	}
}

// field returns the value of a header field by its name in lower case.
func field(head, name string) (value string) {
	for line := range strings.SplitSeq(head, "\r\n") {
		if key, v, ok := strings.Cut(line, ":"); ok && strings.ToLower(key) == name {
			value = strings.TrimSpace(v)
		}
	}
	return value
}

// statusOf returns the status of an answer's head, or 0.
func statusOf(head string) int {
	if len(head) < len("HTTP/1.1 200") {
		return 0
	}
	status, _ := strconv.Atoi(head[9:12])
	return status
}

// readAnswer reads the answer to a request of the given method. interim is called with each 1xx answer, if not nil.
func readAnswer(in *bufio.Reader, method string, interim func(status int)) *message {
	m := new(message)
	for {
		var err error
		if m.head, err = readHead(in); err != nil {
			m.breakOff(err)
			return m
		}
		status := statusOf(m.head)
		if status < 100 || status > 199 || status == 101 {
			break
		}
		m.interim = append(m.interim, m.head)
		if interim != nil {
			interim(status)
		}
	}
	status := statusOf(m.head)
	m.readBody(in, method != "HEAD" && status != 101 && status != 204 && status != 304, "until close")
	return m
}

// readBody reads what follows the head. otherwise is how a body ends whose end the head does not tell.
func (m *message) readBody(in *bufio.Reader, has bool, otherwise string) {
	length := field(m.head, "content-length")
	switch {
	case !has:
		m.framing = "none"
	case strings.EqualFold(field(m.head, "transfer-encoding"), "chunked"):
		m.framing = "chunked"
		m.breakOff(m.readChunks(in))
	case length != "":
		m.framing = "length"
		n, err := strconv.ParseInt(length, 10, 64)
		if err == nil {
			_, err = io.CopyN(&m.body, in, n)
		}
		m.breakOff(err)
	case otherwise == "until close":
		m.framing = otherwise
		_, err := io.Copy(&m.body, in)
		m.breakOff(err)
	default:
		m.framing = otherwise
	}
}

// readChunks reads a chunked body. Where one chunk ends and the next begins is not part of the message.
func (m *message) readChunks(in *bufio.Reader) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(strings.TrimSuffix(line, "\r\n"), 16, 64)
		if err != nil {
			return err
		}
		if size == 0 {
			m.trailer, err = readHead(in)
			return err
		}
		if _, err := io.CopyN(&m.body, in, size); err != nil {
			return err
		}
		if _, err := in.Discard(len("\r\n")); err != nil {
			return err
		}
	}
}

// breakOff notes how a message ended. A connection that is reset instead of closed makes no difference: it is whenever
// the kernel still had bytes that nobody read.
func (m *message) breakOff(err error) {
	switch {
	case err == nil:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		m.broken = "broken off"
	case errors.Is(err, os.ErrDeadlineExceeded):
		m.broken = "no more came"
	default:
		m.broken = err.Error()
	}
}

// chunked frames a body in chunks of the given parts, with a trailer.
func chunked(trailer string, parts ...string) string {
	var b bytes.Buffer
	for _, part := range parts {
		if part != "" {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
		}
	}
	return b.String() + "0\r\n" + trailer + "\r\n"
}
