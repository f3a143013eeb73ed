package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newKey writes a fresh encryption key to a file and returns the placeholder for it.
func (p *proxy) newKey(name string) string {
	p.t.Helper()
	var key [32]byte
	rand.Read(key[:])
	text := p.secret(hex.EncodeToString(key[:]))
	write(p.t, p.dir, name, []byte(text+"\n"))
	return "{file." + filepath.Join(p.dir, name) + "}"
}

// encrypted has the store use keys, the first now, the others formerly.
func encrypted(keys ...string) config {
	return config{global: "metrics", delivery: patientRetry, store: "reserve 1MiB\nencryption_key " + strings.Join(keys, " ")}
}

// owingEncrypted is owing with a store that is encrypted with the key of the given name.
func owingEncrypted(t *testing.T, n int, end func(*proxy)) (p *proxy, rc *receiver, key string) {
	t.Helper()
	up, rc := newUpstream(t), newReceiver(t)
	p = newProxy(t, up, config{})
	key = p.newKey("key")
	p.config = encrypted(key)
	p.start()
	p.register("ticket", rc.url("/"))
	rc.down()
	for range n {
		p.ticket()
	}
	end(p)
	rc.up()
	return p, rc, key
}

// restart stops the proxy, if it runs, and starts it with another config.
func (p *proxy) restart(c config) {
	p.t.Helper()
	if p.cmd != nil {
		p.stop()
	}
	p.config = c
	p.start()
}

// holds reports whether a file of the store has a text in it.
func (p *proxy) holds(text string) (found bool) {
	p.t.Helper()
	err := filepath.WalkDir(p.data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, []byte(text))
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return found
}

const inPayload = `"item":"ticket"`

func TestEncryptedStoreKeepsItsPromisesAndHidesWhatItHolds(t *testing.T) {
	t.Parallel()
	const owed = 50
	for name, end := range map[string]func(*proxy){"stopped": (*proxy).stop, "killed": (*proxy).kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, rc, _ := owingEncrypted(t, owed, end)
			if p.holds(inPayload) { // secrets are looked for at the end of every test
				t.Error("payloads can be read in the store's files")
			}
			p.start()
			newArrivals(rc).await(numbers(owed))
		})
	}
}

// The site serves whatever the key; what the API did meanwhile is delivered when the right one is there.
func TestStoreWithAWrongKeyIsSetAsideUntilTheRightOneComes(t *testing.T) {
	t.Parallel()
	const owed, kept = 20, 5
	for name, c := range map[string]struct {
		wrong func(p *proxy, key string) config
		words string
	}{
		"another key": {func(p *proxy, _ string) config { return encrypted(p.newKey("other")) }, "give the former one behind the new one"},
		"no key": {func(*proxy, string) config {
			return config{global: "metrics", delivery: patientRetry, store: "reserve 1MiB"}
		}, "it is encrypted; give the encryption_key"},
		"another former key": {func(p *proxy, _ string) config { return encrypted(p.newKey("other"), p.newKey("third"), "none") }, "made with none of those given"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, rc, key := owingEncrypted(t, owed, (*proxy).stop)
			offset := p.output.len()
			p.restart(c.wrong(p, key))
			for range kept {
				p.ticket()
			}
			if now := p.status(); now.State.Name != "failed" || now.InReserve != kept || !strings.Contains(now.State.Reason, c.words) {
				t.Errorf("the store is %s, %d events are in the reserve: %s", now.State.Name, now.InReserve, now.State.Reason)
			}
			p.logged(offset, `"level":"error"`, "wrong encryption key for this directory", c.words)
			p.call(http.MethodGet, "/v1/webhooks", "").checkError(t, http.StatusServiceUnavailable, "")
			p.restart(encrypted(key))
			newArrivals(rc).await(numbers(owed + kept))
		})
	}
}

func TestEncryptionKeyIsChanged(t *testing.T) {
	t.Parallel()
	const owed = 20
	p, rc, key := owingEncrypted(t, owed, (*proxy).stop)
	next := p.newKey("next")
	offset := p.output.len()
	p.restart(encrypted(next, key))
	p.logged(offset, `"level":"warn"`, "the encryption key of "+p.data+" was changed")
	newArrivals(rc).await(numbers(owed))
	p.restart(encrypted(next))
	p.ticket()
	rc.next()
	p.restart(encrypted(key))
	if now := p.status(); now.State.Name != "failed" {
		t.Errorf("with the former key the store is %s", now.State.Name)
	}
}

// A reload does not open the store anew. It is told now that a restart would find a wrong key.
func TestReloadWithAKeyThatWouldNotOpenTheStoreIsRefused(t *testing.T) {
	t.Parallel()
	p, rc, key := owingEncrypted(t, 0, func(*proxy) {})
	good := p.config
	bad := encrypted(p.newKey("other"))
	status, body, err := p.adminCall(http.MethodPost, "/load", "text/caddyfile", bad.render(p))
	if err != nil || status != http.StatusBadRequest || !strings.Contains(string(body), "wrong encryption key for this directory") {
		t.Errorf("status %d, %v: %s", status, err, body)
	}
	p.settle()
	p.ticket()
	rc.next()
	p.reload(encrypted(p.newKey("next"), key)) // from the next start on
	p.ticket()
	rc.next()
	p.restart(good)
	if now := p.status(); now.State.Name != "open" {
		t.Errorf("the store is %s: %s", now.State.Name, now.State.Reason)
	}
}

// A store of before is encrypted as a whole when that is asked for, and refused until then.
func TestPlainStoreIsEncrypted(t *testing.T) {
	t.Parallel()
	const owed, kept = 50, 3
	p, rc := owing(t, owed, (*proxy).kill)
	if !p.holds(inPayload) {
		t.Fatal("the test is void: payloads cannot be read")
	}
	key := p.newKey("key")
	p.restart(encrypted(key))
	for range kept {
		p.ticket()
	}
	if now := p.status(); now.State.Name != "failed" || !strings.Contains(now.State.Reason, "encryption_key <key> none") {
		t.Errorf("the store is %s: %s", now.State.Name, now.State.Reason)
	}
	offset := p.output.len()
	p.restart(encrypted(key, "none"))
	p.logged(offset, `"level":"warn"`, p.data+" is encrypted now")
	newArrivals(rc).await(numbers(owed + kept))
	p.restart(encrypted(key))
	p.ticket()
	rc.next()
	p.stop()
	if p.holds(inPayload) {
		t.Error("payloads can still be read")
	}
}

// Whatever the umask, nobody else can read what is stored.
func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	up, rc := newUpstream(t), newReceiver(t)
	p := newProxy(t, up, config{})
	p.wrapper = []string{"/bin/sh", "-c", `umask 0; exec "$0" "$@"`}
	p.start()
	p.register("ticket", rc.url("/"))
	p.ticket()
	rc.next()
	check := func() {
		t.Helper()
		err := filepath.WalkDir(p.data, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; info.Mode().Perm() != want {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	check()
	p.stop() // writes tables
	check()
}

func TestWrittenOutKeyIsWarnedOf(t *testing.T) {
	t.Parallel()
	p := site(t, newUpstream(t), encrypted(fmt.Sprintf("%064x", 7)))
	p.logged(0, `"level":"warn"`, "an encryption_key is written out")
}
