package emitter

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestValidateNamesTheWrongSetting(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		c    Config
		want string // part of the error; empty: valid
	}{
		"all defaults":        {Config{}, ""},
		"no retries":          {Config{Retry: []time.Duration{}}, ""},
		"the default retries": {Config{Retry: DefaultRetry()}, ""},
		"usual settings": {Config{
			Timeout: time.Second, MaxConcurrent: 1, MaxPerWebhook: 1, UserAgent: "Bentihooks/1.0",
			AllowCIDR: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Header: http.Header{"X-Env": {"prod"}},
		}, ""},
		"negative timeout":       {Config{Timeout: -1}, "timeout:"},
		"endless timeout":        {Config{Timeout: time.Hour}, "at most 10m0s"},
		"negative concurrency":   {Config{MaxConcurrent: -1}, "max_concurrent: -1 is not from 1"},
		"absurd concurrency":     {Config{MaxPerWebhook: 1 << 20}, "max_per_webhook:"},
		"zero wait":              {Config{Retry: []time.Duration{time.Second, 0}}, "retry: 0s"},
		"too many waits":         {Config{Retry: make([]time.Duration, 200)}, "retry: 200 waits"},
		"no network":             {Config{AllowCIDR: []netip.Prefix{{}}}, "allow_cidr:"},
		"mapped network":         {Config{AllowCIDR: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}, "write it as IPv4"},
		"port zero":              {Config{AllowPorts: []uint16{443, 0}}, "allow_ports: 0 is not a port"},
		"port twice":             {Config{AllowPorts: []uint16{443, 8443, 443}}, "allow_ports: 443 is given twice"},
		"line break in a value":  {Config{Header: http.Header{"X-Env": {"a\r\nb"}}}, "value of X-Env"},
		"space in a name":        {Config{Header: http.Header{"X Env": {"a"}}}, "not a field name"},
		"no name":                {Config{Header: http.Header{"": {"a"}}}, "not a field name"},
		"our content type":       {Config{Header: http.Header{"content-type": {"a"}}}, "Content-Type is set"},
		"our signature":          {Config{Header: http.Header{"x-hook-signature": {"a"}}}, "X-Hook-Signature is set"},
		"our standard signature": {Config{Header: http.Header{"WEBHOOK-ID": {"a"}}}, "Webhook-Id is set"},
		"framing":                {Config{Header: http.Header{"Transfer-Encoding": {"a"}}}, "Transfer-Encoding is set"},
		"host":                   {Config{Header: http.Header{"Host": {"a"}}}, "Host is set"},
		"user agent":             {Config{UserAgent: "a\nb"}, "user agent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := row.c.Validate()
			if row.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("error is %v, want %q in it", err, row.want)
			}
		})
	}
}
