package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/bentihooks/bentihooks/matcher"
)

// listedDelivery is what is shown of a delivery as the admin endpoint lists it.
type listedDelivery struct {
	ID        string        `json:"id"`
	Webhook   string        `json:"webhook"`
	Item      string        `json:"item"`
	Action    string        `json:"action"`
	State     string        `json:"state"`
	CreatedAt time.Time     `json:"created_at"`
	Attempts  []attemptView `json:"attempts"`
}

// filterFlags choose deliveries.
type filterFlags struct {
	state, project, webhook, item, since, until, store string
}

func (f *filterFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.state, "state", "", "in this state only: pending, delivering, delivered or dead")
	flags.StringVar(&f.project, "project", "", "of this project only")
	flags.StringVar(&f.webhook, "webhook", "", "of the webhook with this id only")
	flags.StringVar(&f.item, "item", "", "of this item or instance event only")
	flags.StringVar(&f.since, "since", "", "made at this time or later: RFC 3339, or how long ago, such as 2h or 3d")
	flags.StringVar(&f.until, "until", "", "made before this time, likewise")
	flags.StringVar(&f.store, "store", "", "in this store, as status names it, if several are in use")
	complete(cmd, "state", []string{"pending", "delivering", "delivered", "dead"})
	complete(cmd, "item", append(matcher.Items(), matcher.InstanceEvents()...))
}

func (f *filterFlags) empty() bool { return *f == filterFlags{} }

// query writes the filter for the admin endpoint, which judges it.
func (f *filterFlags) query(now time.Time) (url.Values, error) {
	query := make(url.Values)
	for name, value := range map[string]string{
		"state": f.state, "project": f.project, "webhook": f.webhook, "item": f.item, "store": f.store,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, value := range map[string]string{"since": f.since, "until": f.until} {
		if value == "" {
			continue
		}
		at, err := parseMoment(value, now)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", name, err)
		}
		query.Set(name, at.UTC().Format(time.RFC3339Nano))
	}
	return query, nil
}

// parseMoment reads a time, or how long ago it was.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago, err := caddy.ParseDuration(text)
	if err != nil || ago < 0 {
		return time.Time{}, fmt.Errorf("%q is neither a time such as 2026-01-31T12:00:00Z nor how long ago, such as 2h or 3d", text)
	}
	return now.Add(-ago), nil
}

// deliveryListing is one page of a listing.
type deliveryListing struct {
	Data []json.RawMessage `json:"data"`
	Next *string           `json:"next"`
}

func (p *deliveryListing) next() string {
	if p.Next == nil {
		return ""
	}
	return *p.Next
}

// maxListed is the largest page of a listing.
const maxListed = 500

// listed returns a page that is full unless there are no more: the server may answer with less when it had to look
// through many.
func (f *serverFlags) listed(query url.Values, limit int, cursor string) (*deliveryListing, error) {
	all := &deliveryListing{Data: []json.RawMessage{}}
	for {
		page, err := f.deliveries(query, limit-len(all.Data), cursor)
		if err != nil {
			return nil, err
		}
		all.Data, all.Next = append(all.Data, page.Data...), page.Next
		if cursor = page.next(); cursor == "" || len(all.Data) >= limit {
			return all, nil
		}
	}
}

func (f *serverFlags) deliveries(query url.Values, limit int, cursor string) (*deliveryListing, error) {
	query.Set("limit", strconv.Itoa(limit))
	query.Del("cursor")
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	page := new(deliveryListing)
	return page, f.get(adminPath+"deliveries?"+query.Encode(), page)
}

func deliveriesCommand() *cobra.Command {
	var server serverFlags
	var output outputFlags
	var filter filterFlags
	var limit int
	var cursor string
	cmd := &cobra.Command{
		Use:   "deliveries",
		Short: "Lists deliveries, the newest first",
		Long: `Lists deliveries, the newest first, all or those that the filters choose. If there are more, the cursor of the
next page is shown.`,
		Example: `  caddy benti deliveries --state dead --since 1d
  caddy benti deliveries --webhook 45e0bbfe-3ebc-4b74-b94b-1cd5ba229d3a --watch`,
		Args: cobra.NoArgs,
		RunE: withExitCode(func(cmd *cobra.Command, _ []string) (int, error) {
			return output.show(cmd, func(w io.Writer) (int, error) {
				query, err := filter.query(time.Now())
				if err != nil {
					return exitFailed, err
				}
				page, err := server.listed(query, limit, cursor)
				if err != nil {
					return exitFailed, err
				}
				return exitOK, page.print(w, output.json)
			})
		}),
	}
	server.add(cmd.Flags())
	output.add(cmd)
	output.addWatch(cmd)
	filter.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many, at most 500")
	cmd.Flags().StringVar(&cursor, "cursor", "", "where to go on, as the page before told")
	return cmd
}

func (p *deliveryListing) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return printJSONLine(w, p)
	}
	rows := [][]string{{"ID", "CREATED", "WEBHOOK", "EVENT", "STATE", "ATTEMPTS", "LAST ERROR"}}
	for _, raw := range p.Data {
		var d listedDelivery
		if err := json.Unmarshal(raw, &d); err != nil {
			return fmt.Errorf("reading the server's answer: %w", err)
		}
		last := ""
		if n := len(d.Attempts); n > 0 && d.Attempts[n-1].Error != nil {
			last = *d.Attempts[n-1].Error
		}
		rows = append(rows, []string{d.ID, moment(d.CreatedAt), d.Webhook, d.Item + " " + d.Action, d.State, strconv.Itoa(len(d.Attempts)), last})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if next := p.next(); next != "" {
		fmt.Fprintf(w, "\nmore: --cursor %s\n", next)
	}
	return nil
}
