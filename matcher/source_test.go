package matcher

import (
	"strings"
	"testing"
)

func TestParseSource(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Source{
		"{benti.request.ticket.id}":                   {fromRequest, "ticket.id"},
		"{benti.response.data.#(name==\"x\").id}":     {fromResponse, "data.#(name==\"x\").id"},
		"{benti.response.{a,b}|0}":                    {fromResponse, "{a,b}|0"},
		"{benti.path.ticketId}":                       {fromPath, "ticketId"},
		"{benti.jwt.sub}":                             {fromJWT, "sub"},
		"{benti.tenant}":                              {external, "{benti.tenant}"},
		"{http.auth.user.id}":                         {external, "{http.auth.user.id}"},
		"robot":                                       {external, "robot"},
		"x-{benti.path.ticketId}":                     {external, "x-{benti.path.ticketId}"},
		"{benti.path.a}-{benti.request.b}":            {external, "{benti.path.a}-{benti.request.b}"},
		`\{literal`:                                   {external, `\{literal`},
		"{env.HOME}{benti.response.id}":               {external, "{env.HOME}{benti.response.id}"},
		"{benti.jwt.https://example\\.com/user\\.id}": {fromJWT, "https://example\\.com/user\\.id"},
	} {
		got, err := ParseSource(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %+v (%s), %v", text, got, got, err)
		}
	}
	for _, text := range []string{
		"", "{", "}", "{a", "a}", "}{", "{benti.request.id", "{benti.request}", "{benti.request.}", "{benti.requset.id}",
		"{benti.}", "{benti.path.}", "{benti.path.a-b}", "{benti.jwt}", "{benti.other.x}", "{benti.tenant.x}",
	} {
		if s, err := ParseSource(text); err == nil || !strings.Contains(err.Error(), "allowed are {benti.request.<path>}") {
			t.Errorf("%s: got %+v, %v", text, s, err)
		}
	}
}

func TestSourcesTellWhatTheyNeed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		request bool
		param   string
	}{
		"{benti.request.id}":    {request: true},
		"x{benti.request.id}":   {request: true},
		"{benti.response.id}":   {},
		"{benti.path.ticketId}": {param: "ticketId"},
		"{http.request.method}": {},
	} {
		s, err := ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		name, ok := s.Param()
		if s.ReadsRequest() != want.request || name != want.param || ok != (want.param != "") {
			t.Errorf("%s: got %v, %q, %v", text, s.ReadsRequest(), name, ok)
		}
	}
}
