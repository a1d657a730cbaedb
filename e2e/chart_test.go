//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestChartValues renders the chart with every values file that it has, and has
// the API server validate the objects and the server the configuration in them.
func TestChartValues(t *testing.T) {
	customResources(t)
	ns := namespace(t, "chart-values", restricted)
	version := serverVersion(t)
	files, err := filepath.Glob(chartDir + "/ci/*-values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("the chart has no values under ci", err)
	}
	server := filepath.Join(t.TempDir(), "carla-rl")
	if _, err := run("", "go", "build", "-o", server, "../cmd/carla-rl"); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), "-values.yaml"), func(t *testing.T) {
			rendered := map[string]string{}
			for _, program := range helms {
				rendered[program] = helm(t, program, "template", release, chartDir, "-n", ns, "--kube-version", version, "-f", file)
			}
			// The two differ in empty lines and in the order of objects.
			if a, b := objects(t, rendered[helms[0]]), objects(t, rendered[helms[1]]); !slices.Equal(a, b) {
				t.Errorf("%s and %s render different objects:\n%v\n%v", helms[0], helms[1], a, b)
			}
			for _, program := range helms {
				// kubectl warns on its standard error.
				out, err := run(rendered[program], "bash", "-c", "kubectl apply -n "+ns+" --dry-run=server --validate=strict -f - 2>&1")
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(out, "(server dry run)") {
					t.Errorf("nothing was validated: %s", out)
				}
				for _, w := range warnings(out) {
					t.Error(w)
				}
			}
			if text, ok := configuration(t, rendered["helm"]); ok {
				name := filepath.Join(t.TempDir(), "config.yaml")
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := run("", server, "check", "config", name); err != nil {
					t.Errorf("the server refuses what the chart makes: %v\n%s", err, out)
				}
			}
		})
	}
}

// documents returns the objects of a stream of YAML.
func documents(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o map[string]any
		if err := d.Decode(&o); err != nil {
			if err.Error() == "EOF" {
				return all
			}
			t.Fatal(err)
		}
		if o != nil {
			all = append(all, o)
		}
	}
}

// objects returns each object of a stream as text, sorted.
func objects(t *testing.T, text string) []string {
	t.Helper()
	var all []string
	for _, o := range documents(t, text) {
		all = append(all, fmt.Sprint(o)) // maps are printed in the order of their keys
	}
	slices.Sort(all)
	return all
}

// configuration returns the server's configuration file in rendered objects.
func configuration(t *testing.T, text string) (string, bool) {
	t.Helper()
	for _, o := range documents(t, text) {
		if data, ok := o["data"].(map[string]any); ok && o["kind"] == "ConfigMap" {
			if config, ok := data["config.yaml"].(string); ok {
				return config, true
			}
		}
	}
	return "", false
}

// TestChartRefuses holds the chart to refusing what cannot work.
func TestChartRefuses(t *testing.T) {
	version := serverVersion(t)
	for _, program := range helms {
		f := func(want string, set ...string) {
			t.Helper()
			args := []string{"template", release, chartDir, "--kube-version", version}
			for _, s := range set {
				args = append(args, "--set", s)
			}
			if out, err := run("", program, args...); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %v: want an error with %q, got %v, %d bytes", program, set, want, err, len(out))
			}
		}
		f("replicacount", "replicacount=3")
		f("verson", "config.model.verson=v0.1.0")
		f("/image/tag", "image.tag=bad tag")
		f("artifacts.configMap.existingName", "artifacts.source=configMap")
		f("artifacts.init.image", "artifacts.source=init")
		f("httpRoute.parentRefs", "httpRoute.enabled=true")
		f("set one or the others", "apiKey=a", "existingSecret=b")
		f("is more than", "autoscaling.minReplicas=5", "autoscaling.maxReplicas=4")
	}
}
