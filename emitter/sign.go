package emitter

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
)

// sign returns the value of a webhook-signature header with one signature per secret, by the Standard
// Webhooks specification: "v1," and the base64 of HMAC-SHA256 over id.timestamp.body, separated by spaces.
// The key is the secret's bytes as they stand; the specification's whsec_ encoding is not used.
func sign(id, timestamp string, body []byte, secrets ...string) string {
	var out []byte
	var sum [sha256.Size]byte
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(id))
		mac.Write([]byte{'.'})
		mac.Write([]byte(timestamp))
		mac.Write([]byte{'.'})
		mac.Write(body)
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, "v1,"...)
		out = base64.StdEncoding.AppendEncode(out, mac.Sum(sum[:0]))
	}
	return string(out)
}
