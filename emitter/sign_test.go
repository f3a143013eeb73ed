package emitter

import (
	"encoding/base64"
	"testing"
)

// The vector of the Standard Webhooks reference libraries. There the secret is base64 of the key; here the key
// is the secret itself.
func TestSignMatchesTheStandardWebhooksVector(t *testing.T) {
	t.Parallel()
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`), string(key), "other")
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if len(got) != 2*len(want)+1 || got[:len(want)+1] != want+" " {
		t.Errorf("signature is %q, want %q and another", got, want)
	}
}

func BenchmarkSign(b *testing.B) {
	body := make([]byte, 500)
	b.ReportAllocs()
	for b.Loop() {
		sign("0198c0de-0000-7000-8000-000000000000", "1660834225", body, "a secret of usual length")
	}
}
