package nats

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/bentihooks/bentihooks/store/storetest"
)

// While the leader of all of JetStream is being elected nobody makes consumers. Here that is for ever.
func TestTheLogIsFollowedWhileNobodyMakesConsumers(t *testing.T) {
	t.Parallel()
	url := startServer(t, t.TempDir(), func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "all", Password: "p"},
			{Username: "few", Password: "p", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.>"}},
			}},
		}
	}).ClientURL()
	prefix := newPrefix()
	var ss []*Store
	for _, user := range []string{"all", "few"} {
		o := Options{URLs: []string{url}, Prefix: prefix, Replicas: 1, Name: user, Logf: logTo(t), beat: testBeat}
		o.Connect = []nats.Option{nats.UserInfo(user, "p")}
		ss = append(ss, open(t, o))
	}
	ws := subscribed(t, ss, 10)
	for i, w := range ws {
		ok(t, ss[i%2].Enqueue(t.Context(), storetest.Delivery(w, storetest.Start)))
	}
	claimed := make([]int, 2)
	eventually(t, "both deliver", func() bool {
		for i, s := range ss {
			claimed[i] += len(claimAll(t, s, ws))
		}
		return claimed[0]+claimed[1] == 10
	})
	if claimed[1] == 0 {
		t.Error("the instance without a consumer delivers nothing")
	}
}
