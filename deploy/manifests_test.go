// Package deploy_test reads the manifests under deploy/ as a user applies them and
// holds them to what they promise. Nothing here needs a cluster: what only a
// cluster can tell is tested in e2e/.
package deploy_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the copies that kustomize needs")

// object is a Kubernetes object as YAML has it.
type object map[string]any

// get returns what stands at the path of keys, or nil. Objects within objects
// have the type of the outermost.
func (o object) get(path ...string) any {
	var v any = o
	for _, key := range path {
		m, ok := v.(object)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func (o object) text(path ...string) string {
	s, _ := o.get(path...).(string)
	return s
}

// child returns the object at the path.
func (o object) child(path ...string) object {
	m, _ := o.get(path...).(object)
	return m
}

// list returns the objects of the list at the path.
func (o object) list(path ...string) []object {
	items, _ := o.get(path...).([]any)
	var all []object
	for _, item := range items {
		if m, ok := item.(object); ok {
			all = append(all, m)
		}
	}
	return all
}

// strings returns the strings of the list at the path.
func (o object) strings(path ...string) []string {
	items, _ := o.get(path...).([]any)
	var all []string
	for _, item := range items {
		if s, ok := item.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

func (o object) kind() string { return o.text("kind") }
func (o object) name() string { return o.text("metadata", "name") }

// objects returns the objects of one file.
func objects(t *testing.T, file string) []object {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, file, data)
}

func decode(t *testing.T, file string, data []byte) []object {
	t.Helper()
	var all []object
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if o != nil {
			all = append(all, o)
		}
	}
}

// one returns the object of the kind and name in a file of k8s/.
func one(t *testing.T, file, kind, name string) object {
	t.Helper()
	for _, o := range objects(t, filepath.Join("k8s", file)) {
		if o.kind() == kind && o.name() == name {
			return o
		}
	}
	t.Fatalf("k8s/%s holds no %s %s", file, kind, name)
	return nil
}

// container returns the only container of a Deployment.
func container(t *testing.T, o object) object {
	t.Helper()
	all := o.list("spec", "template", "spec", "containers")
	if len(all) != 1 {
		t.Fatalf("%s has %d containers", o.name(), len(all))
	}
	return all[0]
}

// env returns the value of a variable of a container.
func env(c object, name string) string {
	for _, e := range c.list("env") {
		if e.text("name") == name {
			return e.text("value")
		}
	}
	return ""
}

// manifests are the files of k8s/ that hold objects, without kustomizations.
func manifests(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("k8s", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "policy" {
			return filepath.SkipDir
		}
		base := filepath.Base(path)
		if filepath.Ext(path) == ".yaml" && base != "kustomization.yaml" && base != "patch.yaml" {
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// inBase are the files of production in the order in which they are applied.
var inBase = []string{
	"namespace.yaml", "serviceaccount.yaml", "rbac.yaml", "configmap-config.yaml",
	"production-deployment.yaml", "service.yaml", "ingress.yaml", "httproute.yaml", "pod-disruption-budget.yaml",
	"hpa.yaml", "vpa.yaml", "network-policy.yaml", "servicemonitor.yaml", "alerting-rules.yaml", "grafana-dashboard.yaml",
}

// notInBase are the files that no kustomization of production names.
var notInBase = []string{"deployment.yaml", "configmap.yaml", "secrets.yaml", "pod-security.yaml", "cluster-autoscaler.yaml"}

// TestCopies holds the copies that kustomize needs, which takes no file from
// above its folder, to what they are copies of.
func TestCopies(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Written by: go test ./deploy -run TestCopies -update\n")
	for _, name := range inBase {
		data, err := os.ReadFile(filepath.Join("k8s", name))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n" + string(data))
	}
	same(t, "k8s/base/objects.yaml", []byte(b.String()))

	copies := map[string]string{"k8s/deployment.yaml": "k8s/overlays/quickstart/deployment.yaml"}
	for _, name := range []string{"model_card.yaml", "model.pt", "preprocessor.pkl"} {
		copies["../internal/demo/artifact/"+name] = "k8s/examples/configmap/policy/" + name
	}
	for from, to := range copies {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		same(t, to, data)
	}
}

func same(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("deploy/%s is not what it is a copy of: go test ./deploy -run TestCopies -update", file)
	}
}

// TestEveryFileIsPlaced finds a manifest that neither the base nor the list of
// those outside it knows.
func TestEveryFileIsPlaced(t *testing.T) {
	files, err := filepath.Glob("k8s/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, name := range append(append([]string{}, inBase...), notInBase...) {
		known["k8s/"+name] = true
	}
	for _, file := range files {
		if !known[filepath.ToSlash(file)] {
			t.Errorf("deploy/%s is in no list of this test", file)
		}
		delete(known, filepath.ToSlash(file))
	}
	for file := range known {
		t.Errorf("deploy/%s is not there", file)
	}
}
