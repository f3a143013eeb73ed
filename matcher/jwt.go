package matcher

import (
	"encoding/base64"
	"strings"
)

// maxToken is how long a bearer token may be, in bytes. Servers refuse headers much longer than that.
const maxToken = 16 << 10

// parseClaims reads the claims of a bearer token (RFC 6750, RFC 7519) without verifying them: the API did,
// or it would not have answered with success. Of anything else the result is empty.
func parseClaims(authorization string) document {
	scheme, token, _ := strings.Cut(authorization, " ")
	token = strings.Trim(token, " ")
	parts := strings.SplitN(token, ".", 4)
	if !strings.EqualFold(scheme, "Bearer") || len(token) > maxToken || len(parts) != 3 {
		return document{open: -1}
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return document{open: -1}
	}
	return parseJSON(claims, false)
}
