package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// What attempts come to, as it is listed.
const (
	delivered      = ""
	noAnswerInTime = "timeout: no complete answer within 5s"
	closedEarly    = "connect: connection closed before the answer was complete"
	wasReset       = "connect: connection reset by peer"
	notHTTP        = "connect: no valid HTTP answer"
	tooMuch        = "connect: more was sent than an answer may have"
)

type hostileRow struct {
	serve func(net.Conn)
	want  []string // one of them is listed
}

// hostileReceivers are all kinds of them.
func hostileReceivers(t *testing.T) map[string]hostileRow {
	t.Helper()
	const ok = "HTTP/1.1 200 OK\r\n"
	certificate := func(name string, valid time.Duration) *tls.Config {
		c, err := certs.issue(name, valid, net.IPv4(127, 0, 0, 1))
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{Certificates: []tls.Certificate{c}}
	}
	otherName, err := certs.issue("example.com", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := newAuthority("")
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*tls.Config)) *tls.Config {
		c := tlsConfig("http/1.1")
		change(c)
		return c
	}
	accept := func(conn *tls.Conn) { io.WriteString(conn, ok+"Content-Length: 0\r\n\r\n") }
	hold := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	drip := func(text string) func(net.Conn) {
		return over(func(conn *tls.Conn) {
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				io.Copy(io.Discard, conn)
			}()
			ticker := time.NewTicker(20 * time.Millisecond)
			defer ticker.Stop()
			for i := 0; ; i++ {
				if _, err := conn.Write([]byte{text[i%len(text)]}); err != nil {
					return
				}
				select {
				case <-ticker.C:
				case <-gone:
					return
				}
			}
		})
	}
	var bomb bytes.Buffer
	zipper := gzip.NewWriter(&bomb)
	io.CopyN(zipper, zeros{}, 64<<20)
	zipper.Close()
	headers := "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88" // :status 200 of stream 1

	return map[string]hostileRow{
		// TLS
		"silent before TLS":         {hold, []string{noAnswerInTime}},
		"plain HTTP":                {func(c net.Conn) { io.WriteString(c, ok+"\r\n"); hold(c) }, []string{"tls: receiver does not speak TLS"}},
		"garbage for TLS":           {func(c net.Conn) { io.WriteString(c, strings.Repeat("\x16\x03\x01\xff", 100)); hold(c) }, []string{"tls: receiver does not speak TLS"}},
		"hangs up before TLS":       {func(net.Conn) {}, []string{"tls: connection closed during the handshake", "tls: handshake failed"}},
		"resets before TLS":         {reset, []string{"tls: handshake failed", wasReset}},
		"expired":                   {overTLS(certificate("localhost", -time.Hour), accept), []string{"tls: certificate has expired or is not yet valid"}},
		"for another host":          {overTLS(&tls.Config{Certificates: []tls.Certificate{otherName}}, accept), []string{"tls: certificate is not valid for this host"}},
		"of a stranger":             {overTLS(&tls.Config{Certificates: []tls.Certificate{strangers.local}}, accept), []string{"tls: certificate signed by unknown authority"}},
		"TLS 1.1":                   {overTLS(with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), accept), []string{"tls: receiver refused: protocol version not supported"}},
		"wants a certificate":       {overTLS(with(func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }), accept), []string{"tls: receiver refused: bad certificate", "tls: receiver refused: handshake failure"}},
		"wants one, TLS 1.3":        {overTLS(with(func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), accept), []string{"tls: receiver refused: certificate required", wasReset, closedEarly}},
		"no protocol in common":     {overTLS(tlsConfig("spdy/3"), accept), []string{"tls: receiver refused: no application protocol"}},
		"certificate of itself":     {overTLS(selfSigned(t), accept), []string{"tls: certificate signed by unknown authority"}},
		"hangs up after TLS":        {over(func(*tls.Conn) {}), []string{closedEarly}},
		"resets after the request":  {over(func(c *tls.Conn) { reset(c.NetConn()) }), []string{wasReset, closedEarly}},
		"plain bytes inside of TLS": {over(func(c *tls.Conn) { io.WriteString(c.NetConn(), ok+"\r\n"); hold(c) }), []string{notHTTP, closedEarly}},

		// endless
		"silent":                {over(func(c *tls.Conn) { hold(c) }), []string{noAnswerInTime}},
		"drips a head":          {drip(ok + "X: "), []string{noAnswerInTime}},
		"drips 1xx":             {drip("HTTP/1.1 100 Continue\r\n\r\n"), []string{noAnswerInTime}},
		"drips a body":          {drip("x"), []string{notHTTP, noAnswerInTime}},
		"endless head":          {floods(ok, "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"), []string{notHTTP}},
		"endless header line":   {floods(ok+"X: ", strings.Repeat("y", 1<<10)), []string{notHTTP}},
		"endless status line":   {floods("HTTP/1.1 200 ", strings.Repeat("O", 1<<10)), []string{notHTTP}},
		"flood of 1xx":          {floods("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), []string{notHTTP}},
		"flood of 100":          {floods("", "HTTP/1.1 100 Continue\r\n\r\n"), []string{notHTTP, tooMuch}},
		"endless body":          {floods(ok+"Transfer-Encoding: chunked\r\n\r\n", "1000\r\n"+strings.Repeat("x", 0x1000)+"\r\n"), []string{delivered}},
		"endless body, no size": {floods(ok+"\r\n", strings.Repeat("x", 0x1000)), []string{delivered}},
		"a GiB":                 {floods(ok+"Content-Length: 1073741824\r\n\r\n", strings.Repeat("x", 1<<16)), []string{delivered}},
		"a GiB of an error":     {floods("HTTP/1.1 500 Oops\r\nContent-Length: 1073741824\r\n\r\n", strings.Repeat("x", 1<<16)), []string{"status 500"}},
		"tiny chunks":           {floods(ok+"Transfer-Encoding: chunked\r\n\r\n", strings.Repeat("1\r\nx\r\n", 100)), []string{notHTTP, delivered}},
		"long chunk extensions": {floods(ok+"Transfer-Encoding: chunked\r\n\r\n", "1;"+strings.Repeat("x", 4000)+"\r\nx\r\n"), []string{notHTTP}},
		"endless trailer":       {floods(ok+"Transfer-Encoding: chunked\r\n\r\n0\r\n", "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"), []string{notHTTP}},

		// bombs: nothing is inflated
		"gzip bomb":    {says(fmt.Sprintf(ok+"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.String())), []string{delivered}},
		"layered bomb": {says(fmt.Sprintf(ok+"Content-Encoding: gzip, gzip, br\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.String())), []string{delivered}},
		"gzip framing": {says(fmt.Sprintf(ok+"Transfer-Encoding: gzip, chunked\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.String())), []string{notHTTP}},

		// malformed
		"another protocol":         {says("220 mail.example ESMTP\r\n"), []string{notHTTP}},
		"nothing but line ends":    {says("\r\n\r\n\r\n"), []string{notHTTP}},
		"NUL bytes":                {says(strings.Repeat("\x00", 1000)), []string{notHTTP, noAnswerInTime}},
		"HTTP/9.9":                 {says("HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"), []string{notHTTP, delivered}},
		"status of letters":        {says("HTTP/1.1 2OO OK\r\nContent-Length: 0\r\n\r\n"), []string{notHTTP}},
		"status of four digits":    {says("HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"), []string{notHTTP}},
		"negative status":          {says("HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n"), []string{notHTTP}},
		"status 000":               {says("HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"), []string{"status 0"}},
		"status 999":               {says("HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"), []string{"status 999"}},
		"101":                      {says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), []string{"status 101"}},
		"header without a colon":   {says(ok + "no colon\r\n\r\n"), []string{notHTTP}},
		"header of a space":        {says(ok + " : x\r\nContent-Length: 0\r\n\r\n"), []string{notHTTP}},
		"negative length":          {says(ok + "Content-Length: -1\r\n\r\n"), []string{notHTTP}},
		"two lengths":              {says(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), []string{notHTTP}},
		"absurd length":            {says(ok + "Content-Length: 99999999999999999999\r\n\r\n"), []string{notHTTP}},
		"length and chunks":        {says(ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), []string{delivered}},
		"chunk size of letters":    {says(ok + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), []string{notHTTP}},
		"absurd chunk size":        {says(ok + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx"), []string{notHTTP}},
		"unknown transfer coding":  {says(ok + "Transfer-Encoding: chunked, chunked\r\n\r\n"), []string{notHTTP}},
		"less than announced":      {saysAndEnds(ok + "Content-Length: 100\r\n\r\nx"), []string{closedEarly}},
		"more than announced":      {says(ok + "Content-Length: 1\r\n\r\nxyz" + strings.Repeat("HTTP/1.1 500 No\r\n\r\n", 50)), []string{delivered}},
		"body of a 204":            {says("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"), []string{delivered}},
		"redirect to a file":       {says("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"), []string{"status 302: redirects are not followed"}},
		"redirect to the metadata": {says("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"), []string{"status 307: redirects are not followed"}},
		"wants a proxy's password": {says("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"), []string{"status 407"}},

		// HTTP/2
		"h2: silent":                 {frames("", ""), []string{noAnswerInTime}},
		"h2: GOAWAY each time":       {frames("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", ""), []string{"connect: every connection was closed before the answer"}},
		"h2: GOAWAY with an error":   {frames("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02", ""), []string{notHTTP, noAnswerInTime}},
		"h2: GOAWAY after an answer": {frames("\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", ""), []string{delivered}},
		"h2: RST_STREAM":             {frames("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02", ""), []string{notHTTP}},
		"h2: RST within the answer":  {frames(headers+"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02", ""), []string{notHTTP}},
		"h2: refuses streams":        {frames("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x07", ""), []string{noAnswerInTime}},
		"h2: pings":                  {frames("", strings.Repeat("\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", 100)), []string{tooMuch, noAnswerInTime}},
		"h2: frames of no kind":      {frames("", "\x00\x10\x00\xee\x00\x00\x00\x00\x01"+strings.Repeat("x", 0x1000)), []string{tooMuch, noAnswerInTime}},
		"h2: settings":               {frames("", strings.Repeat("\x00\x00\x00\x04\x00\x00\x00\x00\x00", 100)), []string{tooMuch, noAnswerInTime}},
		"h2: beyond its window":      {frames(headers, "\x00\x10\x00\x00\x00\x00\x00\x00\x01"+strings.Repeat("x", 0x1000)), []string{delivered, notHTTP, tooMuch}},
		"h2: endless 1xx":            {frames("", "\x00\x00\x05\x01\x04\x00\x00\x00\x01\x08\x03103"), []string{notHTTP, tooMuch}},
		"h2: not HTTP/2":             {frames("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""), []string{notHTTP}},
		"h2: half a frame":           {overTLS(tlsConfig("h2"), func(c *tls.Conn) { io.WriteString(c, "\x00\x00\x00\x04\x00"); io.ReadFull(c, make([]byte, 24)) }), []string{closedEarly, notHTTP}},
	}
}

// selfSigned is a certificate that no authority knows of.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
