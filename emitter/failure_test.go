package emitter

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestConnectionsThatBreakHaveOneWordingPerWay(t *testing.T) {
	t.Parallel()
	const closed = "connection closed before the answer was complete"
	call := func(name string, errno syscall.Errno) error {
		return fmt.Errorf("Post %q: %w", "https://example.com", &net.OpError{Op: name, Net: "tcp", Err: os.NewSyscallError(name, errno)})
	}
	for name, row := range map[string]struct {
		err  error
		want string
	}{
		"closed, met when reading":       {fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), closed},
		"closed, met when writing":       {call("write", syscall.EPIPE), closed},
		"reset":                          {call("read", syscall.ECONNRESET), "connection reset by peer"},
		"the peer's words are not shown": {fmt.Errorf("malformed HTTP status code %q", "secret"), "no valid HTTP answer"},
	} {
		if got := networkText(row.err); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
}
