// Gen-deploy writes the files of deploy/ and charts/ that are made from others:
// the Grafana dashboard from its description here, and the forms of dashboard
// and rules that Kubernetes and the chart want.
//
//	go run ./tools/gen-deploy
//
// A test of this package fails where a file in the tree differs from what would
// be written. deploy/monitoring/rules.yaml is kept by hand.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen-deploy:", err)
		os.Exit(1)
	}
}

// The one source that is read, and the files that are written.
const (
	rulesSource    = "deploy/monitoring/rules.yaml"
	dashboardFile  = "deploy/monitoring/dashboard.json"
	dashboardK8s   = "deploy/k8s/grafana-dashboard.yaml"
	rulesK8s       = "deploy/k8s/alerting-rules.yaml"
	dashboardChart = "charts/carla-rl-serving/files/dashboard.json"
	rulesChart     = "charts/carla-rl-serving/files/rules.yaml"
)

// write writes every generated file below root.
func write(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	for name, content := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the content of each generated file by its path below root.
func generate(root string) (map[string][]byte, error) {
	rules, err := os.ReadFile(filepath.Join(root, rulesSource))
	if err != nil {
		return nil, err
	}
	dashboard, err := dashboardJSON()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		dashboardFile: dashboard,
		dashboardK8s: join(head("the ConfigMap that Grafana's sidecar takes its dashboard from", dashboardFile),
			configMapHead, indent(dashboard, 4)),
		rulesK8s:       join(head("the rules and alerts, for the Prometheus Operator", rulesSource), prometheusRuleHead, indent(groups(rules), 2)),
		dashboardChart: dashboard,
		rulesChart:     join("# Made from "+rulesSource+" by tools/gen-deploy; edit that.\n", string(groups(rules))),
	}, nil
}

func head(what, source string) string {
	return "# " + upper(what) + ".\n# Made from " + source + " by tools/gen-deploy; edit that.\n"
}

func upper(s string) string { return string(s[0]-'a'+'A') + s[1:] }

const labels = `    app: model-serving
    app.kubernetes.io/name: carla-rl-serving
    app.kubernetes.io/component: monitoring
    app.kubernetes.io/part-of: carla-rl
`

const configMapHead = `apiVersion: v1
kind: ConfigMap
metadata:
  name: model-serving-dashboard
  namespace: carla-rl-serving
  labels:
` + labels + `    grafana_dashboard: "1"
data:
  dashboard.json: |
`

const prometheusRuleHead = `apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: model-serving-alerts
  namespace: carla-rl-serving
  labels:
` + labels + `spec:
`

// groups returns a rules file from its groups on, without the comment about
// the file itself.
func groups(rules []byte) []byte {
	i := bytes.Index(rules, []byte("groups:\n"))
	return rules[max(0, i):]
}

// indent moves each line that is not empty to the right.
func indent(text []byte, by int) string {
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		if len(bytes.TrimSpace(line)) > 0 {
			out.Write(bytes.Repeat([]byte(" "), by))
		}
		out.Write(line)
	}
	return out.String()
}

func join(parts ...string) []byte {
	var out bytes.Buffer
	for _, p := range parts {
		out.WriteString(p)
	}
	return out.Bytes()
}
