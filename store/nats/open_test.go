package nats

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/bentihooks/bentihooks/store/storetest"
)

// The client tries the servers in any order, and tells of the last one.
func TestARefusalIsToldThoughAnotherServerIsNotThere(t *testing.T) {
	t.Parallel()
	url := startServer(t, t.TempDir(), func(o *server.Options) { o.Username, o.Password = "all", "right" }).ClientURL()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	gone.Close()
	o := Options{
		URLs: []string{url, "nats://" + gone.Addr().String()}, Prefix: newPrefix(), Replicas: 1, Name: "n",
		Connect: []nats.Option{nats.UserInfo("all", "wrong")},
	}
	for range 10 {
		if err := TryLogin(o); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("the error of a try is %v", err)
		}
		if _, err := Open(o); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("the error is %v", err)
		}
	}
	o.Connect = []nats.Option{nats.UserInfo("all", "right")}
	ok(t, TryLogin(o))
	open(t, o)
}

// What docs/configuration.md says that the user needs is enough, and what is missing is told.
func TestPermissions(t *testing.T) {
	t.Parallel()
	prefix := newPrefix()
	url := startServer(t, t.TempDir(), func(o *server.Options) {
		publish, subscribe := []string{prefix + ".>", "$JS.API.>", "_INBOX.>"}, []string{prefix + ".>", "_INBOX.>"}
		o.Users = []*server.User{
			{Username: "enough", Password: "p", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
			}},
			{Username: "few", Password: "p", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: publish[:1]}, Subscribe: &server.SubjectPermission{Allow: subscribe},
			}},
		}
	}).ClientURL()
	as := func(user, name string) Options {
		o := Options{URLs: []string{url}, Prefix: prefix, Replicas: 1, Name: name, Logf: logTo(t), beat: testBeat}
		o.Connect = []nats.Option{nats.UserInfo(user, "p")}
		return o
	}
	ss := []*Store{open(t, as("enough", "a")), open(t, as("enough", "b"))}
	ws := subscribed(t, ss, 4)
	for _, w := range ws {
		d := storetest.Delivery(w, storetest.Start)
		ok(t, ss[0].Enqueue(t.Context(), d))
		eventually(t, "the other has it", func() bool { _, err := ss[1].Get(t.Context(), w.ID, d.ID); return err == nil })
		for _, s := range ss {
			ok(t, s.Replay(t.Context(), w.ID, d.ID, storetest.Start)) // asks the owner
		}
	}
	ok(t, ss[0].saveSnapshot(t.Context()))
	_, err := Open(as("few", "c"))
	if err == nil || !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(strings.ToLower(err.Error()), "$js.api.stream.info") {
		t.Errorf("the error is %v", err)
	}
}
