package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bentihooks/bentihooks/store/nats"
)

// natsCluster is NATS servers with JetStream, each a process with files of its own.
type natsCluster struct {
	urls []string
	cmds []*exec.Cmd
}

// startCluster starts n servers, built from the program that the end-to-end tests use.
func (b *bench) startCluster(ctx context.Context, n int) (*natsCluster, error) {
	file := filepath.Join(b.dir, "natsserver")
	build := exec.CommandContext(ctx, "go", "build", "-o", file, "github.com/bentihooks/bentihooks/e2e/natsserver") //nolint:gosec // our own
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("building the NATS server: %w", err)
	}
	ports := make([]int, 2*n)
	var routes []string
	for i := range ports {
		var err error
		if ports[i], err = freePort(ctx); err != nil {
			return nil, err
		}
		if i >= n && n > 1 {
			routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		}
	}
	c := new(natsCluster)
	for i := range n {
		dir, err := b.data()
		if err != nil {
			return c, err
		}
		//nolint:gosec // our own
		cmd := exec.CommandContext(ctx, file, "-name", fmt.Sprint("n", i), "-dir", dir, "-port", fmt.Sprint(ports[i]),
			"-cluster", fmt.Sprint(ports[n+i]), "-routes", strings.Join(routes, ","))
		cmd.Stderr = os.Stderr
		if _, err := cmd.StdinPipe(); err != nil { // closed when this process ends, and the server with it
			return c, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return c, err
		}
		if err := cmd.Start(); err != nil {
			return c, fmt.Errorf("starting a NATS server: %w", err)
		}
		c.cmds = append(c.cmds, cmd)
		c.urls = append(c.urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			return c, fmt.Errorf("waiting for a NATS server: %w", err)
		}
	}
	sts, err := c.open(ctx, c.prefix(), 1) // when there is a stream, there can be more
	for _, st := range sts {
		_ = st.Close()
	}
	return c, err
}

func (c *natsCluster) stop() {
	for _, cmd := range c.cmds {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// cpu is what the servers have used.
func (c *natsCluster) cpu() time.Duration {
	var sum time.Duration
	for _, cmd := range c.cmds {
		if used, err := (&process{cmd: cmd}).cpu(); err == nil {
			sum += used
		}
	}
	return sum
}

// open opens n instances that share a store of their own. A new cluster may take a moment until it makes streams.
func (c *natsCluster) open(ctx context.Context, prefix string, n int) ([]*nats.Store, error) {
	var sts []*nats.Store
	for i := range n {
		o := nats.Options{URLs: c.urls, Prefix: prefix, Replicas: len(c.urls), Name: fmt.Sprint(i)}
		st, err := nats.Open(o)
		for tries := 0; err != nil && tries < 100; tries++ {
			if err := sleep(ctx, 200*time.Millisecond); err != nil {
				return sts, err
			}
			st, err = nats.Open(o)
		}
		if err != nil {
			return sts, err
		}
		sts = append(sts, st)
	}
	return sts, nil
}
