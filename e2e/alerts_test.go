package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// alertRow is a row of the table of alerts: name, severity, expression and what it waits for.
var alertRow = regexp.MustCompile("(?m)^\\| `(Bentihooks[A-Za-z]*)` \\| ([a-z]+) \\| `([^`]+)`(?: for ([0-9a-z]+))? \\|")

func TestAlertsOfTheDocsAreThoseOfTheRules(t *testing.T) {
	t.Parallel()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For string
				Labels           struct{ Severity string }
				Annotations      struct{ Summary, Runbook string }
			}
		}
	}
	if err := yaml.Unmarshal(read(t, "../deploy/prometheus/bentihooks.rules.yml"), &file); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			want = append(want, fmt.Sprintf("%s, %s: %s for %s", rule.Alert, rule.Labels.Severity, rule.Expr, rule.For))
			if rule.Annotations.Summary == "" || rule.Annotations.Runbook == "" {
				t.Errorf("%s says neither what it is nor what to do: %+v", rule.Alert, rule.Annotations)
			}
		}
	}
	for _, row := range alertRow.FindAllStringSubmatch(string(read(t, "../docs/operations.md")), -1) {
		got = append(got, fmt.Sprintf("%s, %s: %s for %s", row[1], row[2], row[3], row[4]))
	}
	if len(want) == 0 || !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("the table has\n%s\nthe rules are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// family is a metric: its kind and the names of its labels, sorted.
type family struct{ kind, labels string }

var (
	metricRow  = regexp.MustCompile("(?m)^\\| `([a-z_]+)(?:\\{([a-z,]+)\\})?` \\| (counter|gauge|histogram) \\|")
	metricName = regexp.MustCompile(`benti_webhooks_[a-z_]*[a-z]`)
	metricType = regexp.MustCompile(`(?m)^# TYPE (benti_webhooks_[a-z_]+) ([a-z]+)$`)
	seriesLine = regexp.MustCompile(`(?m)^(benti_webhooks_[a-z_]+)(?:\{(.*)\})? \S+$`)
	labelName  = regexp.MustCompile(`([a-z]+)="`)
)

// What docs/metrics.md, the dashboard and the alerts name is what the server has, of that kind and with those labels, and the
// page leaves none out.
func TestMetricsOfTheDocsAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	families, series := everyMetric(t)
	documented := make(map[string]family)
	for _, row := range metricRow.FindAllStringSubmatch(string(read(t, "../docs/metrics.md")), -1) {
		documented["benti_webhooks_"+row[1]] = family{row[3], sortedWords(row[2])}
	}
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if documented[name] != families[name] {
			t.Errorf("%s is %+v, docs/metrics.md has %+v", name, families[name], documented[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if _, ok := families[name]; !ok {
			t.Errorf("docs/metrics.md has %s, the server not", name)
		}
	}
	for _, file := range []string{
		"../deploy/grafana/bentihooks.json", "../deploy/prometheus/bentihooks.rules.yml", "../docs/operations.md", "../docs/reliability.md",
		"../docs/configuration.md", "../docs/admin.md", "../docs/cli.md", "../docs/payloads.md", "../docs/scaling.md", "../README.md",
	} {
		for _, name := range metricName.FindAllString(string(read(t, file)), -1) {
			if _, ok := families[name]; !ok && !series[name] {
				t.Errorf("%s names %s, which the server does not have", file, name)
			}
		}
	}
}

// everyMetric has a server observe one of everything, and returns its metrics by family, and the names of their series.
func everyMetric(t *testing.T) (families map[string]family, series map[string]bool) {
	t.Helper()
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{global: "metrics", handler: "source instance"})
	p.registerInstance(rc.url("/"), "create-ticket", "close-ticket")
	p.ticket()
	rc.next()
	up.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet { // the ticket as it was before
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, `{}`) // without an id
	})
	p.must(http.StatusOK, http.MethodPost, "/v1/tickets", `{}`)
	p.must(http.StatusOK, http.MethodPut, "/v1/tickets/9", `{"status":3}`)
	rc.next()
	eventually(t, "one of every metric", func() bool {
		_, body, err := p.adminCall(http.MethodGet, "/metrics", "", "")
		if err != nil {
			t.Fatal(err)
		}
		families, series = readMetrics(string(body))
		return families["benti_webhooks_attempts_total"].labels != "" && families["benti_webhooks_underivable_total"].labels != ""
	})
	return families, series
}

func readMetrics(text string) (families map[string]family, series map[string]bool) {
	families, series = make(map[string]family), make(map[string]bool)
	for _, line := range metricType.FindAllStringSubmatch(text, -1) {
		families[line[1]] = family{kind: line[2]}
	}
	for _, line := range seriesLine.FindAllStringSubmatch(text, -1) {
		series[line[1]] = true
		var labels []string
		for _, label := range labelName.FindAllStringSubmatch(line[2], -1) {
			labels = append(labels, label[1])
		}
		if f, ok := families[line[1]]; ok {
			f.labels = sortedWords(strings.Join(labels, ","))
			families[line[1]] = f
		}
	}
	return families, series
}

func sortedWords(list string) string {
	words := strings.Split(list, ",")
	slices.Sort(words)
	return strings.Join(words, ",")
}
