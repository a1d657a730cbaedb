//go:build e2e

package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// TestQuickStart runs the quick start of the guide, line by line.
func TestQuickStart(t *testing.T) {
	observed(t, "default")
	t.Cleanup(func() {
		shell(t, "kubectl delete -f ../deploy/k8s/deployment.yaml --grace-period=1 --wait")
	})
	// Its pods live under the strictest level of Pod Security too.
	shell(t, "kubectl label namespace default pod-security.kubernetes.io/enforce=restricted")
	t.Cleanup(func() { shell(t, "kubectl label namespace default pod-security.kubernetes.io/enforce-") })
	began := time.Now()
	shell(t, "kubectl apply -f ../deploy/k8s/deployment.yaml")
	readyPods(t, "default", "app=model-serving", 2)
	t.Logf("figure: two pods are ready %.1f s after kubectl apply of the quick start", time.Since(began).Seconds())
	if out := shell(t, "kubectl get pods -l app=model-serving"); strings.Count(out, "1/1") != 2 {
		t.Errorf("kubectl get pods -l app=model-serving:\n%s", out)
	}
	if out := shell(t, "kubectl get svc model-serving-service"); !strings.Contains(out, "80/TCP,9090/TCP") {
		t.Errorf("kubectl get svc model-serving-service:\n%s", out)
	}

	const healthz = `curl -sS --fail-with-body http://localhost:8080/healthz`
	const predict = `curl -sS --fail-with-body -X POST http://localhost:8080/predict \
  -H "Content-Type: application/json" \
  -d '{
    "observations": [{
      "speed": 25.5,
      "steering": 0.1,
      "sensors": [0.8, 0.2, 0.5, 0.9, 0.1]
    }],
    "deterministic": true
  }'`
	t.Run("port-forward", func(t *testing.T) {
		portForward(t, "default", "svc/model-serving-service", "8080:80")
		if out := shell(t, healthz); !strings.Contains(out, `"ok"`) {
			t.Errorf("/healthz: %s", out)
		}
		if out := shell(t, predict); !strings.Contains(out, `"throttle"`) {
			t.Errorf("/predict: %s", out)
		}
	})
	t.Run("Service", func(t *testing.T) {
		ip := clusterIP(t, "default", "model-serving-service")
		for _, at := range []string{ip, ip + ":9090"} {
			reached(t, "http://"+at)
			if out := shell(t, strings.ReplaceAll(healthz, "localhost:8080", at)); !strings.Contains(out, `"ok"`) {
				t.Errorf("/healthz: %s", out)
			}
			if out := shell(t, strings.ReplaceAll(predict, "localhost:8080", at)); !strings.Contains(out, `"throttle"`) {
				t.Errorf("/predict: %s", out)
			}
		}
	})
}
