package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bentihooks/bentihooks/store"
)

// bareClient posts what an emitter would post, and does nothing else: no store, no schedule, no signature made anew.
type bareClient struct {
	transport *http.Transport
}

// trust reads the authority that the receivers' certificates are signed by.
func (b *bench) trust() (*x509.CertPool, error) {
	text, err := os.ReadFile(b.certFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool, nil
}

func newBareClient(pool *x509.CertPool, perHost int) *bareClient {
	return &bareClient{&http.Transport{
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
		MaxIdleConnsPerHost: perHost,
	}}
}

func (c *bareClient) post(ctx context.Context, w *store.Webhook, d *store.Delivery) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(d.Payload))
	if err != nil {
		return err
	}
	request.Header = http.Header{
		"Content-Type":      {"application/json"},
		"User-Agent":        {"Bentihooks"},
		"X-Hook-Signature":  {w.Secret},
		"X-Hook-Delivery":   {d.ID},
		"X-Hook-Attempt":    {"1"},
		"webhook-id":        {d.ID},
		"webhook-timestamp": {"1660834225"},
		"webhook-signature": {"v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="},
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

// postAll posts the deliveries, which belong to the webhooks in turn, perWebhook of each at a time.
func (c *bareClient) postAll(ctx context.Context, ws []store.Webhook, ds []store.Delivery, perWebhook int) (sample, error) {
	begun := time.Now()
	taken := make([]atomic.Int64, len(ws))
	errs := make(chan error, len(ws)*perWebhook)
	var wg sync.WaitGroup
	for n := range ws {
		for range perWebhook {
			wg.Go(func() {
				for {
					i := n + len(ws)*int(taken[n].Add(1)-1)
					if i >= len(ds) {
						return
					}
					if err := c.post(ctx, &ws[n], &ds[i]); err != nil {
						errs <- fmt.Errorf("posting with the bare client: %w", err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	close(errs)
	return sample{n: len(ds), elapsed: time.Since(begun)}, <-errs
}

// bareLimit is how many deliveries per second the bare client makes to receivers like those of the end-to-end case.
func (b *bench) bareLimit(ctx context.Context) (float64, error) {
	const hosts, perHost = 16, 8
	rs, err := b.startReceivers(ctx, receiverRole{Hosts: hosts})
	if err != nil {
		return 0, err
	}
	defer rs.kill()
	pool, err := b.trust()
	if err != nil {
		return 0, err
	}
	c := newBareClient(pool, perHost)
	defer c.transport.CloseIdleConnections()
	ws, ds := manyDeliveries(hosts, rs.port, pick(b, 30_000, 500), 0)
	var got sample
	for range 2 { // the first connects
		if got, err = c.postAll(ctx, ws, ds, perHost); err != nil {
			return 0, err
		}
	}
	return got.rate(), nil
}

// manyDeliveries makes n deliveries, due now, for webhooks of different hosts in turn.
func manyDeliveries(hosts, port, n int, firstID int64) ([]store.Webhook, []store.Delivery) {
	ws := make([]store.Webhook, hosts)
	for i := range ws {
		ws[i] = newWebhook(tenant(0), i, port, fresh)
	}
	ds := make([]store.Delivery, n)
	now := time.Now()
	for i := range ds {
		ds[i] = newDelivery(&ws[i%hosts], firstID+int64(i), now)
	}
	return ws, ds
}
