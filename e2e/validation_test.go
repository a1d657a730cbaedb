//go:build e2e

package e2e_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// k8s is the folder of the manifests.
const k8s = "../deploy/k8s"

// TestManifestsAreValid has the API server validate every manifest and what
// every kustomization makes, with the definitions of the custom resources that
// they use, and without a warning.
func TestManifestsAreValid(t *testing.T) {
	customResources(t)
	removeProduction(t)
	apply(t, "", manifest(t, "namespace.yaml"))

	files := []string{k8s + "/examples/volume-claim/loader.yaml"}
	for _, pattern := range []string{k8s + "/*.yaml", "../deploy/kserve/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no file is %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		validated(t, "-f", file)
	}
	overlays := kustomizations(t, k8s)
	for _, dir := range overlays {
		validated(t, "-k", dir)
	}
	const filesMin, overlaysMin = 20, 7
	if len(files) < filesMin || len(overlays) < overlaysMin {
		t.Errorf("%d files and %d kustomizations were validated, there are at least %d and %d", len(files), len(overlays), filesMin, overlaysMin)
	}

	// What must be found is found: a key that is none, and a pod that the level
	// restricted of the namespace does not admit.
	d := manifest(t, "production-deployment.yaml")
	for name, c := range map[string]struct{ old, new, want string }{
		"a wrong key":   {"  strategy:", "  strategies:", `unknown field "spec.strategies"`},
		"a root filled": {"        runAsNonRoot: true", "        runAsNonRoot: false", "would violate PodSecurity"},
	} {
		text := strings.Replace(d, c.old, c.new, 1)
		file := filepath.Join(t.TempDir(), "wrong.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out := shell(t, "kubectl apply --dry-run=server --validate=strict -f "+file+" 2>&1 || true")
		if text == d || !strings.Contains(out, c.want) {
			t.Errorf("%s is not found: %s", name, out)
		}
		if name == "a root filled" && len(warnings(out)) == 0 {
			t.Errorf("%s is no warning: %s", name, out)
		}
	}
}

// TestOverlayWithEachComponent validates production with all definitions that a
// cluster may have, and with each way for a policy to reach a pod.
func TestOverlayWithEachComponent(t *testing.T) {
	customResources(t)
	removeProduction(t)
	apply(t, "", manifest(t, "namespace.yaml"))
	for _, c := range []struct{ old, new, want string }{
		{"- ../../components/without-prometheus-operator\n", "", "servicemonitor.monitoring.coreos.com/model-serving created"},
		{"- ../../components/without-gateway-api\n", "", "httproute.gateway.networking.k8s.io/model-serving created"},
		{"- ../../components/without-vpa\n", "", "verticalpodautoscaler.autoscaling.k8s.io/model-serving-vpa created"},
		{"# - ../../components/policy-from-volume-claim", "- ../../components/policy-from-volume-claim", "persistentvolumeclaim/model-serving-policy created"},
		{"# - ../../components/policy-from-init-container", "- ../../components/policy-from-init-container", "deployment.apps/model-serving created"},
		{"# - ../../components/policy-from-image-volume", "- ../../components/policy-from-image-volume", "deployment.apps/model-serving created"},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(k8s)); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "overlays", "production", "kustomization.yaml")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(b), c.old, c.new, 1)
		if text == string(b) {
			t.Fatalf("the overlay has no line %q", c.old)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := validated(t, "-k", filepath.Dir(file)); !strings.Contains(out, c.want) {
			t.Errorf("without %q there is no %q:\n%s", c.old, c.want, out)
		}
	}
}

// validated has the API server validate objects and returns what kubectl prints.
// A warning is an error: some field is not what it should be.
func validated(t *testing.T, flag, path string) string {
	t.Helper()
	out := shell(t, "kubectl apply --dry-run=server --validate=strict "+flag+" "+path+" 2>&1")
	for _, w := range warnings(out) {
		t.Errorf("%s: %s", path, w)
	}
	if !strings.Contains(out, "(server dry run)") {
		t.Errorf("%s: nothing was validated: %s", path, out)
	}
	return out
}

// warnings returns the lines of kubectl that warn, on its standard error, of more
// than that an object was made in another way than by kubectl apply.
func warnings(out string) []string {
	var all []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "Warning:") && !strings.Contains(line, "missing the kubectl.kubernetes.io/last-applied-configuration") {
			all = append(all, line)
		}
	}
	return all
}

// kustomizations returns the folders that kubectl apply -k takes.
func kustomizations(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "kustomization.yaml" {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), "\nkind: Kustomization\n") {
			all = append(all, filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
