package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDevelopmentReceiverTakesBothHandshakesAndVerifiesDeliveries(t *testing.T) {
	t.Parallel()
	p := newProxy(t, newUpstream(t), config{})
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	secret := p.newSecret()
	cmd := p.command(context.WithoutCancel(t.Context()), "benti", "listen", "--listen", address, "--secret", secret, "--json")
	out := new(output)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	certificate := filepath.Join(p.dir, "benti-listen.pem")
	eventually(t, "a certificate", func() bool {
		_, err := os.Stat(certificate)
		return err == nil
	})
	p.config.caddyfile = strings.Replace(standardCaddyfile, "trust_pool file CA", "trust_pool file "+certificate, 1)
	p.start()
	eventually(t, "a webhook", func() bool { // the receiver may not listen yet
		return p.call("POST", "/v1/webhooks", registration("ticket", "https://"+address+"/hook", secret)).status == 201
	})
	p.must(201, "POST", "/v1/webhooks/app", fmt.Sprintf(`{"url":"https://%s/app","secret":%q,"events":["answer"]}`, address, secret))
	p.ticket()
	var got struct{ Kind, Path, Signature string }
	eventually(t, "a delivery", func() bool {
		text, _ := out.from(0)
		line := lineWith(string(text), `"kind":"delivery"`)
		return line != "" && json.Unmarshal([]byte(line), &got) == nil
	})
	if got.Signature != "ok" || got.Path != "/hook" {
		t.Errorf("got %+v", got)
	}
	text, _ := out.from(0)
	for _, path := range []string{"/hook", "/app"} {
		if lineWith(string(text), `"kind":"handshake"`, path, `"signature":"ok"`) == "" {
			t.Errorf("no handshake at %s: %s", path, text)
		}
	}
}
