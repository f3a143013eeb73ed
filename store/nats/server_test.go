package nats

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startServer runs a NATS server with JetStream in this process, with its files in dir, and options changed.
func startServer(t testing.TB, dir string, change ...func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	}
	for _, fn := range change {
		fn(o)
	}
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not come up")
	}
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv
}

// serverURL is that of a new server, or, to test other versions of it, the one that BENTI_NATS_URL says.
func serverURL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("BENTI_NATS_URL"); url != "" {
		return url
	}
	return startServer(t, t.TempDir()).ClientURL()
}

func logTo(t testing.TB) func(level, message string) {
	return func(level, message string) {
		if testing.Verbose() && level != "debug" {
			fmt.Println(t.Name(), level, message)
		}
	}
}
