package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// verifies reports whether a receiver that keeps to the Standard Webhooks specification, and has the secret, takes a
// request for genuine: one of the signatures in the header must be right, and the timestamp recent.
func (p *post) verifies(secret string) bool {
	timestamp := p.header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	right := signature(p.header.Get("Webhook-Id"), timestamp, p.body, secret)
	for sent := range strings.SplitSeq(p.header.Get("Webhook-Signature"), " ") {
		if sent == right {
			return true
		}
	}
	return false
}

// changeSecret gives the webhook a new secret, and returns the former one.
func (p *proxy) changeSecret(w *webhook) (former string) {
	p.t.Helper()
	former, w.secret = w.secret, p.newSecret()
	p.must(http.StatusOK, http.MethodPut, w.path(), fmt.Sprintf(`{"secret":%q}`, w.secret))
	return former
}

// signed has an event made and fails unless just the given secrets sign it, the first being in the plain header.
func (p *proxy) signed(rc *receiver, w *webhook, secrets ...string) {
	p.t.Helper()
	p.ticket()
	got := rc.next()
	p.settled(w, "delivered") // or it would come again after a kill
	for _, secret := range secrets {
		if !got.verifies(secret) {
			p.t.Errorf("a receiver with secret %q refuses it: %v", secret, got.header)
		}
	}
	if n := len(strings.Fields(got.header.Get("Webhook-Signature"))); n != len(secrets) {
		p.t.Errorf("%d signatures, want %d", n, len(secrets))
	}
	if plain := got.header.Values("X-Hook-Signature"); len(plain) != 1 || plain[0] != secrets[0] {
		p.t.Errorf("X-Hook-Signature is %q, want %q", plain, secrets[0])
	}
}

func TestBothSecretsSignAfterAChangeWhateverHappensToTheProcess(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: patientRetry})
	w := p.register("ticket", rc.url("/"))
	p.signed(rc, w, w.secret)
	former := p.changeSecret(w)
	<-rc.handshakes
	if got := <-rc.handshakes; got.header.Get("X-Hook-Signature") != w.secret {
		t.Error("the change was not verified with the new secret")
	}
	p.signed(rc, w, w.secret, former)
	p.stop()
	p.start()
	p.signed(rc, w, w.secret, former)
	p.kill()
	p.start()
	p.signed(rc, w, w.secret, former)
	// The same secret again is no change.
	p.must(http.StatusOK, http.MethodPut, w.path(), fmt.Sprintf(`{"secret":%q}`, w.secret))
	p.signed(rc, w, w.secret, former)
	// A further change takes the place of the first: the newest sign, and the one that it replaced.
	second := p.changeSecret(w)
	p.signed(rc, w, w.secret, second)
	// So does going back.
	third := w.secret
	w.secret = second
	p.must(http.StatusOK, http.MethodPut, w.path(), fmt.Sprintf(`{"secret":%q}`, w.secret))
	p.signed(rc, w, w.secret, third)
}

// A receiver that verifies, and is given the new secret later than we are, misses nothing if it is within the overlap. After
// it, the former secret neither signs nor is stored any more.
func TestFormerSecretEndsWithTheOverlap(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: "retry 100ms 100ms 100ms 100ms 100ms"})
	w := p.register("ticket", rc.url("/"))
	var has atomic.Value // the secret that the receiver has
	has.Store(w.secret)
	rc.answer(func(answer http.ResponseWriter, got *post) {
		if !got.verifies(has.Load().(string)) {
			answer.WriteHeader(http.StatusUnauthorized)
		}
	})
	former := p.changeSecret(w)
	p.ticket()
	if d := p.settled(w, "delivered"); len(d.Attempts) != 1 {
		t.Errorf("%d attempts within the overlap", len(d.Attempts))
	}
	has.Store(w.secret)
	p.ticket()
	if d := p.settled(w, "delivered"); len(d.Attempts) != 1 {
		t.Errorf("%d attempts with the new secret", len(d.Attempts))
	}

	p.reload(config{delivery: "retry 100ms 100ms\nsecret_overlap 1ms"})
	offset := p.output.len()
	late := p.changeSecret(w)
	p.logged(offset, "erased the former secret of a webhook", w.UUID)
	has.Store(late)
	p.ticket()
	p.settled(w, "dead")
	has.Store(w.secret)
	p.ticket()
	p.settled(w, "delivered")
	p.stop()
	for name, stored := range p.storedWebhook(w) {
		if text := fmt.Sprint(stored); strings.Contains(text, former) || strings.Contains(text, late) {
			t.Errorf("%s still holds a former secret", name)
		}
	}
}

// storedWebhook reads the record of a webhook past the program: one byte of version, then JSON.
func (p *proxy) storedWebhook(w *webhook) (record map[string]any) {
	p.t.Helper()
	db, err := badger.Open(badger.DefaultOptions(p.data).WithLogger(nil).WithMemTableSize(16 << 20))
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte("w")})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			if err := json.Unmarshal(value[1:], &record); err != nil {
				return err
			}
			if record["ID"] == w.UUID {
				return nil
			}
		}
		return fmt.Errorf("no record of webhook %s", w.UUID)
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return record
}
