package matcher

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestValuesAreNumbersOnlyIfTheyAreIntegers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Value{
		"": "", "0": "0", "7": "7", "-7": "-7", "10": "10",
		"9007199254740993":                        "9007199254740993",
		"123456789012345678901234567890123456789": "123456789012345678901234567890123456789",
		"-0": `"-0"`, "007": `"007"`, "-07": `"-07"`, "1.5": `"1.5"`, "1e3": `"1e3"`, "+1": `"+1"`, "-": `"-"`, "--1": `"--1"`,
		" 1": `" 1"`, "1 ": `"1 "`, "0x1": `"0x1"`, "١": `"١"`, "null": `"null"`, "true": `"true"`,
		"a\"b\\c": `"a\"b\\c"`, "<a>&'/": `"<a>&'/"`, "a\n\r\t\x00\x1f\b": `"a\n\r\t\u0000\u001f\u0008"`,
		"\u2028\x7f": "\"\u2028\x7f\"", "ü\U0001F600": "\"ü\U0001F600\"",
		"a\xffb\xc3": "\"a\ufffdb\ufffd\"", "\xed\xa0\x80": "\"\ufffd\ufffd\ufffd\"",
		strings.Repeat("1", maxText):   Value(strings.Repeat("1", maxText)),
		strings.Repeat("1", maxText+1): "",
		strings.Repeat("a", maxText+1): "",
	} {
		if got := NewValue(text); got != want {
			t.Errorf("%.60q: got %.60s, want %.60s", text, got, want)
		}
	}
}

func TestValuesAreAlwaysValidJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "text"))
		v := NewValue(text)
		if !utf8.ValidString(string(v)) || !json.Valid([]byte(v)) {
			t.Fatalf("%q became %q", text, v)
		}
		var back string
		if v[0] == '"' && json.Unmarshal([]byte(v), &back) == nil && back != strings.ToValidUTF8(text, "\ufffd") && utf8.ValidString(text) {
			t.Fatalf("%q came back as %q", text, back)
		}
	})
}

func TestPayloadBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		event Event
		want  string
	}{
		{
			Event{ID: "200", Item: "reply", Action: "add", Timestamp: 1660834225, Actor: "4014", Parent: "100"},
			`{"id":200,"item":"reply","action":"add","timestamp":1660834225,"actor":4014,"parent":100}`,
		},
		{
			Event{ID: NewValue("a\"<b>"), Item: "user", Action: "update", Timestamp: -1},
			`{"id":"a\"<b>","item":"user","action":"update","timestamp":-1,"actor":null,"parent":null}`,
		},
		{
			Event{Item: "ping", Action: "ping", Timestamp: 0},
			`{"id":null,"item":"ping","action":"ping","timestamp":0,"actor":null,"parent":null}`,
		},
	} {
		if got := string(c.event.AppendJSON([]byte("x"))); got != "x"+c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
