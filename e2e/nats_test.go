package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// natsBinary builds the server once, into the directory of the certificates, which goes with the tests.
var natsBinary = sync.OnceValues(func() (string, error) {
	file := filepath.Join(filepath.Dir(certs.file), "natsserver")
	cmd := exec.Command("go", "build", "-o", file, "./natsserver")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return file, cmd.Run()
})

// cluster is NATS servers, each a process with files of its own.
type cluster struct {
	t       *testing.T
	servers []*natsServer
}

type natsServer struct {
	name                        string
	dir                         string
	port, monitor, clusterPorts int
	routes                      string
	config                      string    // a file, in place of all the rest
	cmd                         *exec.Cmd // nil unless running
	stdin                       io.WriteCloser
	stdout                      *bufio.Reader
}

func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := &cluster{t: t}
	var routes []string
	for i := range n {
		dir, err := os.MkdirTemp("", "benti-nats-data-")
		if err != nil {
			t.Fatal(err)
		}
		s := &natsServer{name: fmt.Sprint("n", i), dir: dir, port: freePort(t), monitor: freePort(t), clusterPorts: freePort(t)}
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", s.clusterPorts))
		c.servers = append(c.servers, s)
	}
	t.Cleanup(func() {
		for _, s := range c.servers {
			c.kill(s)
			os.RemoveAll(s.dir)
		}
	})
	for _, s := range c.servers {
		if n > 1 {
			s.routes = strings.Join(routes, ",")
		}
		c.launch(s)
	}
	c.await()
	return c
}

// launch starts a server.
func (c *cluster) launch(s *natsServer) {
	c.t.Helper()
	file, err := natsBinary()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(file, "-name", s.name, "-dir", s.dir, "-port", fmt.Sprint(s.port), "-monitor", fmt.Sprint(s.monitor),
		"-cluster", fmt.Sprint(s.clusterPorts), "-routes", s.routes, "-config", s.config)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	s.cmd, s.stdin, s.stdout = cmd, stdin, bufio.NewReader(stdout)
	c.says(s, "ready")
}

func (c *cluster) says(s *natsServer, want string) {
	c.t.Helper()
	if line, err := s.stdout.ReadString('\n'); err != nil || line != want+"\n" {
		c.t.Fatalf("a NATS server says %q, %v, not %s", line, err, want)
	}
}

// newConfigured is one server with lines of its configuration. TLS makes its URL one of tls://.
func newConfigured(t *testing.T, lines string) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "benti-nats-data-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, servers: []*natsServer{{name: "n0", dir: dir, port: freePort(t), monitor: freePort(t)}}}
	s := c.servers[0]
	s.config = filepath.Join(dir, "nats.conf")
	t.Cleanup(func() {
		c.kill(s)
		os.RemoveAll(dir)
	})
	c.configure(lines)
	c.launch(s)
	c.await()
	return c
}

// configure writes the configuration of a single server.
func (c *cluster) configure(lines string) {
	c.t.Helper()
	s := c.servers[0]
	text := fmt.Sprintf("server_name: %s\nlisten: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\njetstream { store_dir: %q }\n%s\n", s.name, s.port, s.monitor, s.dir, lines)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// reconfigure changes the configuration of a single server that runs.
func (c *cluster) reconfigure(lines string) {
	c.t.Helper()
	c.configure(lines)
	if _, err := io.WriteString(c.servers[0].stdin, "reload\n"); err != nil {
		c.t.Fatal(err)
	}
	c.says(c.servers[0], "reloaded")
}

// kill ends a server without a chance for it to do anything. Its files stay.
func (c *cluster) kill(s *natsServer) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.stdin.Close()
	s.cmd = nil
}

// await waits until JetStream takes requests everywhere.
func (c *cluster) await() {
	c.t.Helper()
	for _, s := range c.servers {
		eventually(c.t, "JetStream on "+s.name, func() bool {
			response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", s.monitor))
			if err != nil {
				return false
			}
			defer response.Body.Close()
			return response.StatusCode == http.StatusOK
		})
	}
	http.DefaultClient.CloseIdleConnections()
}

// leader is the server that leads the stream.
func (c *cluster) leader() *natsServer {
	c.t.Helper()
	var found *natsServer
	eventually(c.t, "a leader of the stream", func() bool {
		for _, s := range c.servers {
			if s.cmd == nil {
				continue
			}
			name := streamLeader(s.monitor)
			for _, l := range c.servers {
				if l.name == name && l.cmd != nil {
					found = l
					return true
				}
			}
		}
		return false
	})
	return found
}

func streamLeader(monitor int) string {
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/jsz?streams=true", monitor))
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var got struct {
		Accounts []struct {
			Streams []struct {
				Cluster struct{ Leader string }
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if json.NewDecoder(response.Body).Decode(&got) != nil || len(got.Accounts) == 0 || len(got.Accounts[0].Streams) == 0 {
		return ""
	}
	return got.Accounts[0].Streams[0].Cluster.Leader
}

// store is the setting of the store, for instances that each have a directory of their own.
func (c *cluster) store() string {
	var urls []string
	for _, s := range c.servers {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", s.port))
	}
	return fmt.Sprintf("store nats {\nurl %s\nreplicas %d\ndir DATA\nSTORE\n}", strings.Join(urls, " "), len(c.servers))
}

// instances starts n proxies that share a store.
func (c *cluster) instances(up *upstream, n int, conf config) []*proxy {
	c.t.Helper()
	conf.caddyfile = strings.Replace(standardCaddyfile, "store badger DATA STORE", c.store(), 1)
	ps := make([]*proxy, n)
	for i := range ps {
		ps[i] = site(c.t, up, conf)
		ps[i].turns("open")
	}
	return ps
}

// ledger counts what came, by webhook and by event.
type ledger struct {
	rc         *receiver
	got        map[string]map[string]int // by the path, then by the id of the item
	duplicates int
}

func newLedger(rc *receiver) *ledger { return &ledger{rc: rc, got: make(map[string]map[string]int)} }

// await waits until all events have come to all paths.
func (l *ledger) await(t *testing.T, paths, events []string, limit time.Duration) {
	t.Helper()
	late := time.After(limit)
	for _, path := range paths {
		for _, id := range events {
			for l.got[path][id] == 0 {
				select {
				case got := <-l.rc.posts:
					l.add(t, got)
				case <-late:
					t.Fatalf("not within %s: event %s at %s; %s", limit, id, path, l.missing(paths, events))
				}
			}
		}
	}
}

func (l *ledger) missing(paths, events []string) string {
	n, all := 0, len(paths)*len(events)
	for _, path := range paths {
		for _, id := range events {
			if l.got[path][id] == 0 {
				n++
			}
		}
	}
	return fmt.Sprintf("%d of %d are missing", n, all)
}

func (l *ledger) add(t *testing.T, got *post) {
	t.Helper()
	var event struct{ ID json.Number }
	if err := json.Unmarshal([]byte(got.body), &event); err != nil {
		t.Fatal(err)
	}
	if l.got[got.path] == nil {
		l.got[got.path] = make(map[string]int)
	}
	if l.got[got.path][event.ID.String()]++; l.got[got.path][event.ID.String()] > 1 {
		l.duplicates++
	}
}
