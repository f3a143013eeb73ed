package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// prom is a Prometheus that scrapes a proxy, with our rules.
type prom struct {
	t   *testing.T
	url string
}

// watch starts a Prometheus. Its alerts fire at once where they wait for minutes otherwise.
func (p *proxy) watch() *prom {
	p.t.Helper()
	rules, err := os.ReadFile("../deploy/prometheus/bentihooks.rules.yml")
	if err != nil {
		p.t.Fatal(err)
	}
	quick := strings.NewReplacer("for: 1m", "for: 0s", "for: 5m", "for: 0s", "for: 10m", "for: 0s", "[5m]", "[10s]", "[10m]", "[20s]", "> 900", "> 1")
	for name, text := range map[string]string{
		"rules.yml": quick.Replace(string(rules)),
		"prometheus.yml": fmt.Sprintf("global: {scrape_interval: 500ms, evaluation_interval: 500ms}\nrule_files: [rules.yml]\n"+
			"scrape_configs: [{job_name: caddy, static_configs: [{targets: ['127.0.0.1:%d']}]}]\n", p.port),
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	address := fmt.Sprintf("127.0.0.1:%d", freePort(p.t))
	cmd := exec.Command("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address="+address)
	cmd.Dir = p.dir
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	pr := &prom{p.t, "http://" + address}
	eventually(p.t, "Prometheus to be ready", func() bool {
		response, err := http.Get(pr.url + "/-/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return pr
}

// results is how many series an expression has.
func (pr *prom) results(expr string) int {
	pr.t.Helper()
	response, err := http.Get(pr.url + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		pr.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	var got struct {
		Status string
		Data   struct{ Result []json.RawMessage }
	}
	if err != nil || json.Unmarshal(body, &got) != nil || got.Status != "success" {
		pr.t.Fatalf("%s: %v: %s", expr, err, body)
	}
	return len(got.Data.Result)
}

func TestPrometheusUnderstandsDashboardAndAlerts(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("prometheus is not installed; .ci/run installs it as root")
	}
	if out, err := exec.Command("promtool", "check", "rules", "../deploy/prometheus/bentihooks.rules.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	up, rc := newUpstream(t), newReceiver(t)
	p := site(t, up, config{delivery: patientRetry, global: "metrics", site: "metrics /metrics"})
	p.register("ticket", rc.url("/"))
	pr := p.watch()
	tr := startPaced(p, 1, 20*time.Millisecond, `{}`)
	defer tr.end()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile("../deploy/grafana/bentihooks.json")
	if err != nil || json.Unmarshal(text, &dashboard) != nil || len(dashboard.Panels) == 0 {
		t.Fatal("the dashboard cannot be read", err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "10s")
			eventually(t, panel.Title+": data of "+expr, func() bool { return pr.results(expr) > 0 })
		}
	}
	if n := pr.results(`ALERTS{alertstate="firing"}`); n != 0 {
		t.Errorf("%d alerts fire while all is well", n)
	}
	rc.down()
	for _, alert := range []string{"BentihooksAttemptsFailing", "BentihooksBacklogOld"} {
		eventually(t, alert, func() bool { return pr.results(`ALERTS{alertstate="firing",alertname="`+alert+`"}`) > 0 })
	}
}
