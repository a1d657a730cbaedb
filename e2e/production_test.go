//go:build e2e

package e2e_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// production is the guide's namespace; apiKey what its Secret holds.
const (
	production = "carla-rl-serving"
	apiKey     = "replace-this-api-key"
	// serviceHost is a name that the production manifests admit.
	serviceHost = "model-serving-service.carla-rl-serving"
)

// productionFiles are the files that production needs, as the guide names them.
var productionFiles = []string{"namespace.yaml", "configmap.yaml", "configmap-config.yaml", "secrets.yaml",
	"serviceaccount.yaml", "rbac.yaml", "service.yaml", "pod-disruption-budget.yaml", "network-policy.yaml", "production-deployment.yaml"}

// demoPolicy puts the demo's files into the ConfigMap, as a user does.
func demoPolicy(t *testing.T) {
	t.Helper()
	shell(t, "kubectl create configmap model-serving-artifacts -n "+production+
		" --from-file=../internal/demo/artifact --dry-run=client -o yaml | kubectl apply --server-side --force-conflicts -f -")
}

// deployProduction applies the production manifests, in the size of the tests,
// with the demo policy, n pods and no autoscaler, and removes them at the end.
func deployProduction(t *testing.T, n int) {
	t.Helper()
	removeProduction(t)
	apply(t, "", manifest(t, "namespace.yaml"))
	apply(t, "", manifest(t, "secrets.yaml"))
	demoPolicy(t)
	resetProduction(t, n)
}

// resetProduction makes the Deployment anew, with n pods and no autoscaler.
func resetProduction(t *testing.T, n int) {
	t.Helper()
	kubectl(t, "-n", production, "delete", "deployment,hpa", "--all", "--ignore-not-found", "--cascade=foreground", "--wait=false")
	kubectl(t, "-n", production, "delete", "pods", "--all", "--grace-period=1")
	kubectl(t, "-n", production, "wait", "--for=delete", "deployment/model-serving", "--timeout=5m")
	apply(t, "", kubectl(t, "kustomize", small))
	kubectl(t, "-n", production, "delete", "hpa", "model-serving-hpa")
	kubectl(t, "-n", production, "scale", "deployment/model-serving", fmt.Sprint("--replicas=", n))
	readyPods(t, production, "app=model-serving", n)
}

// removeProduction removes the namespace when the test ends.
func removeProduction(t *testing.T) {
	t.Helper()
	observed(t, production)
	t.Cleanup(func() {
		for _, args := range [][]string{
			{"-n", production, "delete", "deployments", "--all", "--wait=false"},
			{"-n", production, "delete", "pods", "--all", "--grace-period=1"},
			{"delete", "namespace", production, "--timeout=5m"},
		} {
			if _, err := run("", "kubectl", args...); err != nil {
				t.Log(err)
			}
		}
	})
}

// productionLoad is a load on the production Service.
func productionLoad(t *testing.T, rate int) *load {
	t.Helper()
	return startLoad(t, loadConfig{
		url:     "http://" + clusterIP(t, production, "model-serving-service") + "/predict",
		headers: []string{"Host", serviceHost, "X-API-Key", apiKey}, rate: rate, clients: 8,
	})
}

