package caddymodule

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bentihooks/bentihooks/matcher"
)

// listedWebhook is a webhook as the admin endpoint lists it.
type listedWebhook struct {
	UUID      string    `json:"uuid"`
	Project   string    `json:"project"`
	Item      string    `json:"item,omitempty"`
	Events    []string  `json:"events,omitempty"`
	URL       string    `json:"url"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
}

// wants is what it subscribes to.
func (w *listedWebhook) wants() string {
	if w.Item != "" {
		return w.Item
	}
	return strings.Join(w.Events, ",")
}

func pathSegment(s string) string { return url.PathEscape(s) }

// webhooks lists all that fit a query.
func (f *serverFlags) webhooks(query url.Values) ([]listedWebhook, error) {
	all := []listedWebhook{}
	query.Set("limit", strconv.Itoa(maxListed))
	for {
		var page struct {
			Data []listedWebhook `json:"data"`
			Next *string         `json:"next"`
		}
		if err := f.get(adminPath+"webhooks?"+query.Encode(), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.Next == nil {
			return all, nil
		}
		query.Set("cursor", *page.Next)
	}
}

// ask asks the server which webhooks want the events.
func (e *explanation) ask(f *serverFlags) error {
	webhooks, err := f.webhooks(url.Values{"project": {e.Project}})
	if err != nil {
		return err
	}
	e.asked = true
	for i := range webhooks {
		w := &webhooks[i]
		wanted := slices.ContainsFunc(e.Events, func(item explainedItem) bool {
			return item.Name == w.Item || slices.Contains(w.Events, item.Name)
		})
		if w.Project == e.Project && wanted && w.Status != "disabled" && w.Status != "gone" {
			e.Webhooks = append(e.Webhooks, *w)
		}
	}
	return nil
}

func webhooksCommand() *cobra.Command {
	var server serverFlags
	var output outputFlags
	var project, status, item string
	cmd := &cobra.Command{
		Use:   "webhooks",
		Short: "Lists webhooks, switches them on and off",
		Args:  cobra.NoArgs,
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) (int, error) {
			query := make(url.Values)
			for name, value := range map[string]string{"project": project, "status": status, "item": item} {
				if value != "" {
					query.Set(name, value)
				}
			}
			webhooks, err := server.webhooks(query)
			if err != nil {
				return exitFailed, err
			}
			return exitOK, printWebhooks(cmd.OutOrStdout(), webhooks, output.json)
		}),
	}
	server.add(cmd.Flags())
	output.add(cmd)
	cmd.Flags().StringVar(&project, "project", "", "of this project only")
	cmd.Flags().StringVar(&status, "status", "", "with this status only: active, failing, disabled or gone")
	cmd.Flags().StringVar(&item, "item", "", "that want this item or instance event only")
	complete(cmd, "item", append(matcher.Items(), matcher.InstanceEvents()...))
	complete(cmd, "status", []string{"active", "failing", "disabled", "gone"})
	cmd.AddCommand(
		webhookCommand("enable", "Has webhooks get new deliveries again"),
		webhookCommand("disable", "Has webhooks get no new deliveries; those pending wait"),
	)
	return cmd
}

func printWebhooks(w io.Writer, webhooks []listedWebhook, asJSON bool) error {
	if asJSON {
		return printJSONLine(w, map[string]any{"data": webhooks})
	}
	rows := [][]string{{"ID", "PROJECT", "WANTS", "STATUS", "URL"}}
	for i := range webhooks {
		h := &webhooks[i]
		rows = append(rows, []string{h.UUID, h.Project, h.wants(), h.Status, h.URL})
	}
	return table(w, rows)
}

// webhookCommand does something with each of the webhooks named.
func webhookCommand(action, short string) *cobra.Command {
	var server serverFlags
	cmd := &cobra.Command{
		Use:   action + " ID...",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: withExitCode(func(cmd *cobra.Command, ids []string) (int, error) {
			for _, id := range ids {
				if err := server.post(adminPath+"webhooks/"+pathSegment(id)+"/"+action, nil, nil); err != nil {
					return exitFailed, fmt.Errorf("%s of webhook %s: %w", action, id, err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", id, map[string]string{
					"enable": "enabled", "disable": "disabled", "ping": "a ping is on its way",
				}[action])
			}
			return exitOK, nil
		}),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			webhooks, err := server.webhooks(make(url.Values))
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			var ids []string
			for i := range webhooks {
				ids = append(ids, cobra.CompletionWithDesc(webhooks[i].UUID, webhooks[i].wants()+" "+webhooks[i].URL))
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
	}
	server.add(cmd.Flags())
	return cmd
}

// complete has the shell offer the values of a flag.
func complete(cmd *cobra.Command, flag string, values []string) {
	// It fails only for a flag that does not exist, which the tests would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
