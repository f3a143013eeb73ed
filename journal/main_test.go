package journal

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childRole names, in a process that a test started, what it is to do until it is killed.
const childRole = "JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	switch role := os.Getenv(childRole); role {
	case "":
		goleak.VerifyTestMain(m)
	case "append":
		appendForever(os.Args[1])
	case "forward":
		forwardForever(os.Args[1])
	default:
		fmt.Fprintln(os.Stderr, "unknown role", role)
		os.Exit(2)
	}
}
