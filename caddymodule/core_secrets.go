package caddymodule

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/bentihooks/bentihooks/store"
)

// eraseInterval is how often a core looks for former secrets that do not sign any more.
const eraseInterval = 5 * time.Second

// errSigns ends an update of a webhook whose former secret has changed meanwhile, and signs.
var errSigns = errors.New("former secret still signs")

// eraseSecrets erases the former secrets of webhooks whose overlap has ended.
func (c *core) eraseSecrets(ctx context.Context, e *engine, now time.Time) {
	for _, w := range e.store.Directory().All() {
		if w.PreviousSecret == "" || now.Before(w.PreviousUntil) {
			continue
		}
		err := eraseSecret(ctx, e.store, w.ID, now)
		switch {
		case err == nil:
			c.logger().Info("erased the former secret of a webhook", zap.String("webhook", w.ID))
			continue
		case errors.Is(err, errSigns) || errors.Is(err, store.ErrNotFound):
			continue
		case ctx.Err() != nil:
			return
		}
		c.metrics.storeErrors.Inc()
		c.logger().Error("erasing a webhook's former secret; tried again", zap.String("webhook", w.ID), zap.Error(err))
		return
	}
}

func eraseSecret(ctx context.Context, st store.Store, webhook string, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, apiStoreTimeout)
	defer cancel()
	_, err := st.UpdateWebhook(ctx, webhook, func(w *store.Webhook) error {
		if now.Before(w.PreviousUntil) {
			return errSigns
		}
		w.PreviousSecret, w.PreviousUntil = "", time.Time{}
		return nil
	})
	return err
}
