//go:build e2e

package monitoring_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	monitoringDir = "../../deploy/monitoring"
	monitoredJob  = "model-serving-service"
	// An observation that the demo answers with 1 at the wheel, and one that
	// it does not.
	endOfTheWheel = `{"observations":[{"speed":33.825657,"steering":-0.05567219,"sensors":[0.13566665,0.9300548,0.52702636,0.24999672,0.14812483]}],"deterministic":true}`
	straightOn    = `{"observations":[{"speed":37.083744,"steering":-0.11758491,"sensors":[0.14745958,0.27403006,0.45980367,0.25922778,0.13929327]},{"speed":22.1,"steering":-0.1,"sensors":[0.1,0.2,0.6,0.2,0.1]}],"deterministic":true}`
)

// TestMonitoringRules runs the unit tests of the rules, which show when each
// alert fires and when it does not.
func TestMonitoringRules(t *testing.T) {
	promtool := needPromtool(t)
	f := func(args ...string) {
		t.Helper()
		cmd := exec.Command(promtool, args...)
		cmd.Dir = monitoringDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	f("check", "rules", "rules.yaml")
	f("check", "rules", "../../charts/carla-rl-serving/files/rules.yaml")
	f("test", "rules", "rules_test.yaml")
}

// TestMonitoringRulesMutated holds the unit tests of the rules to their worth:
// a rule that is changed in what matters does not pass them.
func TestMonitoringRulesMutated(t *testing.T) {
	promtool := needPromtool(t)
	rules, tests := readFile(t, monitoringDir+"/rules.yaml"), readFile(t, monitoringDir+"/rules_test.yaml")
	f := func(old, replacement string) {
		t.Run(old+" to "+replacement, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(rules, old) {
				t.Fatalf("the rules do not have %q", old)
			}
			dir := t.TempDir()
			writeFile(t, dir+"/rules.yaml", strings.ReplaceAll(rules, old, replacement))
			writeFile(t, dir+"/rules_test.yaml", tests)
			if out, err := exec.Command(promtool, "test", "rules", dir+"/rules_test.yaml").CombinedOutput(); err == nil {
				t.Errorf("the tests pass: %s", out)
			}
		})
	}
	// Thresholds that are always passed. One that never is fails already where
	// the tests expect the alert.
	for _, threshold := range []string{
		"p95_rate5m > 0.01", "errors:ratio_rate5m > 0.05", "shed:ratio_rate5m > 0.01", "capacity > 0.5", "saturation:ratio_rate10m > 0.95", "rate10m > 0.16",
		"interventions:ratio_rate10m > 0.2", "[5m])\n      ) > 0.05", "http_requests:rate5m > 0.01",
		"limit_bytes > 0.9", "[30m]) > 2", "[15m]) > 0", "carla_rl_ready) == 0", "carla_rl_ready == 0", "carla_rl_model_loaded == 0", "up == 0",
	} {
		i := strings.LastIndexAny(threshold, ">=")
		f(threshold, strings.TrimRight(threshold[:i], "=> ")+" > -1")
	}
	for _, d := range []string{"1m", "2m", "5m", "10m", "30m"} {
		f("    for: "+d+"\n", "    for: 0s\n")
	}
	f("        unless on (namespace, job, model, version, action, bound) carla_rl_action_bound == 0\n", "")
	f("and on (namespace, job, instance) carla_rl_build_info", "")
	f("and on (namespace, job, instance) last_over_time(carla_rl_build_info[1h])", "")
	f(`{endpoint!~"/(healthz|livez|readyz|startupz|metrics)"}`, "")
	f(`{endpoint=~".*/(predict|infer)"}`, "")
	f(`queue_full|deadline|`, "")
	f(`status=~"5.."`, `status=~"[45].."`)
	f("model, version, digest)", "model, version)")
	f(`{kind=~"bound|rate|jerk"}`, "")
	f(`{kind=~"not_finite|out_of_distribution"}`, "")
	f(`{reason=~"passed|slow"}`, "")
	f("(carla_rl_model_current == 1)", "(carla_rl_model_current)")
}

