//go:build e2e

package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// small is the overlay that makes the production manifests fit a node of two
// cores.
const small = "testdata/overlay-small"

// TestOverlayChangesOnlySizesAndTimes compares the overlay of these tests with
// what users apply.
func TestOverlayChangesOnlySizesAndTimes(t *testing.T) {
	want := leaves(t, kubectl(t, "kustomize", "../deploy/k8s/overlays/production"))
	got := leaves(t, kubectl(t, "kustomize", small))
	may := regexp.MustCompile(`^Deployment/model-serving/spec/template/spec/containers/0/resources/requests/(cpu|memory|ephemeral-storage)$` +
		`|^Deployment/model-serving/spec/template/spec/containers/0/env/[0-9]+/(name|value)$` + // see below
		`|^HorizontalPodAutoscaler/model-serving-hpa/spec/behavior/scaleUp/stabilizationWindowSeconds$` +
		`|^HorizontalPodAutoscaler/model-serving-hpa/spec/behavior/scaleDown/(stabilizationWindowSeconds|policies/0/(value|periodSeconds))$`)
	paths := maps.Clone(want)
	maps.Copy(paths, got)
	changed := 0
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		if want[p] == got[p] {
			continue
		}
		changed++
		if !may.MatchString(p) {
			t.Errorf("the overlay changes %s from %q to %q", p, want[p], got[p])
		}
		if strings.Contains(p, "/env/") && (want[p] != "" || got[p] != "CARLA_RL_REQUEST_TIMEOUT" && got[p] != "30s") {
			t.Errorf("the overlay changes the variables: %s from %q to %q; it may only add a request timeout", p, want[p], got[p])
		}
	}
	if len(want) < 100 || changed < 5 {
		t.Fatalf("%d values compared, %d differ: the comparison sees too little", len(want), changed)
	}
	t.Logf("%d values compared, %d differ", len(want), changed)
}

// leaves returns every value of YAML documents by its path.
func leaves(t *testing.T, text string) map[string]string {
	t.Helper()
	found := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(path+"/"+k, e)
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprint(path, "/", i), e)
			}
		default:
			found[path] = fmt.Sprint(v)
		}
	}
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var object map[string]any
		if err := d.Decode(&object); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		name := object["metadata"].(map[string]any)["name"]
		walk(fmt.Sprint(object["kind"], "/", name), object)
	}
}
