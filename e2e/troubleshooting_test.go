//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// troubleshooting runs every command of the guide's chapter of this name, as it
// stands there but for what is in angle brackets.
func troubleshooting(t *testing.T) {
	found := readyPods(t, production, "app=model-serving", 3)
	name := found[0].Metadata.Name
	service := clusterIP(t, production, "model-serving-service")
	ingress := clusterIP(t, "ingress-nginx", "ingress-nginx-controller")
	if _, err := run("", "kubectl", "-n", production, "get", "secret", "model-serving-tls"); err != nil {
		withCertificate(t, ingress)
	}
	for _, c := range []struct {
		line string
		want []string // what the output must hold
	}{
		{"kubectl get pods -n carla-rl-serving", []string{name, "1/1", "Running"}},
		// -f follows until it is told to stop.
		{"timeout 3 kubectl logs -f deployment/model-serving -n carla-rl-serving || [ $? = 124 ]", []string{`"level"`}},
		{"kubectl describe pod " + name + " -n carla-rl-serving", []string{"Readiness:", "Events:", image}},
		{"kubectl top pods -n carla-rl-serving", []string{name, "CPU(cores)"}},
		{"kubectl get endpoints -n carla-rl-serving", []string{"model-serving-service", found[0].Status.PodIP + ":8080"}},
		{"kubectl run test-pod --image=busybox --rm -it -- nslookup model-serving-service.carla-rl-serving.svc.cluster.local", []string{service}},
		{"kubectl get svc -n carla-rl-serving -o yaml", []string{"name: model-serving-service", "name: model-serving-headless"}},
		{"kubectl get ingress -n carla-rl-serving", []string{publicHost}},
		{"kubectl logs -n ingress-nginx deployment/ingress-nginx-controller", []string{"POST /predict"}},
		// The Ingress sends plain HTTP to HTTPS, so this prints where to.
		{`curl -sS -i -H "Host: api.yourdomain.com" http://` + ingress + "/healthz", []string{"308", "https://api.yourdomain.com/healthz"}},
		{"kubectl describe quota -n carla-rl-serving", []string{"requests.cpu", "limits.memory", "150m"}},
		{"kubectl top nodes", []string{"node1"}},
		{"kubectl top pods -n carla-rl-serving --containers", []string{name, "model-serving"}},
	} {
		missing := func(out string) string {
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					return want
				}
			}
			return ""
		}
		// What the cluster counts, measures and names, it has a while after it is so:
		// metrics, the quota's use, the ingress controller's configuration. And kubectl
		// run attaches to a pod that may have ended by then, and prints nothing.
		waitFor(t, c.line, func() error {
			out, err := run("", "bash", "-euo", "pipefail", "-c", c.line)
			if err == nil && missing(out) != "" {
				err = fmt.Errorf("no %q in\n%s", missing(out), out)
			}
			if err != nil && strings.HasPrefix(c.line, "kubectl run") {
				kubectl(t, "delete", "pod", "test-pod", "--ignore-not-found", "--wait")
			}
			return err
		})
	}
}
