//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// autoscaler puts so much load on two pods that the autoscaler adds some, by the
// metrics of metrics-server, and takes the load away until it removes them: under
// a constant load that loses nothing.
func autoscaler(t *testing.T) {
	kubectl(t, "-n", production, "scale", "deployment/model-serving", "--replicas=2")
	readyPods(t, production, "app=model-serving", 2)
	apply(t, "", kubectl(t, "kustomize", small))
	defer kubectl(t, "-n", production, "delete", "hpa", "model-serving-hpa")
	waitFor(t, "the autoscaler reads metrics", func() error {
		out, err := run("", "kubectl", "-n", production, "get", "hpa", "model-serving-hpa", "-o", "jsonpath={.status.currentMetrics[*].resource.name}")
		if err == nil && !(strings.Contains(out, "cpu") && strings.Contains(out, "memory")) {
			err = fmt.Errorf("it has metrics of %q", out)
		}
		return err
	})
	replicas := func() (int, error) {
		found, err := pods(production, "app=model-serving")
		n := 0
		for _, p := range found {
			if p.ready() {
				n++
			}
		}
		return n, err
	}

	peak := productionLoad(t, 4000)
	up := waitFor(t, "four ready pods under load", func() error {
		n, err := replicas()
		if err == nil && n < 4 {
			err = fmt.Errorf("%d pods are ready: %s", n, kubectl(t, "-n", production, "get", "hpa", "--no-headers"))
		}
		return err
	})
	t.Logf("up: %.0f s after the load: %s", up.Seconds(), kubectl(t, "-n", production, "get", "hpa", "--no-headers"))
	t.Log(peak.stop())

	l := productionLoad(t, 100)
	down := waitFor(t, "two pods after the load", func() error {
		found, err := pods(production, "app=model-serving")
		if err == nil && len(found) != 2 {
			err = fmt.Errorf("%d pods are there: %s", len(found), kubectl(t, "-n", production, "get", "hpa", "--no-headers"))
		}
		return err
	})
	t.Logf("down: %.0f s after it", down.Seconds())
	l.lossless(t)
}
