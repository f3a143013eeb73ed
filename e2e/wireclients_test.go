package e2e

import "time"

// longPatience is patience with what carries much.
const longPatience = 60 * time.Second

// exchange is one request, in a form that can be sent over each version of HTTP.
type exchange struct {
	id           string
	protocol     string // 1.0, 1.1, 2 or 3
	method, path string
	fields       [][2]string // sent in this order and, over HTTP/1, in this case
	sending      string      // how the body is sent: none, length, chunked, trailer or expect
	body         string
	gunzip       bool // an answer in gzip is compared by what it holds
}

// sendings are the ways in which a body can be sent; over HTTP/2 and 3 "chunked" is one of a length not told.
var sendings = []string{"none", "length", "chunked", "trailer", "expect"}

// siteName is what all clients call the site, so that the API sees the same of each.
const siteName = "api.test"

// wireClient makes exchanges one after the other, and tells all that can be seen of the answers.
type wireClient interface {
	exchange(x *exchange) string
	close()
}

// canceller is a client that can give up an exchange without giving up its connection.
type canceller interface {
	wireClient
	// cancel makes an exchange up to a stage, calls reached, and gives it up. It tells what of the answer was seen.
	cancel(x *exchange, at stage, reached func()) string
}

// stage is how far an exchange has come.
type stage string

const (
	inUpload     stage = "in the upload"
	beforeAnswer stage = "before the answer"
	inAnswer     stage = "in the answer"
)

// sentOfUpload is how much is sent of a body that is given up. It is within what every server takes at first.
const sentOfUpload = 48 << 10
