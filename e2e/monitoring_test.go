//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"
)

// TestMonitoringInTheCluster follows docs/monitoring/monitoring-setup.md: the
// objects are admitted, and what Prometheus would scrape by them is each pod
// once. What needs no cluster is tested in e2e/monitoring.
func TestMonitoringInTheCluster(t *testing.T) {
	const ns = "carla-rl-serving"
	namespace(t, ns, restricted)
	namespace(t, "observability")
	kubectl(t, "apply", "-n", ns, "-f", "../deploy/k8s/deployment.yaml")
	kubectl(t, "apply", "-f", "../deploy/k8s/service.yaml") // adds the headless one
	readyPods(t, ns, "app=model-serving", 2)

	// The kinds of the Prometheus Operator, which lie beside the cluster's programs.
	program, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "--server-side", "-f", filepath.Join(filepath.Dir(program), "..", "crds", "prometheus-operator"))
	kubectl(t, "wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com", "crd/prometheusrules.monitoring.coreos.com", "--timeout=5m")

	page, err := os.ReadFile("../docs/monitoring/monitoring-setup.md")
	if err != nil {
		t.Fatal(err)
	}
	// Every line of the page that calls kubectl by itself, from the top of the
	// checkout as a user is.
	ran := 0
	for _, m := range regexp.MustCompile(`(?m)^    (kubectl .*)$`).FindAllStringSubmatch(string(page), -1) {
		shell(t, "cd .. && "+m[1])
		ran++
	}
	if ran < 5 {
		t.Errorf("the page has %d commands", ran)
	}

	t.Run("ServiceMonitor", func(t *testing.T) {
		var monitor struct {
			Spec struct {
				Selector  struct{ MatchLabels map[string]string }
				Endpoints []struct {
					Port, Path  string
					HonorLabels bool
				}
			}
		}
		if err := get(&monitor, "servicemonitor", "-n", ns, "model-serving"); err != nil {
			t.Fatal(err)
		}
		if len(monitor.Spec.Endpoints) != 1 || !monitor.Spec.Endpoints[0].HonorLabels {
			t.Fatalf("endpoints: %+v; want one, with honorLabels", monitor.Spec.Endpoints)
		}
		var selector []string
		for k, v := range monitor.Spec.Selector.MatchLabels {
			selector = append(selector, k+"="+v)
		}
		if got := kubectl(t, "get", "services", "-n", ns, "-l", strings.Join(selector, ","), "-o", "name"); got != "service/model-serving-service" {
			t.Errorf("the ServiceMonitor selects %q", got)
		}
		port := monitor.Spec.Endpoints[0].Port
		discovered(t, operatorConfig(ns, port, monitor.Spec.Selector.MatchLabels), 2)
		// With the guide's selector each pod is found twice.
		discovered(t, operatorConfig(ns, port, map[string]string{"app": "model-serving"}), 4)
	})

	t.Run("annotations", func(t *testing.T) {
		block := regexp.MustCompile("(?ms)^```yaml\n(scrape_configs:.*?kubernetes_sd_configs.*?)^```").FindSubmatch(page)
		if block == nil {
			t.Fatal("the page has no configuration")
		}
		for _, l := range discovered(t, string(block[1]), 2) {
			if l["__metrics_path__"] != "/metrics" || !strings.HasSuffix(l["__address__"], ":8080") || l["namespace"] != ns || l["pod"] == "" {
				t.Errorf("target %v", l)
			}
			// And it answers there.
			body := expect(t, 200, "GET", "http://"+l["__address__"]+l["__metrics_path__"], "")
			if !strings.Contains(body, "\ncarla_rl_ready 1\n") {
				t.Errorf("%s is not ready, or says nothing of it", l["pod"])
			}
		}
	})
}

// operatorConfig is what the Prometheus Operator makes of a ServiceMonitor with
// a selector and one endpoint.
func operatorConfig(namespace, port string, selector map[string]string) string {
	var b strings.Builder
	b.WriteString("scrape_configs:\n- job_name: serviceMonitor\n  honor_labels: true\n  kubernetes_sd_configs:\n  - role: endpointslice\n    namespaces: {names: [" + namespace + "]}\n  relabel_configs:\n")
	for k, v := range selector {
		meta := "__meta_kubernetes_service_label_" + strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(k)
		b.WriteString("  - {source_labels: [" + meta + "], regex: \"" + v + "\", action: keep}\n")
	}
	b.WriteString("  - {source_labels: [__meta_kubernetes_endpointslice_port_name], regex: \"" + port + "\", action: keep}\n" +
		"  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}\n" +
		"  - {source_labels: [__meta_kubernetes_service_name], target_label: job}\n" +
		"  - {source_labels: [__meta_kubernetes_service_name], target_label: service}\n")
	return b.String()
}

// discovered returns the labels of the n targets that a configuration finds in
// the cluster, by Prometheus' own discovery, when it has found them.
func discovered(t *testing.T, config string, n int) []map[string]string {
	t.Helper()
	var c struct {
		ScrapeConfigs []map[string]any `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(config), &c); err != nil {
		t.Fatal(err)
	}
	// Outside of a pod, Prometheus has to be told where the cluster is.
	for _, sd := range c.ScrapeConfigs[0]["kubernetes_sd_configs"].([]any) {
		sd.(map[string]any)["kubeconfig_file"] = os.Getenv("KUBECONFIG")
	}
	text, err := yaml.Marshal(map[string]any{"scrape_configs": c.ScrapeConfigs})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var found []map[string]string
	waitFor(t, fmt.Sprintf("%d targets for two pods", n), func() error {
		// It listens for all of that time, whatever it has found.
		out, err := run("", "promtool", "check", "service-discovery", "--timeout=2s", file, c.ScrapeConfigs[0]["job_name"].(string))
		if err != nil {
			return err
		}
		var all []struct {
			Labels map[string]string `json:"labels"`
		}
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		found = nil
		for _, target := range all {
			if len(target.Labels) > 0 {
				found = append(found, target.Labels)
			}
		}
		if len(found) != n {
			return fmt.Errorf("%d targets: %v", len(found), found)
		}
		return nil
	})
	slices.SortFunc(found, func(a, b map[string]string) int { return strings.Compare(a["pod"], b["pod"]) })
	return found
}