// TestProduction applies production as the guide has it, with its own sizes.
func TestProduction(t *testing.T) {
	removeProduction(t)
	for _, name := range productionFiles {
		apply(t, "", manifest(t, name))
	}
	const missing = "model.pt: missing"

	// K3: a pod without a policy starts, lives and is not ready.
	t.Run("a card alone is not ready and says why", func(t *testing.T) {
		var found []pod
		waitFor(t, "three started pods", func() error {
			var err error
			if found, err = pods(production, "app=model-serving"); err != nil {
				return err
			}
			started := 0
			for _, p := range found {
				for _, c := range p.Status.ContainerStatuses {
					if c.Started != nil && *c.Started && c.State.Running != nil {
						started++
					}
				}
			}
			if started != 3 {
				return fmt.Errorf("%d of 3 are started", started)
			}
			return nil
		})
		time.Sleep(3 * time.Second)
		found, err := pods(production, "app=model-serving")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			c := p.Status.ContainerStatuses[0]
			if p.ready() || c.RestartCount != 0 {
				t.Errorf("%s: ready %v, %d restarts; want neither", p.Metadata.Name, p.ready(), c.RestartCount)
			}
			at := "http://" + p.Status.PodIP + ":8080"
			if body := expect(t, 503, "GET", at+"/readyz", ""); !strings.Contains(body, missing) {
				t.Errorf("/readyz does not name the missing file: %s", body)
			}
			expect(t, 200, "GET", at+"/startupz", "")
			expect(t, 200, "GET", at+"/livez", "")
			if log := kubectl(t, "-n", production, "logs", p.Metadata.Name); !strings.Contains(log, missing) {
				t.Errorf("kubectl logs does not name the missing file:\n%s", log)
			}
		}
		if a, err := request("GET", "http://"+clusterIP(t, production, "model-serving-service")+"/livez", ""); err == nil {
			t.Errorf("a Service without a ready pod answers: %v", a)
		}
	})

	t.Run("with the demo's files it is ready", func(t *testing.T) {
		demoPolicy(t)
		kubectl(t, "-n", production, "delete", "pods", "--all", "--wait=false")
		readyPods(t, production, "app=model-serving", 3)
		var cm struct{ BinaryData, Data map[string]string }
		if err := get(&cm, "configmap", "model-serving-artifacts", "-n", production); err != nil {
			t.Fatal(err)
		}
		if cm.BinaryData["model.pt"] == "" || cm.Data["model_card.yaml"] == "" {
			t.Errorf("the ConfigMap has no model.pt in binaryData or no card in data")
		}
	})

	t.Run("the key is in force", func(t *testing.T) {
		at := "http://" + clusterIP(t, production, "model-serving-service")
		host := []string{"Host", serviceHost}
		reached(t, at)
		expect(t, 401, "POST", at+"/predict", guideRequest, host...)
		expect(t, 401, "POST", at+"/predict", guideRequest, append(host, "X-API-Key", "wrong")...)
		for _, key := range [][]string{{"X-API-Key", apiKey}, {"Authorization", "Bearer " + apiKey}} {
			if body := expect(t, 200, "POST", at+"/predict", guideRequest, append(host, key...)...); !strings.Contains(body, `"v0.1.0"`) {
				t.Errorf("the answer does not name the version: %s", body)
			}
		}
		expect(t, 200, "GET", at+"/healthz", "")
	})

	t.Run("a port-forward needs a Host that is allowed", func(t *testing.T) {
		addr := portForward(t, production, "svc/model-serving-service", ":80")
		a, err := request("POST", "http://"+addr+"/predict", guideRequest, "X-API-Key", apiKey)
		if err != nil {
			t.Fatal(err)
		}
		if a.status < 400 || a.status > 499 || !strings.Contains(strings.ToLower(a.body), "host") {
			t.Errorf("without -H Host: %d %s", a.status, a.body)
		}
		out := shell(t, "curl -sS --fail-with-body -X POST http://"+addr+"/predict -H 'Host: api.yourdomain.com' -H 'X-API-Key: "+apiKey+
			"' -H 'Content-Type: application/json' -d '"+guideRequest+"'")
		if !strings.Contains(out, `"throttle"`) {
			t.Errorf("with -H Host: %s", out)
		}
	})

	t.Run("experience goes to the database of the Secret, and the log says so", func(t *testing.T) {
		p := readyPods(t, production, "app=model-serving", 3)[0]
		if log := kubectl(t, "-n", production, "logs", p.Metadata.Name); !strings.Contains(log, "experience is recorded") {
			t.Errorf("the log has no word of experience:\n%s", log)
		}
	})

	t.Run("Pod Security", podSecurity)
	t.Run("a pod without requests is refused by the quota", func(t *testing.T) {
		_, err := run(restrictedPod("", `[ALL]`), "kubectl", "-n", production, "create", "-f", "-")
		if err == nil || !strings.Contains(err.Error(), "failed quota") {
			t.Errorf("want a refusal by the quota, got %v", err)
		}
	})
	t.Run("quota and autoscaler agree", quotaAgrees)
}

// TestProductionInUse deploys production once, in the size of the tests, and does
// to it what its users and its cluster do.
func TestProductionInUse(t *testing.T) {
	deployProduction(t, 3)
	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"Ingress with TLS", ingressWithTLS},
		{"HTTPRoute", throughHTTPRoute},
		{"zero loss", zeroLoss},
		{"order of stopping", orderOfStopping},
		{"troubleshooting", troubleshooting},
		{"killed pods", killedPods},
		{"autoscaler", autoscaler},
	} {
		if !t.Run(part.name, part.test) {
			// A part that failed must not fail the next.
			resetProduction(t, 3)
		}
	}
}

// restrictedPod is a pod that the level restricted admits, with these resources
// and dropped capabilities.
func restrictedPod(resources, drop string) string {
	if resources != "" {
		resources = "resources: " + resources + ", "
	}
	return `{apiVersion: v1, kind: Pod, metadata: {generateName: trial-}, spec: {automountServiceAccountToken: false,
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}},
  containers: [{name: c, image: "` + image + `", ` + resources + `securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: ` + drop + `}}}]}}`
}

