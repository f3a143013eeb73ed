package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// natsLogin is what a NATS server demands, and how to meet and to miss that. Settings stand in the block of store nats;
// the placeholders {env.RIGHT} and {env.WRONG} are secret.
type natsLogin struct {
	server       string // lines of its configuration
	scheme       string // of its URL
	right, wrong string // in the environment
	settings     string
	refused      []natsRefusal
	// without is the server's configuration in which the right login is none any more.
	without string
}

type natsRefusal struct{ settings, reason string }

func natsLogins(t *testing.T) map[string]natsLogin {
	dir := t.TempDir()
	keys := newNATSKeys(t, dir)
	cert, key := writeCertificate(t, dir)
	tls := fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q", cert, key, certs.file)
	strangers, err := newAuthority(filepath.Join(dir, "strangers.pem"))
	if err != nil {
		t.Fatal(err)
	}
	strange := filepath.Join(dir, "strange")
	if err := os.Mkdir(strange, 0o700); err != nil {
		t.Fatal(err)
	}
	strangeCert, strangeKey := writePair(t, strange, strangers.local)
	password, token := rand.Text(), rand.Text()
	none := natsRefusal{"", "creds, user, token or nkey: the server demands one of them"}
	pair := func(cert, key string) string {
		return fmt.Sprintf("tls {\nca %s\ncert %s\nkey %s\n}", certs.file, cert, key)
	}
	return map[string]natsLogin{
		"user": {
			server: fmt.Sprintf("authorization { users: [ { user: benti, password: %q } ] }", password), scheme: "nats",
			right: password, wrong: rand.Text(), settings: "user benti {env.RIGHT}",
			refused: []natsRefusal{none, {"user benti {env.WRONG}", "user: the server refuses the name or the password"}},
			without: fmt.Sprintf("authorization { users: [ { user: benti, password: %q } ] }", rand.Text()),
		},
		"token": {
			server: fmt.Sprintf("authorization { token: %q }", token), scheme: "nats",
			right: token, wrong: rand.Text(), settings: "token {env.RIGHT}",
			refused: []natsRefusal{none, {"token {env.WRONG}", "token: the server refuses the token"}},
			without: fmt.Sprintf("authorization { token: %q }", rand.Text()),
		},
		"nkey": {
			server: fmt.Sprintf("authorization { users: [ { nkey: %s } ] }", keys.public), scheme: "nats",
			right: keys.seed, wrong: keys.otherSeed, settings: "nkey {env.RIGHT}",
			refused: []natsRefusal{none, {"nkey {env.WRONG}", "nkey: the server refuses the nkey"}},
			without: fmt.Sprintf("authorization { users: [ { nkey: %s } ] }", keys.otherPublic),
		},
		"creds": {
			server: keys.resolver, scheme: "nats", right: keys.seed, wrong: keys.otherSeed, settings: "creds " + keys.creds,
			refused: []natsRefusal{none, {"creds " + keys.otherCreds, "creds: the server refuses what the file holds"}},
			without: keys.resolverRevoked,
		},
		"tls": {
			server: tls + " }", scheme: "tls", settings: fmt.Sprintf("tls {\nca %s\n}", certs.file),
			refused: []natsRefusal{
				{"", "tls: ca: none of these authorities has signed the server's certificate"},
				{fmt.Sprintf("tls {\nca %s\n}", strangers.file), "tls: ca: none of these authorities has signed the server's certificate"},
			},
		},
		"mutual tls": {
			server: tls + ", verify: true }", scheme: "tls", settings: pair(cert, key),
			refused: []natsRefusal{
				{fmt.Sprintf("tls {\nca %s\n}", certs.file), "tls: cert and key: the server"},
				{pair(strangeCert, strangeKey), "tls: cert and key: the server"},
			},
		},
	}
}

// natsKeys are of a user that a server knows, and of another one that it does not.
type natsKeys struct {
	public, seed, creds                string
	otherPublic, otherSeed, otherCreds string
	resolver, resolverRevoked          string // configurations with the user's account
}

func newNATSKeys(t *testing.T, dir string) *natsKeys {
	t.Helper()
	pair := func(prefix nkeys.PrefixByte) (nkeys.KeyPair, string, string) {
		keys, err := nkeys.CreatePair(prefix)
		if err != nil {
			t.Fatal(err)
		}
		public, err := keys.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := keys.Seed()
		if err != nil {
			t.Fatal(err)
		}
		return keys, public, string(seed)
	}
	sign := func(claims jwt.Claims, by nkeys.KeyPair) string {
		token, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	k := new(natsKeys)
	operator, operatorID, _ := pair(nkeys.PrefixByteOperator)
	account, accountID, _ := pair(nkeys.PrefixByteAccount)
	stranger, _, _ := pair(nkeys.PrefixByteAccount)
	credentials := func(name, public, seed string, by nkeys.KeyPair) string {
		content, err := jwt.FormatUserConfig(sign(jwt.NewUserClaims(public), by), []byte(seed))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, content)
		return filepath.Join(dir, name)
	}
	_, k.public, k.seed = pair(nkeys.PrefixByteUser)
	_, k.otherPublic, k.otherSeed = pair(nkeys.PrefixByteUser)
	k.creds = credentials("user.creds", k.public, k.seed, account)
	k.otherCreds = credentials("other.creds", k.otherPublic, k.otherSeed, stranger)
	claims := jwt.NewAccountClaims(accountID)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
	_, systemID, _ := pair(nkeys.PrefixByteAccount)
	system, trusted := sign(jwt.NewAccountClaims(systemID), operator), sign(jwt.NewOperatorClaims(operatorID), operator)
	resolver := func() string {
		return fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: { %s: %s, %s: %s }",
			trusted, systemID, systemID, system, accountID, sign(claims, operator))
	}
	k.resolver = resolver()
	claims.RevokeAt(k.public, time.Now().Add(time.Minute))
	k.resolverRevoked = resolver()
	return k
}

