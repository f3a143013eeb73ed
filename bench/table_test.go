package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestTableIsAlignedMarkdown(t *testing.T) {
	t.Parallel()
	tb := table{title: "proxy", head: []string{"variant", "p50"}}
	tb.add("plain", timeText(250*time.Microsecond))
	tb.add("wanted µs")
	tb.note("Of %d rounds.", 3)
	var b strings.Builder
	if err := tb.write(&b); err != nil {
		t.Fatal(err)
	}
	want := `
### proxy

| variant   |     p50 |
|-----------|--------:|
| plain     | 0.25 ms |
| wanted µs |         |

Of 3 rounds.
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestFiguresHaveThreeDigitsAndAUnit(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		timeText(12 * time.Microsecond):    "12.0 µs",
		timeText(1234 * time.Microsecond):  "1.23 ms",
		timeText(45600 * time.Microsecond): "45.6 ms",
		timeText(9100 * time.Millisecond):  "9.10 s",
		timeText(75 * time.Second):         "75.0 s",
		rateText(940):                      "940",
		rateText(54321):                    "54.3 k",
		rateText(math.Inf(1)):              "-",
		ratioText(0.876):                   "0.88",
		ratioText(math.NaN()):              "-",
		cpuText(150 * time.Microsecond):    "15.0",
		sizeText(3 << 20):                  "3 MiB",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
