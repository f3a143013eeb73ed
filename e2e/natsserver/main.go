// Command natsserver is a NATS server with JetStream, a process of its own for tests that kill it. It ends with its
// standard input, so that it does not outlive the tests; each line of that has it read its configuration again.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	name := flag.String("name", "", "`name` of the server")
	dir := flag.String("dir", "", "`directory` of its files")
	port := flag.Int("port", 0, "`port` for clients")
	monitor := flag.Int("monitor", 0, "`port` for monitoring")
	clusterPort := flag.Int("cluster", 0, "`port` for the other servers")
	routes := flag.String("routes", "", "`URLs` of all servers, separated by commas; none for one that is alone")
	config := flag.String("config", "", "`file` with the configuration, in place of all other flags")
	flag.Parse()
	options := &server.Options{
		ServerName: *name, Host: "127.0.0.1", Port: *port, HTTPHost: "127.0.0.1", HTTPPort: *monitor,
		JetStream: true, StoreDir: *dir,
	}
	if *config != "" {
		var err error
		if options, err = server.ProcessConfigFile(*config); err != nil {
			fail(err)
		}
	}
	options.NoSigs, options.NoLog = true, true
	if *routes != "" {
		options.Cluster = server.ClusterOpts{Name: "e2e", Host: "127.0.0.1", Port: *clusterPort}
		options.Routes = server.RoutesFromStr(strings.TrimSpace(*routes))
	}
	srv, err := server.NewServer(options)
	if err != nil {
		fail(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		fail(errors.New("not ready in time"))
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := srv.Reload(); err != nil {
			fail(err)
		}
		fmt.Println("reloaded")
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "natsserver:", err)
	os.Exit(1)
}
