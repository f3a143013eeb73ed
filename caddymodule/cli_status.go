package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	var server serverFlags
	var output outputFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Shows how the stores of the running server fare",
		Long: `Shows the version, and for each store its state, the webhooks, and how many deliveries stand where.

Exit codes: 0 all is well, 1 failed, 4 something needs attention: a store is not open, events wait outside of it,
calls are in doubt, or something is not accounted for.`,
		Example: "  caddy benti status --watch",
		Args:    cobra.NoArgs,
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) (int, error) {
			return output.show(cmd, func(w io.Writer) (int, error) { return showStatus(w, &server, output.json) })
		}),
	}
	server.add(cmd.Flags())
	output.add(cmd)
	output.addWatch(cmd)
	return cmd
}

func showStatus(w io.Writer, server *serverFlags, asJSON bool) (int, error) {
	var raw json.RawMessage
	if err := server.get(adminPath+"status", &raw); err != nil {
		return exitFailed, err
	}
	var status struct {
		Version string       `json:"version"`
		Stores  []statusView `json:"stores"`
	}
	if err := json.Unmarshal(raw, &status); err != nil {
		return exitFailed, fmt.Errorf("reading the server's answer: %w", err)
	}
	code := exitOK
	for i := range status.Stores {
		if s := &status.Stores[i]; s.State == nil || s.State.Name != stateOpen || s.InReserve+s.InMemory+s.InDoubt > 0 || s.Conservation.sum() != 0 {
			code = exitNo
		}
	}
	if asJSON {
		return code, printJSONLine(w, raw)
	}
	rows := [][]string{{"Bentihooks", status.Version}}
	for i := range status.Stores {
		rows = append(rows, []string{""})
		rows = append(rows, status.Stores[i].rows()...)
	}
	if len(status.Stores) == 0 {
		rows = append(rows, []string{"no store is in use: the config has neither benti nor benti_webhooks"})
	}
	return code, table(w, rows)
}

func (v *statusView) rows() [][]string {
	rows := [][]string{{"store", v.Store}}
	if s := v.State; s != nil {
		rows = append(rows, []string{"state", fmt.Sprintf("%s since %s", s.Name, moment(s.Since))})
		if s.Reason != "" {
			rows = append(rows, []string{"reason", s.Reason})
		}
	}
	rows = append(rows, []string{"webhooks", fmt.Sprint(v.Webhooks)})
	if d := v.Deliveries; d != nil {
		rows = append(rows, []string{"pending", fmt.Sprint(d.Pending)}, []string{"delivering", fmt.Sprint(d.Delivering)},
			[]string{"delivered", fmt.Sprint(d.Delivered)}, []string{"dead", fmt.Sprint(d.Dead)}, []string{"dropped", fmt.Sprint(d.Dropped)})
	}
	if o := v.OldestPending; o != nil {
		rows = append(rows, []string{"oldest pending", moment(o.At)})
	}
	if n := v.Conservation.sum(); n != 0 {
		rows = append(rows, []string{"unaccounted", fmt.Sprint(n)})
	}
	for _, count := range []struct {
		name string
		n    int
	}{{"in reserve", v.InReserve}, {"in memory", v.InMemory}, {"in doubt", v.InDoubt}} {
		if count.n > 0 {
			rows = append(rows, []string{count.name, fmt.Sprint(count.n)})
		}
	}
	return rows
}

func inDoubtCommand() *cobra.Command {
	var server serverFlags
	var output outputFlags
	cmd := &cobra.Command{
		Use:   "in-doubt",
		Short: "Lists calls whose outcome a crash has hidden",
		Long: `Lists the calls that were in flight when the server was killed: whether the API made the change is
not known, and no event was made. Look each up in the API, and acknowledge it when it is dealt with.

Exit codes: 0 there are none, 1 failed, 4 there are some.`,
		Args: cobra.NoArgs,
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) (int, error) {
			return showInDoubt(cmd.OutOrStdout(), &server, output.json)
		}),
	}
	server.add(cmd.Flags())
	output.add(cmd)
	acknowledge := &cobra.Command{
		Use:   "acknowledge ID...",
		Short: "Takes calls off the list",
		Args:  cobra.MinimumNArgs(1),
		RunE: withExitCode(func(_ *cobra.Command, ids []string) (int, error) {
			for _, id := range ids {
				if err := server.post(adminPath+"in-doubt/"+pathSegment(id)+"/acknowledge", nil, nil); err != nil {
					return exitFailed, fmt.Errorf("acknowledging %s: %w", id, err)
				}
			}
			return exitOK, nil
		}),
	}
	server.add(acknowledge.Flags())
	cmd.AddCommand(acknowledge)
	return cmd
}

func showInDoubt(w io.Writer, server *serverFlags, asJSON bool) (int, error) {
	var list struct {
		Data []inDoubtView `json:"data"`
	}
	if err := server.get(adminPath+"in-doubt", &list); err != nil {
		return exitFailed, err
	}
	code := exitOK
	if len(list.Data) > 0 {
		code = exitNo
	}
	if asJSON {
		return code, printJSONLine(w, list)
	}
	rows := [][]string{{"ID", "TIME", "CALL", "PROJECT", "ITEM"}}
	for _, e := range list.Data {
		rows = append(rows, []string{e.ID, moment(e.Time), e.Method + " " + shorten(e.Path, 60), e.Project, e.Item})
	}
	if code == exitOK {
		rows = [][]string{{"no call is in doubt"}}
	}
	return code, table(w, rows)
}