// monitored is a server that answers with one version and refuses another, and
// a Prometheus that scrapes it and has the rules with their waiting times
// shortened.
func monitored(t *testing.T) (p *prometheusServer, server *exec.Cmd, address string) {
	t.Helper()
	prometheus, promtool := needPrometheus(t), needPromtool(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "carla-rl")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "../../cmd/carla-rl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	for _, version := range []string{"v0.1.0", "v0.0.1"} { // The card says v0.1.0, so that the second is refused.
		if err := os.CopyFS(filepath.Join(dir, "artifacts", version), os.DirFS("../../internal/demo/artifact")); err != nil {
			t.Fatal(err)
		}
	}
	// The wheel at its end comes with more throttle than that.
	card := filepath.Join(dir, "artifacts", "v0.1.0", "model_card.yaml")
	writeFile(t, card, readFile(t, card)+"\nenvelope: {limits: {throttle: {high: 0.5}}}\n")
	port := unusedPort(t)
	serve := exec.Command(program, "serve", filepath.Join(dir, "artifacts"), "--port", port)
	// On a busy machine a request may wait, which must not look like an error.
	serve.Env = append(os.Environ(), "CARLA_RL_REQUEST_TIMEOUT=30s",
		"CARLA_RL_DRIFT_SAMPLE_EVERY=1") // so that seconds have enough observations to tell of drift
	server = startProcess(t, serve)
	address = "http://127.0.0.1:" + port
	eventually(t, func() error {
		status, body, err := fetch(http.MethodGet, address+"/readyz", "", nil)
		if err == nil && status != http.StatusOK {
			err = errors.New(body)
		}
		return err
	})

	rules := regexp.MustCompile(`(?m)^    for: .*$`).ReplaceAllString(readFile(t, monitoringDir+"/rules.yaml"), "    for: 1s")
	writeFile(t, dir+"/rules.yaml", rules)
	writeFile(t, dir+"/prometheus.yaml", fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
- job_name: %s
  static_configs:
  - targets: ["127.0.0.1:%s"]
    labels: {namespace: carla-rl-serving}
`, monitoredJob, port))
	if out, err := exec.Command(promtool, "check", "config", dir+"/prometheus.yaml").CombinedOutput(); err != nil {
		t.Fatalf("promtool check config: %v\n%s", err, out)
	}
	return startPrometheus(t, prometheus, dir+"/prometheus.yaml"), server, address
}

// traffic sends requests of every kind: answered ones, ones at a bound, wrong
// ones, ones that are turned away and ones for a version that cannot answer.
func traffic(t *testing.T, address string, stop <-chan struct{}) {
	send := func(want int, path, body string, header http.Header) {
		method := http.MethodPost
		if body == "" {
			method = http.MethodGet
		}
		if status, answer, err := fetch(method, address+path, body, header); err != nil || status != want {
			t.Errorf("%s %s: %d, %v: %s; want %d", method, path, status, err, answer, want)
		}
	}
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		for range 3 {
			send(200, "/predict", endOfTheWheel, nil)
		}
		send(200, "/v1/models/carla-ppo/predict", endOfTheWheel, nil)
		send(503, "/v1/models/carla-ppo/versions/v0.0.1/predict", straightOn, nil)
		send(422, "/predict", "{}", nil)
		send(403, "/predict", straightOn, http.Header{"Origin": {"https://elsewhere.example"}})
		send(404, "/wp-admin", "", nil)
		send(200, "/metadata", "", nil)
	}
}

// TestMonitoring has a real Prometheus scrape a real server under traffic, and
// asks it everything that the dashboard and the rules ask.
func TestMonitoring(t *testing.T) {
	p, server, address := monitored(t)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); traffic(t, address, stop) }()
	defer func() { <-done }()
	endTraffic := func() {
		select {
		case <-stop:
		default:
			close(stop)
		}
	}
	defer endTraffic()

	// Four alerts are right: a version was refused, every ninth request is
	// answered with 503, the wheel stays at its end, and the throttle is held back.
	right := []string{"ModelLoadFailed", "HighErrorRate", "ActionSaturation", "EnvelopeIntervenes"}
	eventually(t, func() error {
		firing := p.firing()
		for _, name := range right {
			if !firing[name] {
				return fmt.Errorf("%s does not fire; firing: %v", name, firing)
			}
		}
		return nil
	})
	time.Sleep(10 * time.Second) // so that the windows of rates are full

	t.Run("dashboard", func(t *testing.T) { askDashboard(t, p) })
	t.Run("variables", func(t *testing.T) { askVariables(t, p) })
	t.Run("rules", func(t *testing.T) { askRules(t, p) })
	t.Run("page", func(t *testing.T) { askPage(t, p) })
	t.Run("alerts", func(t *testing.T) {
		for name := range p.firing() {
			// A busy machine may be slow, and the same observations again and again
			// are not those of the training: then it is right to say so.
			if !slices.Contains(right, name) && name != "HighLatency" && name != "ObservationDrift" {
				t.Errorf("%s fires", name)
			}
		}
		saturated, err := p.query(`ALERTS{alertname="ActionSaturation"}`)
		if err != nil || len(saturated) != 1 || saturated[0].Metric["action"] != "steer" || saturated[0].Metric["bound"] != "high" {
			t.Errorf("saturated: %v, %v; want steer at its high bound, and not the brake, which rests", saturated, err)
		}
	})
	t.Run("exposition", func(t *testing.T) { lintMetrics(t, address) })

	endTraffic()
	<-done
	stopProcess(server)
	eventually(t, func() error {
		if firing := p.firing(); !firing["ModelServingDown"] || !firing["ModelServingAbsent"] {
			return fmt.Errorf("the server is gone; firing: %v", firing)
		}
		return nil
	})
}

// mayBeEmpty are the queries of the dashboard that rightly find nothing here,
// by panel and legend, each with its reason.
var mayBeEmpty = map[string]string{
	"Memory: limit": "the control group of a developer's machine may have no limit",
}

// askDashboard executes every query of the dashboard with every choice at All.
func askDashboard(t *testing.T, p *prometheusServer) {
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, monitoringDir+"/dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, panel := range board.Panels {
		for _, q := range panel.Targets {
			asked++
			series, err := p.numbers(asGrafana(q.Expr))
			if err != nil {
				t.Errorf("%s: %v", panel.Title, err)
				continue
			}
			if _, ok := mayBeEmpty[panel.Title+": "+q.LegendFormat]; len(series) == 0 && !ok {
				t.Errorf("%s: no data for %s", panel.Title, asGrafana(q.Expr))
			}
			for _, s := range series {
				for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(q.LegendFormat, -1) {
					if s.Metric[m[1]] == "" {
						t.Errorf("%s: the legend %s asks for a label that %v does not have", panel.Title, q.LegendFormat, s.Metric)
					}
				}
			}
		}
	}
	if asked < 35 {
		t.Errorf("the dashboard has %d queries", asked)
	}
}

// asGrafana puts the values of the variables into a query, as Grafana does.
func asGrafana(expr string) string {
	return strings.NewReplacer("$__rate_interval", "10s", "$namespace", ".*", "$job", monitoredJob, "$model", ".*").Replace(expr)
}

// askVariables finds the choices at the top of the dashboard.
func askVariables(t *testing.T, p *prometheusServer) {
	var board struct {
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, monitoringDir+"/dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"namespace": "carla-rl-serving", "job": monitoredJob, "model": "carla-ppo"}
	for _, v := range board.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if m == nil {
			t.Errorf("%s: %s", v.Name, v.Definition)
			continue
		}
		var values []string
		if err := p.get("/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {asGrafana(m[1])}}, &values); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		if !slices.Equal(values, []string{want[v.Name]}) {
			t.Errorf("%s: the choices are %v, want %s", v.Name, values, want[v.Name])
		}
	}
}

// askRules holds that each rule is evaluated without an error, that each
// record has data, and that each alert's expression can be asked.
func askRules(t *testing.T, p *prometheusServer) {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := p.get("/api/v1/rules", nil, &data); err != nil {
		t.Fatal(err)
	}
	healthy := map[string]bool{}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if healthy[r.Name] = r.Health == "ok"; !healthy[r.Name] {
				t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Record, Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal([]byte(readFile(t, monitoringDir+"/rules.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if !healthy[r.Record+r.Alert] {
				t.Errorf("Prometheus does not evaluate %s", r.Record+r.Alert)
			}
			if r.Record == "" {
				if _, err := p.query(r.Expr); err != nil {
					t.Errorf("%s: %v", r.Alert, err)
				}
				continue
			}
			if series, err := p.numbers(r.Record); err != nil || len(series) == 0 {
				t.Errorf("%s: no data, %v", r.Record, err)
			}
		}
	}
}

// setupPage is the page about all this.
const setupPage = "../../docs/monitoring/monitoring-setup.md"

// blocks returns the fenced blocks of the page in a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(readFile(t, setupPage), -1) {
		out = append(out, m[1])
	}
	return out
}

// askPage executes every query of the page, with a shorter window.
func askPage(t *testing.T, p *prometheusServer) {
	queries := blocks(t, "promql")
	if len(queries) < 5 {
		t.Errorf("the page has %d queries", len(queries))
	}
	for _, q := range queries {
		if series, err := p.numbers(strings.ReplaceAll(q, "[5m]", "[10s]")); err != nil || len(series) == 0 {
			t.Errorf("%s: no data, %v", q, err)
		}
	}
}

// TestMonitoringPageConfigurations has promtool read the page's configurations
// of Prometheus, and that of the compose stack.
func TestMonitoringPageConfigurations(t *testing.T) {
	promtool := needPromtool(t)
	configs := blocks(t, "yaml")
	if len(configs) != 2 {
		t.Errorf("the page has %d configurations", len(configs))
	}
	for _, c := range append(configs, readFile(t, "../../deploy/compose/prometheus.yaml")) {
		dir := t.TempDir()
		writeFile(t, dir+"/rules.yaml", readFile(t, monitoringDir+"/rules.yaml"))
		writeFile(t, dir+"/prometheus.yml", c)
		cmd := exec.Command(promtool, "check", "config", "prometheus.yml")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, c)
		}
	}
}

// lintMetrics holds /metrics to promtool's rules, and to the documentation,
// which lists every metric of ours.
func lintMetrics(t *testing.T, address string) {
	promtool := needPromtool(t)
	_, text, err := fetch(http.MethodGet, address+"/metrics", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	pages := readFile(t, "../../docs/operations.md") + readFile(t, setupPage)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE ((?:http|carla_rl)_\w+) `).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(pages, "`"+m[1]+"`") {
			t.Errorf("%s is not documented", m[1])
		}
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
