package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// table is one of Markdown.
type table struct {
	title string
	head  []string
	rows  [][]string
	notes []string // sentences below it
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// write prints the table with its columns aligned: the first to the left, the others, being figures, to the right.
func (t *table) write(w io.Writer) error {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n", t.title)
	line(&b, t.head, widths)
	b.WriteString("|")
	for i, width := range widths {
		if i == 0 {
			b.WriteString(strings.Repeat("-", width+2) + "|")
		} else {
			b.WriteString(strings.Repeat("-", width+1) + ":|")
		}
	}
	b.WriteString("\n")
	for _, row := range t.rows {
		line(&b, row, widths)
	}
	if len(t.notes) > 0 {
		b.WriteString("\n" + strings.Join(t.notes, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line leaves cells that a row lacks empty.
func line(b *strings.Builder, cells []string, widths []int) {
	b.WriteString("|")
	for i, width := range widths {
		cell := ""
		if i < len(cells) {
			cell = cells[i]
		}
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(cell))
		if i == 0 {
			b.WriteString(" " + cell + pad + " |")
		} else {
			b.WriteString(" " + pad + cell + " |")
		}
	}
	b.WriteString("\n")
}

// Figures in tables: three digits, and a unit that is easily read.

func ratioText(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "-"
	}
	return fmt.Sprintf("%.2f", x)
}

// String gives the quartiles behind the median, unless there was one round only.
func (s spread) String() string {
	if s.low == s.high || math.IsNaN(s.median) {
		return ratioText(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", ratioText(s.median), ratioText(s.low), ratioText(s.high))
}

func rateText(x float64) string {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "-"
	case x >= 10_000:
		return fmt.Sprintf("%.1f k", x/1000)
	default:
		return fmt.Sprintf("%.0f", x)
	}
}

func timeText(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d >= 100*time.Microsecond:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	default:
		return fmt.Sprintf("%.1f µs", float64(d)/1e3)
	}
}

// cpuText is in seconds per 100,000 requests.
func cpuText(each time.Duration) string { return fmt.Sprintf("%.1f", each.Seconds()*100_000) }

func sizeText(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
