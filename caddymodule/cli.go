package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes of all commands.
const (
	exitOK     = 0
	exitFailed = 1 // wrong use, no connection, or the server refused
	// exitNo is for commands that worked and whose answer is no: there is no event, something needs attention.
	// 2 and 3 are Caddy's own.
	exitNo = 4
)

// withExitCode makes a command of a function that returns an exit code.
func withExitCode(run func(cmd *cobra.Command, args []string) (int, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage, cmd.SilenceErrors = true, true // Caddy has logged the error
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return run(cmd, args) })(cmd, args)
	}
}

// serverFlags say where the admin endpoint of the running server is, the way Caddy's own commands do.
type serverFlags struct {
	address, config, adapter string

	found string // the address, once it was looked for: each look into the config is logged
}

func (f *serverFlags) add(flags *pflag.FlagSet) {
	flags.StringVarP(&f.config, "config", "c", "", "the config, which says where the admin endpoint is (default: ./Caddyfile if there is one)")
	flags.StringVarP(&f.adapter, "adapter", "a", "", "the config's adapter, if it is no Caddyfile or JSON")
	flags.StringVar(&f.address, "address", "", "the admin endpoint's address, such as localhost:2019 or unix//run/caddy/admin.sock")
}

// endpoint finds the admin endpoint's address.
func (f *serverFlags) endpoint() (string, error) {
	if f.found != "" {
		return f.found, nil
	}
	file := f.config
	if file == "" && f.address == "" {
		if _, err := os.Stat("Caddyfile"); err == nil {
			file = "Caddyfile"
		}
	}
	var config []byte
	if file != "" && f.address == "" {
		var err error
		if config, _, _, err = caddycmd.LoadConfig(file, f.adapter); err != nil {
			return "", fmt.Errorf("finding the admin endpoint: %w", err)
		}
		// Caddy would take the default address, at which another server may listen.
		var of struct {
			Admin caddy.AdminConfig `json:"admin"`
		}
		if json.Unmarshal(config, &of) == nil && of.Admin.Disabled {
			return "", fmt.Errorf("finding the admin endpoint: %s has it off; for another server give --address", file)
		}
	}
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, config, file, f.adapter)
	if err != nil {
		return "", fmt.Errorf("finding the admin endpoint: %w", err)
	}
	f.found = address
	return address, nil
}

// call makes a request of the admin endpoint. The caller closes the answer's body.
func (f *serverFlags) call(method, path string, body any) (*http.Response, error) {
	address, err := f.endpoint()
	if err != nil {
		return nil, err
	}
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(encoded)
	}
	// Each request has a transport of its own, whose connection nobody else would ever close.
	response, err := caddycmd.AdminAPIRequest(address, method, path, http.Header{"Connection": {"close"}}, reader)
	if err != nil {
		return nil, fmt.Errorf("asking the server at %s: %w", address, plainer(err))
	}
	return response, nil
}

// plainer takes the message out of an error answer of ours.
func plainer(err error) error {
	_, body, ok := strings.Cut(err.Error(), "responded with error: ")
	if !ok {
		return err
	}
	status, body, _ := strings.Cut(body, ": ")
	var answer struct {
		Errors []problem `json:"errors"`
		Error  string    `json:"error"` // Caddy's own form
	}
	if json.Unmarshal([]byte(body), &answer) != nil {
		return err
	}
	switch {
	case len(answer.Errors) > 0:
		return fmt.Errorf("%s (%s)", answer.Errors[0].Message, status)
	case answer.Error != "":
		return fmt.Errorf("%s (%s)", answer.Error, status)
	default:
		return err
	}
}

// get reads an answer of the admin endpoint.
func (f *serverFlags) get(path string, to any) error {
	return f.exchange(http.MethodGet, path, nil, to)
}

// post has the admin endpoint do something. to may be nil.
func (f *serverFlags) post(path string, body, to any) error {
	return f.exchange(http.MethodPost, path, body, to)
}

func (f *serverFlags) exchange(method, path string, body, to any) error {
	response, err := f.call(method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if to == nil || len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("reading the server's answer to %s %s: %w", method, path, err)
	}
	return nil
}

func printJSONLine(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// errNoTerminal is returned where a question would have to be asked and nobody can answer it.
var errNoTerminal = errors.New("this asks for confirmation, and there is no terminal: give --yes")
