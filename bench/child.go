package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// The legacy API and the receivers are processes of their own, so that their work is not counted as that of what
// is measured. They are this program, started with childArgument, and do what comes in on their standard input, a
// JSON value a line, each answered by one. They end with their standard input, and so with their parent.
const childArgument = "child-of-the-benchmark"

// childRole is what a child is to be.
type childRole struct {
	API       bool          `json:",omitempty"`
	Receivers *receiverRole `json:",omitempty"`
}

// childReady is a child's first line.
type childReady struct {
	Port  int
	Error string
}

// child is the parent's end.
type child struct {
	*process
	stdin   io.WriteCloser
	answers *bufio.Reader
	port    int
}

func (b *bench) startChild(ctx context.Context, role childRole) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("looking for own program: %w", err)
	}
	text, err := json.Marshal(role)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, childArgument, string(text)) //nolint:gosec // ourselves
	cmd.Stderr = os.Stderr
	c := new(child)
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// Not StdoutPipe, which Wait closes while answers may be read.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	cmd.Stdout = w
	c.answers = bufio.NewReaderSize(r, 1<<20)
	if c.process, err = b.startProcess(cmd); err != nil {
		return nil, err
	}
	var ready childReady
	if err := c.answer(&ready); err != nil {
		return nil, err
	}
	if ready.Error != "" {
		return nil, errors.New(ready.Error)
	}
	c.port = ready.Port
	return c, nil
}

// ask sends a command and reads the answer.
func (c *child) ask(command, answer any) error {
	line, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := c.stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("telling child: %w", err)
	}
	return c.answer(answer)
}

func (c *child) answer(v any) error {
	line, err := c.answers.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("hearing from child: %w", err)
	}
	return json.Unmarshal(line, v)
}

// runChild is the main function of a child.
func runChild(text string) error {
	var role childRole
	if err := json.Unmarshal([]byte(text), &role); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	var port int
	var err error
	var commands func(line []byte) (any, error)
	if role.API {
		port, err = serveAPI()
	} else {
		port, commands, err = serveReceivers(*role.Receivers)
	}
	ready := childReady{Port: port}
	if err != nil {
		ready.Error = err.Error()
	}
	if err := out.Encode(ready); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return nil //nolint:nilerr // the parent is gone
		}
		answer, err := commands(line)
		if err != nil {
			return err
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}
