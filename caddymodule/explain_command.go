package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// explainFlags are the flags of "caddy benti explain".
type explainFlags struct {
	server         serverFlags
	method, path   string
	header         []string
	body           string
	status         int
	answerHeader   []string
	answerBody     string
	ticket         string
	set            []string
	har            string
	json, webhooks bool
}

// placeholderHost is the host of a request whose host was not given.
const placeholderHost = "host.invalid"

func explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Says which event a call would make, and why",
		Long: `Takes a config and a call with its answer, and says which row of the endpoint table matches, where the
id, the parent and the actor come from, and what the payload is. The call is given by flags, or with its
siblings as an HTTP archive (HAR) that a browser saved.

The derivation is that of the server: the config is provisioned, the request is routed through it, and the answer
goes through the same code. But nothing listens, no connection is made and no store is opened.
Authentication and other handlers in front are passed over: what they would set is given with --set.

With --webhooks the running server is asked which webhooks would get the event.

Exit codes: 0 an event is made, 1 failed, 4 no event is made.`,
		Example: `  caddy benti explain --config Caddyfile --path /v1/tickets --response-body '{"id":7}' --status 201
  caddy benti explain --method PUT --path /v1/users/9 --header 'Authorization: Bearer eyJ...'
  caddy benti explain --har session.har --json`,
		Args: cobra.NoArgs,
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) (int, error) { return f.run(cmd) }),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.method, "method", http.MethodPost, "the call's method")
	flags.StringVar(&f.path, "path", "", "the call's path, or its URL with a host")
	flags.StringArrayVarP(&f.header, "header", "H", nil, `a header of the call, such as "x-inbenta-key: abc" (repeatable)`)
	flags.StringVar(&f.body, "body", "", "the call's body, or @FILE")
	flags.IntVar(&f.status, "status", http.StatusOK, "the answer's status")
	flags.StringArrayVar(&f.answerHeader, "response-header", nil, "a header of the answer (repeatable)")
	flags.StringVar(&f.answerBody, "response-body", "", "the answer's body, or @FILE")
	flags.StringVar(&f.ticket, "ticket", "", "for source instance: what GET of the ticket shows, or @FILE")
	flags.StringArrayVar(&f.set, "set", nil, "the value of a placeholder, such as http.auth.user.id=4014 (repeatable)")
	flags.StringVar(&f.har, "har", "", "an HTTP archive with the calls, in place of the flags above")
	flags.BoolVar(&f.webhooks, "webhooks", false, "ask the running server which webhooks would get the event")
	flags.BoolVar(&f.json, "json", false, "print JSON, one object a line for each call")
	f.server.add(flags)
	return cmd
}

func (f *explainFlags) run(cmd *cobra.Command) (int, error) {
	exchanges, anyHost, err := f.exchanges()
	if err != nil {
		return exitFailed, err
	}
	config, file, _, err := caddycmd.LoadConfig(f.server.config, f.server.adapter)
	if err != nil {
		return exitFailed, err
	}
	if file == "" {
		return exitFailed, errors.New("no config: give --config, or run it where the Caddyfile is")
	}
	s, err := provisionSites(config)
	if err != nil {
		return exitFailed, err
	}
	made := false
	for i := range exchanges {
		e, err := s.explain(&exchanges[i], anyHost)
		if err != nil {
			return exitFailed, err
		}
		if f.webhooks {
			if err := e.ask(&f.server); err != nil {
				return exitFailed, err
			}
		}
		made = made || e.Outcome == outcomeEvent
		if err := f.print(cmd.OutOrStdout(), e, len(exchanges) > 1); err != nil {
			return exitFailed, err
		}
	}
	if !made {
		return exitNo, nil
	}
	return exitOK, nil
}

func (f *explainFlags) print(w io.Writer, e *explanation, oneOfMany bool) error {
	if f.json {
		return printJSONLine(w, e)
	}
	return e.print(w, oneOfMany)
}

// exchanges returns what is to be explained, and whether the host was left open.
func (f *explainFlags) exchanges() (all []exchange, anyHost bool, err error) {
	ticket, err := textOrFile(f.ticket)
	if err != nil {
		return nil, false, err
	}
	values, err := pairs(f.set)
	if err != nil {
		return nil, false, err
	}
	if f.har != "" {
		if f.path != "" {
			return nil, false, errors.New("either --har or --path, not both")
		}
		data, err := os.ReadFile(f.har)
		if err != nil {
			return nil, false, fmt.Errorf("reading HAR: %w", err)
		}
		all, err = parseHAR(data)
		if err != nil {
			return nil, false, err
		}
	} else {
		x, open, err := f.exchange()
		if err != nil {
			return nil, false, err
		}
		all, anyHost = []exchange{x}, open
	}
	for i := range all {
		all[i].values = values
		if f.ticket != "" {
			all[i].ticket = ticket
		}
	}
	return all, anyHost, nil
}

// exchange is the one that the flags tell of.
func (f *explainFlags) exchange() (x exchange, anyHost bool, err error) {
	if f.path == "" {
		return x, false, errors.New("--path is needed, or --har")
	}
	x.method, x.url, x.status = strings.ToUpper(f.method), f.path, f.status
	if strings.HasPrefix(f.path, "/") {
		x.url, anyHost = "http://"+placeholderHost+f.path, true
	}
	if u, err := url.Parse(x.url); err != nil || u.Host == "" {
		return x, false, fmt.Errorf("--path: %q is neither a path that begins with / nor a URL", f.path)
	}
	if x.status < 200 || x.status > 599 {
		return x, false, fmt.Errorf("--status: %d is not from 200 to 599", x.status)
	}
	if x.header, err = headers("--header", f.header); err != nil {
		return x, false, err
	}
	if x.answer, err = headers("--response-header", f.answerHeader); err != nil {
		return x, false, err
	}
	if x.body, err = textOrFile(f.body); err != nil {
		return x, false, err
	}
	if x.result, err = textOrFile(f.answerBody); err != nil {
		return x, false, err
	}
	if len(x.body) > 0 {
		setDefault(x.header, "Content-Type", "application/json")
	}
	if len(x.result) > 0 {
		setDefault(x.answer, "Content-Type", "application/json")
	}
	if host := x.header.Get("Host"); host != "" && anyHost {
		x.url, anyHost = "http://"+host+f.path, false
	}
	return x, anyHost, nil
}

// textOrFile returns a text, or what is in a file named behind an @.
func textOrFile(text string) ([]byte, error) {
	name, isFile := strings.CutPrefix(text, "@")
	if !isFile {
		return []byte(text), nil
	}
	return os.ReadFile(name) //nolint:gosec // the operator names it
}

func headers(flag string, lines []string) (http.Header, error) {
	h := make(http.Header)
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, fmt.Errorf("%s: %q is not like %q", flag, line, "Name: value")
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}

func pairs(list []string) (map[string]string, error) {
	values := make(map[string]string)
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if name = strings.Trim(name, "{}"); !ok || name == "" {
			return nil, fmt.Errorf("--set: %q is not like %q", text, "http.auth.user.id=4014")
		}
		values[name] = value
	}
	return values, nil
}
