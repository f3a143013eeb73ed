package caddymodule

import (
	"fmt"
	"io"
	"strings"
)

// print writes an explanation for people. Of the many calls of an archive, those of which nothing is told get one line.
func (e *explanation) print(w io.Writer, oneOfMany bool) error {
	target := strings.Replace(e.URL, "http://"+placeholderHost, "", 1)
	out := new(strings.Builder)
	fmt.Fprintf(out, "%s %s -> %d\n", e.Method, target, e.Status)
	if e.Host != "" {
		fmt.Fprintf(out, "  host     %s\n", e.Host)
	}
	if e.Row == nil {
		fmt.Fprintf(out, "  no event: %s\n", e.Reason)
	} else {
		e.printMatch(out)
	}
	if !oneOfMany || e.Row != nil {
		fmt.Fprintln(out)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (e *explanation) printMatch(w io.Writer) {
	what := fmt.Sprintf("%s of %s", e.Row.Action, e.Row.Item)
	if len(e.Row.Events) > 0 {
		what = "may make " + strings.Join(e.Row.Events, ", ")
	}
	fmt.Fprintf(w, "  row      %s %s: %s\n", e.Row.Method, e.Row.Path, what)
	fmt.Fprintf(w, "  project  %s\n", e.Project)
	e.printLooks(w)
	if e.Outcome != outcomeEvent {
		fmt.Fprintf(w, "  no event: %s\n", e.Reason)
		return
	}
	for _, item := range e.Events {
		fmt.Fprintf(w, "  event    %s\n  payload  %s\n", item.Name, item.Payload)
	}
	switch {
	case !e.asked:
		fmt.Fprintf(w, "  webhooks not asked for; see --webhooks\n")
	case len(e.Webhooks) == 0:
		fmt.Fprintf(w, "  webhooks none wants it: it would not be looked at\n")
	}
	for i := range e.Webhooks {
		fmt.Fprintf(w, "  webhook  %s  %s  %s\n", e.Webhooks[i].UUID, e.Webhooks[i].Status, e.Webhooks[i].URL)
	}
}

// printLooks tells for each thing that was looked for where it was found, and at which places it was not.
func (e *explanation) printLooks(w io.Writer) {
	width := len("project")
	for _, l := range e.Looks {
		width = max(width, len(l.For))
	}
	former := ""
	for i := 0; i < len(e.Looks); {
		first := e.Looks[i]
		var vain, found []string
		for ; i < len(e.Looks) && e.Looks[i].For == first.For && e.Looks[i].In == first.In; i++ {
			if l := e.Looks[i]; l.Found != "" {
				found = append(found, l.Source+inDocument(" of", l.In)+" = "+shorten(l.Found, 60))
			} else {
				vain = append(vain, l.Source)
			}
		}
		line := strings.Join(found, "; ")
		switch {
		case line == "":
			line = "nothing" + inDocument(" in", first.In) + " at " + strings.Join(vain, ", ")
		case len(vain) > 0:
			line += "; nothing at " + strings.Join(vain, ", ")
		}
		name := first.For
		if name == former {
			name = ""
		}
		former = first.For
		fmt.Fprintf(w, "  %-*s  %s\n", width, name, line)
	}
}

func inDocument(preposition, name string) string {
	if name == "" {
		return ""
	}
	return preposition + " the " + name
}

func shorten(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}
