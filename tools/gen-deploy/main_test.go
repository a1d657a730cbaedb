package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const root = "../.."

// TestTreeIsGenerated holds the files of the tree to their sources.
func TestTreeIsGenerated(t *testing.T) {
	files, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 5 {
		t.Errorf("%d files are generated", len(files))
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what tools/gen-deploy writes: go run ./tools/gen-deploy", name)
		}
	}
}

// TestKubernetesFormsHoldTheSources reads the objects as a cluster would and
// finds the dashboard and the rules in them unchanged.
func TestKubernetesFormsHoldTheSources(t *testing.T) {
	files, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	var configMap struct {
		Kind     string
		Metadata struct{ Labels map[string]string }
		Data     map[string]string
	}
	decode(t, files[dashboardK8s], &configMap)
	if configMap.Kind != "ConfigMap" || configMap.Metadata.Labels["grafana_dashboard"] != "1" {
		t.Errorf("kind %s, labels %v", configMap.Kind, configMap.Metadata.Labels)
	}
	if configMap.Data["dashboard.json"] != string(files[dashboardFile]) {
		t.Error("the ConfigMap holds another dashboard")
	}
	var rule struct {
		Kind string
		Spec any
	}
	decode(t, files[rulesK8s], &rule)
	var source, chart any
	decode(t, read(t, rulesSource), &source)
	decode(t, files[rulesChart], &chart)
	if rule.Kind != "PrometheusRule" || !equal(t, rule.Spec, source) {
		t.Errorf("the %s holds other rules", rule.Kind)
	}
	if !equal(t, chart, source) {
		t.Error("the chart holds other rules")
	}
}

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

// TestAlertsAreExplained holds each alert to a severity, a summary, a
// description and a paragraph of the runbook.
func TestAlertsAreExplained(t *testing.T) {
	headings := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllSubmatch(read(t, "docs/monitoring/monitoring-setup.md"), -1) {
		headings[strings.ToLower(strings.ReplaceAll(string(m[1]), " ", "-"))] = true
	}
	for _, r := range alerts(t) {
		if s := r.Labels["severity"]; s != "warning" && s != "critical" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: summary or description is missing", r.Alert)
		}
		page, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		if page != runbooks || anchor != strings.ToLower(r.Alert) || !headings[anchor] {
			t.Errorf("%s: the runbook is %s#%s", r.Alert, page, anchor)
		}
	}
}

// TestAlertsAreTested holds that rules_test.yaml shows each alert firing and
// not firing.
func TestAlertsAreTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name string `yaml:"alertname"`
				Want []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	decode(t, read(t, "deploy/monitoring/rules_test.yaml"), &file)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, a := range test.Alerts {
			if len(a.Want) > 0 {
				fires[a.Name] = true
			} else {
				silent[a.Name] = true
			}
		}
	}
	for _, r := range alerts(t) {
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: is shown firing: %v, not firing: %v", r.Alert, fires[r.Alert], silent[r.Alert])
		}
		delete(fires, r.Alert)
	}
	for name := range fires {
		t.Errorf("there is no alert %s", name)
	}
}

// TestMetricsAreKnown holds that dashboard and rules ask for nothing that the
// documentation does not list.
func TestMetricsAreKnown(t *testing.T) {
	documented := string(read(t, "docs/operations.md"))
	metric := regexp.MustCompile(`\b(http|carla_rl)_[a-z_]+`)
	recorded := map[string]bool{}
	var exprs []string
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			exprs = append(exprs, r.Expr)
			recorded[r.Record] = true
		}
	}
	names := regexp.MustCompile(`\bnamespace_job[a-z_]*:[a-z0-9_:]+`)
	for _, r := range rows {
		for _, p := range r.panels {
			for _, q := range p.queries {
				exprs = append(exprs, q.expr)
				if names.MatchString(q.expr) {
					t.Errorf("%s: the dashboard works without the rules, and must not ask for %s", p.title, q.expr)
				}
			}
		}
	}
	seen := map[string]bool{}
	for _, e := range exprs {
		for _, name := range names.FindAllString(e, -1) {
			if !recorded[name] {
				t.Errorf("nothing records %s", name)
			}
		}
		for _, name := range metric.FindAllString(names.ReplaceAllString(e, ""), -1) {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
			if seen[name] = true; !strings.Contains(documented, "`"+name+"`") {
				t.Errorf("docs/operations.md does not list %s, which %s asks for", name, e)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d metrics are asked for", len(seen))
	}
}

func rules(t *testing.T) ruleFile {
	t.Helper()
	var file ruleFile
	decode(t, read(t, rulesSource), &file)
	return file
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var out []rule
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				out = append(out, r)
			}
		}
	}
	if len(out) < 10 {
		t.Fatalf("%d alerts", len(out))
	}
	return out
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t *testing.T, text []byte, v any) {
	t.Helper()
	if err := yaml.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}
