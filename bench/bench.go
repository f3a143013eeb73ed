package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"time"
)

// bench is one run: what all cases share.
type bench struct {
	dir               string // for everything, removed at the end
	quick             bool
	profiles          string // directory for CPU profiles, or empty
	out               io.Writer
	binary            string
	certFile, keyFile string
	api               *child
	goals             table

	mu      sync.Mutex
	started []*process // all of them; guarded by mu
}

// newBench builds the proxy and starts the legacy API. What it returns is to be closed even on an error.
func newBench(ctx context.Context, dir string, out io.Writer) (*bench, error) {
	b := &bench{
		dir: dir, out: out, binary: filepath.Join(dir, "caddy"),
		certFile: filepath.Join(dir, "ca.pem"), keyFile: filepath.Join(dir, "ca-key.pem"),
	}
	b.goals = table{title: "Goals", head: []string{"goal", "wanted", "measured", ""}}
	if err := writeAuthority(b.certFile, b.keyFile); err != nil {
		return b, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "github.com/bentihooks/bentihooks/cmd/caddy") //nolint:gosec // our own
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return b, fmt.Errorf("building the proxy: %w", err)
	}
	var err error
	b.api, err = b.startChild(ctx, childRole{API: true})
	return b, err
}

// close ends all processes that still run, so that nothing writes to the directory any more.
func (b *bench) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.started {
		p.kill()
	}
}

// pick chooses the size of something: of a run whose figures count, or of a quick one.
func pick[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}

// goal notes whether a goal was reached.
func (b *bench) goal(name, wanted, measured string, met bool) {
	verdict := "missed"
	if met {
		verdict = "met"
	}
	b.goals.add(name, wanted, measured, verdict)
}

// data makes a directory for a store.
func (b *bench) data() (string, error) { return os.MkdirTemp(b.dir, "data-") }

// variant is one of the things that are compared.
type variant struct {
	name string
	run  func(context.Context) (sample, error)
}

// contest runs all variants in turn, n times, beginning with another one in each round, so that what changes on the
// machine meanwhile changes all of them.
func contest(ctx context.Context, n int, variants []variant) (map[string]rounds, error) {
	all := make(map[string]rounds, len(variants))
	for round := range n {
		for i := range variants {
			v := variants[(i+round)%len(variants)]
			s, err := v.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
			all[v.name] = append(all[v.name], s)
		}
	}
	return all, nil
}

// metered counts the CPU of a process during run as that of its sample.
func metered(p *process, run func() (sample, error)) (sample, error) {
	before, err := p.cpu()
	if err != nil {
		return sample{}, err
	}
	s, err := run()
	if err != nil {
		return s, err
	}
	after, err := p.cpu()
	s.cpu = after - before
	return s, err
}

// receivers are a process of them.
type receivers struct{ *child }

func (b *bench) startReceivers(ctx context.Context, role receiverRole) (*receivers, error) {
	role.CertFile, role.KeyFile = b.certFile, b.keyFile
	c, err := b.startChild(ctx, childRole{Receivers: &role})
	if err != nil {
		return nil, fmt.Errorf("starting receivers: %w", err)
	}
	return &receivers{c}, nil
}

func (rs *receivers) report(c command) (report, error) {
	var r report
	err := rs.ask(c, &r)
	return r, err
}

func (rs *receivers) reset() error {
	_, err := rs.report(command{Reset: true})
	return err
}

var errLost = errors.New("deliveries are missing")

// await returns the full report as soon as a group has got n deliveries. It fails if none comes for a while.
func (rs *receivers) await(ctx context.Context, name string, n int) (groupReport, error) {
	const patience = 30 * time.Second
	got, moved := 0, time.Now()
	for {
		r, err := rs.report(command{})
		if err != nil {
			return groupReport{}, err
		}
		g := r.Groups[name]
		switch {
		case g.Malformed > 0:
			return g, fmt.Errorf("%d deliveries to %q are not what was sent: %w", g.Malformed, name, errMalformed)
		case g.Unique > n:
			return g, fmt.Errorf("%d deliveries to %q, only %d were due", g.Unique, name, n)
		case g.Unique == n:
			r, err := rs.report(command{Full: true})
			return r.Groups[name], err
		case g.Unique > got:
			got, moved = g.Unique, time.Now()
		case time.Since(moved) > patience:
			return g, fmt.Errorf("%d of %d deliveries to %q came, none for %v: %w", g.Unique, n, name, patience, errLost)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return g, err
		}
	}
}

// profile takes a CPU profile of a proxy while run runs, and then one of its heap, if profiles are wanted.
func (b *bench) profile(ctx context.Context, p *proxy, name string, run func() error) error {
	if b.profiles == "" {
		return nil
	}
	save := func(path, file string) error {
		text, err := p.get(ctx, path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(b.profiles, file), text, 0o600)
	}
	saved := make(chan error, 1)
	go func() { saved <- save("/debug/pprof/profile?seconds=4", name+".pprof") }()
	if err := errors.Join(run(), <-saved); err != nil {
		return err
	}
	return save("/debug/pprof/heap", name+"-heap.pprof")
}

// profileSelf takes one of this process.
func (b *bench) profileSelf(name string, run func() error) error {
	if b.profiles == "" {
		return nil
	}
	file, err := os.Create(filepath.Join(b.profiles, name+".pprof")) //nolint:gosec // a file that the caller named
	if err != nil {
		return err
	}
	defer file.Close()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return run()
}
