package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/store"
	"github.com/bentihooks/bentihooks/store/nats"
)

// migratePage is how many deliveries are copied in one step.
const migratePage = 500

// importer is a store that takes deliveries as they are in another.
type importer interface {
	store.Store
	Import(ctx context.Context, deliveries ...store.Delivery) error
}

// migrated is what a migration has come to.
type migrated struct {
	Webhooks   int
	Deliveries uint64
	Total      uint64
}

// migrate copies all webhooks and their deliveries. What is there already is left as it is, so that a migration that was
// cut off can be repeated.
func migrate(ctx context.Context, from store.Store, to importer, progress func(migrated)) (migrated, error) {
	counts, err := from.Counts(ctx)
	if err != nil {
		return migrated{}, err
	}
	m := migrated{Total: counts.Pending + counts.Delivering + counts.Delivered + counts.Dead}
	ws := from.Directory().All()
	slices.SortFunc(ws, func(a, b *store.Webhook) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, w := range ws {
		if err := to.CreateWebhook(ctx, *w, math.MaxInt32); err != nil && (!errors.Is(err, store.ErrConflict) || to.Directory().Get(w.ID) == nil) {
			return m, fmt.Errorf("copying webhook %s: %w", w.ID, err)
		}
		m.Webhooks++
		before := ""
		for {
			ds, err := from.List(ctx, w.ID, before, migratePage)
			if err != nil {
				return m, fmt.Errorf("reading deliveries of webhook %s: %w", w.ID, err)
			}
			if len(ds) == 0 {
				break
			}
			before = ds[len(ds)-1].ID
			for i := range ds {
				if ds[i].State == store.Delivering { // nobody knows yet what becomes of it
					ds[i].State = store.Pending
				}
			}
			if err := importAll(ctx, to, ds); err != nil {
				return m, fmt.Errorf("copying deliveries of webhook %s: %w", w.ID, err)
			}
			m.Deliveries += uint64(len(ds))
			progress(m)
		}
	}
	return m, nil
}

// importAll splits what is too large for one step.
func importAll(ctx context.Context, to importer, ds []store.Delivery) error {
	const limit = 512 << 10
	for len(ds) > 0 {
		n, size := 0, 0
		for n < len(ds) && (n == 0 || size < limit) {
			size += 1024 + len(ds[n].Payload) + len(ds[n].Attempts)*store.MaxResponse
			n++
		}
		if err := to.Import(ctx, ds[:n]...); err != nil {
			return err
		}
		ds = ds[n:]
	}
	return nil
}

// openNamed opens a store by the name that "caddy benti migrate" takes: badger:PATH or nats:URL,URL, each with settings as in
// the Caddyfile behind a question mark.
func openNamed(name string) (importer, error) {
	engine, rest, _ := strings.Cut(name, ":")
	rest, query, _ := strings.Cut(rest, "?")
	settings, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("store %q: its settings are malformed", engine)
	}
	var st store.Store
	switch engine {
	case "badger":
		st, err = openNamedBadger(rest, settings)
	case "nats":
		st, err = openNamedNATS(rest, settings)
	default:
		return nil, fmt.Errorf("there is no store %q; allowed are badger:/path and nats:nats://host:4222", engine)
	}
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", engine, err)
	}
	return st.(importer), nil
}

// take moves settings into the fields of their names, and refuses others.
func take(settings url.Values, fields map[string]*string) error {
	for name, values := range settings {
		field, ok := fields[name]
		if !ok {
			var allowed []string
			for name := range fields {
				allowed = append(allowed, name)
			}
			slices.Sort(allowed)
			return fmt.Errorf("unrecognized setting %q; allowed are %s", name, strings.Join(allowed, ", "))
		}
		if len(values) != 1 {
			return fmt.Errorf("%s is given twice", name)
		}
		*field = values[0]
	}
	return nil
}

func openNamedBadger(path string, settings url.Values) (store.Store, error) {
	s := &BadgerStore{Path: path}
	if path == "" {
		return nil, errors.New("badger needs a path, as in badger:/var/lib/caddy/benti")
	}
	if err := take(settings, map[string]*string{"encryption_key": &s.EncryptionKey}); err != nil {
		return nil, err
	}
	if err := errors.Join(s.Provision(caddy.Context{}), s.Validate()); err != nil {
		return nil, err
	}
	return s.Open(zap.NewNop())
}

func openNamedNATS(urls string, settings url.Values) (store.Store, error) {
	s := &NATSStore{URLs: strings.Split(urls, ","), TLS: new(NATSTLS)}
	var replicas string
	err := take(settings, map[string]*string{
		"prefix": &s.Prefix, "replicas": &replicas, "creds": &s.Creds, "user": &s.User, "password": &s.Password, "token": &s.Token,
		"nkey": &s.NKey, "ca": &s.TLS.CA, "cert": &s.TLS.Cert, "key": &s.TLS.Key,
	})
	if err != nil {
		return nil, err
	}
	if *s.TLS == (NATSTLS{}) {
		s.TLS = nil
	}
	if replicas != "" {
		if s.Replicas, err = strconv.Atoi(replicas); err != nil {
			return nil, fmt.Errorf("replicas must be from 1 to %d, not %q", maxNATSReplicas, replicas)
		}
	}
	if err := errors.Join(s.Provision(caddy.Context{}), s.Validate()); err != nil {
		return nil, err
	}
	o := s.options
	o.Passive = true
	return nats.Open(o)
}