// podSecurity is K4: what the namespace admits, and what the process that runs
// in it has: seen from the node, in /proc.
func podSecurity(t *testing.T) {
	const sizes = `{requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi}}`
	for name, yaml := range map[string]string{
		"capabilities": restrictedPod(sizes, "[]"),
		"privileged": `{apiVersion: v1, kind: Pod, metadata: {generateName: trial-}, spec: {containers: [
  {name: c, image: "` + image + `", resources: ` + sizes + `, securityContext: {privileged: true}}]}}`,
	} {
		_, err := run(yaml, "kubectl", "-n", production, "create", "-f", "-")
		if err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
			t.Errorf("%s: want a refusal by Pod Security, got %v", name, err)
		}
	}
	if _, err := run(restrictedPod(sizes, "[ALL]"), "kubectl", "-n", production, "create", "--dry-run=server", "-f", "-"); err != nil {
		t.Errorf("the same pod without what is forbidden: %v", err)
	}

	p := readyPods(t, production, "app=model-serving", 3)[0]
	proc, err := process(p)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t1000\t1000\t1000\t1000", "Gid:\t1000\t1000\t1000\t1000", "CapEff:\t0000000000000000",
		"CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("/proc/PID/status has no %q:\n%s", want, status)
		}
	}
	mounts, err := os.ReadFile(filepath.Join(proc, "mounts"))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/", "/app/artifacts", "/app/config", "/app/secrets"} {
		if !mountedReadOnly(string(mounts), target) {
			t.Errorf("%s can be written to:\n%s", target, mounts)
		}
	}
	if _, err := os.Stat(filepath.Join(proc, "root/var/run/secrets/kubernetes.io")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pod has a service account token: %v", err)
	}
}

// mountedReadOnly reports whether /proc/PID/mounts says so of a target.
func mountedReadOnly(mounts, target string) bool {
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) > 3 && f[1] == target {
			return strings.HasPrefix(f[3], "ro,") || f[3] == "ro"
		}
	}
	return false
}

// process finds the server's process of a pod on the node and returns its folder
// in /proc.
func process(p pod) (string, error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return "", err
	}
	for _, proc := range all {
		groups, err := os.ReadFile(filepath.Join(proc, "cgroup"))
		if err != nil || !strings.Contains(string(groups), "pod"+p.Metadata.UID) {
			continue
		}
		if line, err := os.ReadFile(filepath.Join(proc, "cmdline")); err == nil && strings.Contains(string(line), "carla-rl") {
			return proc, nil
		}
	}
	return "", fmt.Errorf("no process of pod %s on the node", p.Metadata.Name)
}

// quotaAgrees holds the quota to what the autoscaler may ask for: all of its pods
// and the one more of a rollout. The API server is the judge of quantities: it is
// asked for a quota of exactly what is needed and for one that is less.
func quotaAgrees(t *testing.T) {
	var hpa struct{ Spec struct{ MaxReplicas int } }
	var deployment struct {
		Spec struct {
			Strategy struct{ RollingUpdate struct{ MaxSurge int } }
			Template struct {
				Spec struct {
					Containers []struct {
						Resources struct{ Requests, Limits map[string]string }
					}
				}
			}
		}
	}
	var quota struct {
		Spec struct{ Hard map[string]string }
	}
	apply(t, "", manifest(t, "hpa.yaml"))
	defer kubectl(t, "-n", production, "delete", "hpa", "model-serving-hpa")
	for into, what := range map[any]string{&hpa: "hpa/model-serving-hpa", &deployment: "deployment/model-serving", &quota: "resourcequota/carla-rl-serving-quota"} {
		if err := get(into, "-n", production, what); err != nil {
			t.Fatal(err)
		}
	}
	n := hpa.Spec.MaxReplicas + deployment.Spec.Strategy.RollingUpdate.MaxSurge
	r := deployment.Spec.Template.Spec.Containers[0].Resources
	for name, one := range map[string]string{"requests.cpu": r.Requests["cpu"], "requests.memory": r.Requests["memory"],
		"limits.cpu": r.Limits["cpu"], "limits.memory": r.Limits["memory"]} {
		have, need := quantity(t, quota.Spec.Hard[name]), float64(n)*quantity(t, one)
		if need > have {
			t.Errorf("the quota's %s is %s; %d pods of %s need more", name, quota.Spec.Hard[name], n, one)
		}
	}
	t.Logf("%d pods (maxReplicas and the surge) fit the quota %v", n, quota.Spec.Hard)
}

// quantity reads a Kubernetes quantity.
func quantity(t *testing.T, s string) float64 {
	t.Helper()
	factor := 1.0
	for suffix, f := range map[string]float64{"m": 1e-3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, factor = rest, f
			break
		}
	}
	var v float64
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("quantity %q: %v", s, err)
	}
	return v * factor
}

// TestSecretsOfTheGuide holds the constant of these tests to the manifest.
func TestSecretsOfTheGuide(t *testing.T) {
	if !strings.Contains(manifest(t, "secrets.yaml"), base64.StdEncoding.EncodeToString([]byte(apiKey))) {
		t.Errorf("secrets.yaml does not hold the key %q", apiKey)
	}
}