// Whatever a server demands: a wrong login is told with the setting's name, at the start, in the state and at a reload, which is
// refused; the site goes on; and the right one works without a restart. That no secret comes out is looked at when a test ends.
func TestNATSLogins(t *testing.T) {
	t.Parallel()
	for name, login := range natsLogins(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newConfigured(t, login.server)
			p, rc := login.proxy(t, c, login.refused[0].settings), newReceiver(t)
			p.start()
			p.must(http.StatusCreated, http.MethodPost, "/v1/tickets", `{}`)
			if got := p.turns("failed").State.Reason; !strings.Contains(got, login.refused[0].reason) {
				t.Errorf("started with a wrong login, the reason is %q, want %q in it", got, login.refused[0].reason)
			}
			for _, wrong := range login.refused[1:] {
				p.reload(login.config(c, wrong.settings))
				eventually(t, "the reason to be "+wrong.reason, func() bool { return strings.Contains(p.status().State.Reason, wrong.reason) })
			}
			p.reload(login.config(c, login.settings))
			p.turns("open")
			p.emptied()
			w := p.register("ticket", rc.url("/"))
			p.ticket()
			rc.next()
			p.settled(w, "delivered")
			for _, wrong := range login.refused {
				text := login.config(c, wrong.settings).render(p)
				if status, body, err := p.adminCall(http.MethodPost, "/load", "text/caddyfile", text); err != nil || status == http.StatusOK || !strings.Contains(string(body), wrong.reason) {
					t.Errorf("reloading with a wrong login: status %d, %v, %s; want %q in it", status, err, body, wrong.reason)
				}
			}
			p.turns("open")
			p.ticket()
			rc.next()
		})
	}
}

// A login that is taken away while it is in use is told with the setting's name. Events go to the reserve, and are delivered
// when the login is given back, or another one is configured.
func TestNATSLoginRevokedWhileInUse(t *testing.T) {
	t.Parallel()
	for name, login := range natsLogins(t) {
		if login.without == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newConfigured(t, login.server)
			p, rc := login.proxy(t, c, login.settings), newReceiver(t)
			p.config.handler = "on_store_failure pass"
			p.start()
			p.turns("open")
			w := p.register("ticket", rc.url("/"))
			c.reconfigure(login.without)
			p.turns("failed")
			setting, _, _ := strings.Cut(login.refused[1].reason, ":")
			eventually(t, "a reason that names the setting", func() bool { return strings.Contains(p.status().State.Reason, setting+": ") })
			p.ticket()
			if got := p.status().InReserve; got != 1 {
				t.Errorf("%d events are in the reserve, want 1", got)
			}
			passing, rejecting := p.config, p.config
			rejecting.handler = "on_store_failure reject"
			p.reload(rejecting)
			p.must(http.StatusServiceUnavailable, http.MethodPost, "/v1/tickets", `{}`)
			c.reconfigure(login.server)
			p.reload(passing) // which has opening tried at once
			p.turns("open")
			rc.next()
			p.settled(w, "delivered")
			p.emptied()
			p.ticket()
			rc.next()
		})
	}
}

func (l *natsLogin) proxy(t *testing.T, c *cluster, settings string) *proxy {
	t.Helper()
	p := newProxy(t, newUpstream(t), l.config(c, settings))
	p.env = []string{"RIGHT=" + l.right, "WRONG=" + l.wrong}
	for _, secret := range []string{l.right, l.wrong} {
		if secret != "" {
			p.secret(secret)
		}
	}
	return p
}

// config has settings log in. They are placed before the other marks, whose names may be parts of theirs.
func (l *natsLogin) config(c *cluster, settings string) config {
	store := fmt.Sprintf("store nats {\nurl %s://127.0.0.1:%d\nreplicas 1\ndir DATA\n%s\n}", l.scheme, c.servers[0].port, settings)
	return config{caddyfile: strings.Replace(standardCaddyfile, "store badger DATA STORE", store, 1)}
}

// A file of credentials that is changed in place needs no reload.
func TestCredentialsFileIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := newNATSKeys(t, dir)
	write(t, dir, "used.creds", read(t, keys.otherCreds))
	login := natsLogin{scheme: "nats", right: keys.seed, wrong: keys.otherSeed}
	p := login.proxy(t, newConfigured(t, keys.resolver), "creds "+filepath.Join(dir, "used.creds"))
	p.start()
	p.turns("failed")
	write(t, dir, "used.creds", read(t, keys.creds))
	p.turns("open")
}
