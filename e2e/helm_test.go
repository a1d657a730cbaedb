//go:build e2e

package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	chartDir = "../charts/carla-rl-serving"
	release  = "carla-rl-serving"
)

// helms are the two Helms that the chart is for, by the names of their programs.
var helms = []string{"helm3", "helm"}

// helm runs one of the Helms and returns what it prints; the test ends when it
// fails.
func helm(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := run("", program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// helmHome gives the Helms of a test folders of their own.
func helmHome(t *testing.T) {
	t.Helper()
	for _, name := range []string{"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"} {
		t.Setenv(name, t.TempDir())
	}
}

// chartRepository packages the chart and serves it, with its index, on loopback.
func chartRepository(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	helm(t, program, "package", chartDir, "-d", dir)
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	helm(t, program, "repo", "index", dir, "--url", server.URL)
	return server.URL
}

var crdsOnce sync.Once

// customResources makes the cluster know the custom resources of the chart.
func customResources(t *testing.T) {
	t.Helper()
	crdsOnce.Do(func() {
		program, err := exec.LookPath("helm")
		if err != nil {
			t.Fatal(err)
		}
		kubectl(t, "apply", "--server-side", "--force-conflicts", "-R", "-f", filepath.Join(filepath.Dir(program), "..", "crds"))
		kubectl(t, "wait", "--for=condition=Established", "crd", "--all", "--timeout=5m")
	})
}

// serverVersion is the version of the cluster, as vMAJOR.MINOR.PATCH.
func serverVersion(t *testing.T) string {
	t.Helper()
	var v struct {
		GitVersion string `yaml:"gitVersion"`
	}
	if err := yaml.Unmarshal([]byte(kubectl(t, "get", "--raw", "/version")), &v); err != nil {
		t.Fatal(err)
	}
	return v.GitVersion
}

// guideValues is the values.yaml of the guide, its rewrite-target with it.
const guideValues = `replicaCount: 3

image:
  repository: your-registry/carla-rl-serving
  tag: latest
  pullPolicy: Always

service:
  type: ClusterIP
  port: 80
  targetPort: 8080

ingress:
  enabled: true
  className: nginx
  annotations:
    nginx.ingress.kubernetes.io/rewrite-target: /
  hosts:
    - host: api.yourdomain.com
      paths:
        - path: /
          pathType: Prefix
  tls:
    - secretName: model-serving-tls
      hosts:
        - api.yourdomain.com

resources:
  limits:
    cpu: 2000m
    memory: 4Gi
  requests:
    cpu: 500m
    memory: 1Gi

autoscaling:
  enabled: true
  minReplicas: 2
  maxReplicas: 10
  targetCPUUtilizationPercentage: 70
  targetMemoryUtilizationPercentage: 80

nodeSelector: {}
tolerations: []
affinity: {}
`

// policyValues mount two versions of the demo policy, which are in one
// ConfigMap, side by side.
const policyValues = `
artifacts:
  source: configMap
  configMap:
    existingName: policies
    items:
      - {key: model.pt, path: v0.1.0/model.pt}
      - {key: preprocessor.pkl, path: v0.1.0/preprocessor.pkl}
      - {key: model_card.yaml, path: v0.1.0/model_card.yaml}
      - {key: model.pt, path: v0.2.0/model.pt}
      - {key: preprocessor.pkl, path: v0.2.0/preprocessor.pkl}
      - {key: newer.yaml, path: v0.2.0/model_card.yaml}
`

// TestHelm installs the chart as the guide tells, by both Helms, and goes on to
// an upgrade to another version of the policy, a test and an uninstall. Helm 4
// also fails to upgrade to what cannot work and rolls back, under a load that
// loses no request: it is the same pods that Helm 3 would have replaced.
func TestHelm(t *testing.T) {
	for _, program := range helms {
		t.Run(program, func(t *testing.T) { helmLife(t, program) })
	}
}

func helmLife(t *testing.T, program string) {
	helmHome(t)
	namespace(t, production, restricted)
	apply(t, production, `{apiVersion: v1, kind: ResourceQuota, metadata: {name: carla-rl-serving-quota},
  spec: {hard: {requests.cpu: "4", requests.memory: 8Gi, limits.cpu: "8", limits.memory: 16Gi, persistentvolumeclaims: "4"}}}`)
	card := readText(t, "../internal/demo/artifact/model_card.yaml")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"values.yaml": guideValues, "policies.yaml": policyValues,
		"newer.yaml": strings.ReplaceAll(card, "version: v0.1.0", "version: v0.2.0"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kubectl(t, "-n", production, "create", "configmap", "policies", "--from-file=../internal/demo/artifact", "--from-file="+filepath.Join(dir, "newer.yaml"))
	before := inventory(t)

	// The guide's lines, with the repository on loopback and the Helm in turn.
	line := func(text string) string {
		t.Helper()
		began := time.Now()
		defer func() { t.Logf("%5.1f s  %s", time.Since(began).Seconds(), text) }()
		return shell(t, "cd "+dir+"\n"+strings.NewReplacer("https://your-helm-repo.com", chartRepositoryURL(t, program), "helm ", program+" ").Replace(text))
	}
	line("helm repo add carla-rl https://your-helm-repo.com\nhelm repo update")
	notes := line(`helm install carla-rl-serving carla-rl/carla-rl-serving \
  --namespace carla-rl-serving \
  --create-namespace \
  --values values.yaml`)
	for _, want := range []string{
		"rewrite-target: /", "there is no API key", "ResourceQuota carla-rl-serving-quota has limits.cpu: 8, room for 4 pods of 2 each",
		"the autoscaler may start 10, and a rollout needs 1 more. Raise it to 22",
		"helm -n carla-rl-serving test carla-rl-serving",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes have no %q:\n%s", want, notes)
		}
	}
	const selector = "app=model-serving,app.kubernetes.io/instance=" + release
	found := readyPods(t, production, selector, 2)
	if out := shell(t, "kubectl get pods -n carla-rl-serving -l app=model-serving"); strings.Count(out, "1/1") != 2 {
		t.Errorf("kubectl get pods -l app=model-serving:\n%s", out)
	}
	if out := kubectl(t, "-n", production, "get", "ingress", release, "-o", "yaml"); strings.Contains(out, "rewrite-target") {
		t.Errorf("the Ingress would turn /predict into /:\n%s", out)
	}
	at := "http://" + clusterIP(t, production, release)
	reached(t, at)
	expect(t, 200, "GET", "http://"+found[0].Status.PodIP+":8080/readyz", "") // as the kubelet asks
	for _, host := range []string{"api.yourdomain.com", release, release + "." + production + ".svc.cluster.local"} {
		expect(t, 200, "POST", at+"/predict", guideRequest, "Host", host)
	}
	if a, err := request("POST", at+"/predict", guideRequest, "Host", "elsewhere.example"); err != nil || a.status == 200 {
		t.Errorf("a host that is not allowed is served: %v %v", a, err)
	}

	// busybox:latest is the one that the cluster's registry has.
	const busybox = " --set tests.image.tag=latest"
	const (
		upgrade = "helm upgrade carla-rl-serving carla-rl/carla-rl-serving --namespace carla-rl-serving --values values.yaml"
		policy  = " --values policies.yaml --wait --timeout 5m --set config.model.version=v0.2.0"
		test    = "\nhelm -n carla-rl-serving test carla-rl-serving --timeout 5m"
	)
	tested := func(lines string) {
		t.Helper()
		if out := line(lines + test); !strings.Contains(out, "Succeeded") {
			t.Errorf("helm test:\n%s", out)
		}
	}
	if program == "helm3" {
		tested(upgrade + busybox + policy)
		serves(t, at, "v0.2.0")
	} else {
		tested(upgrade + busybox)
		l := startLoad(t, loadConfig{url: at + "/predict", headers: []string{"Host", release}, rate: 100, clients: 4})
		line(upgrade + busybox + policy)
		serves(t, at, "v0.2.0")
		refusedUpgrade(t, at, dir)
		line("helm rollback carla-rl-serving 3 --namespace carla-rl-serving --wait --timeout 5m")
		serves(t, at, "v0.2.0")
		line("helm rollback carla-rl-serving 2 --namespace carla-rl-serving --wait --timeout 5m")
		serves(t, at, "v0.1.0")
		l.lossless(t)
	}

	line("helm uninstall carla-rl-serving --namespace carla-rl-serving --wait")
	waitFor(t, "nothing of the release is left", func() error {
		if after := inventory(t); !slices.Equal(after, before) {
			return fmt.Errorf("before:\n%v\nafter:\n%v", before, after)
		}
		return nil
	})
}

// refusedUpgrade asks for a version that is not there: Helm says that it failed,
// and the pods of the version before go on serving.
func refusedUpgrade(t *testing.T, at, dir string) {
	t.Helper()
	if _, err := run("", "helm", "upgrade", release, chartDir, "-n", production, "-f", dir+"/values.yaml", "-f", dir+"/policies.yaml",
		"--wait", "--timeout", "10s", "--set", "config.model.version=v9.9.9"); err == nil {
		t.Error("helm upgrade --wait to a version that is not there succeeds")
	}
	if err := onlyVersion(at, "v0.2.0"); err != nil {
		t.Error("beside a version that is not there:", err)
	}
}

// repositories are the addresses of the served charts, by test.
var repositories sync.Map

func chartRepositoryURL(t *testing.T, program string) string {
	t.Helper()
	if url, ok := repositories.Load(t.Name()); ok {
		return url.(string)
	}
	url := chartRepository(t, program)
	repositories.Store(t.Name(), url)
	return url
}

// serves waits until a Service answers with a version of the policy alone: a pod
// that goes serves on for a moment after Helm has said that it waited.
func serves(t *testing.T, at, version string) {
	t.Helper()
	waitFor(t, "only answers of "+version, func() error { return onlyVersion(at, version) })
}

// onlyVersion asks often enough to meet every pod behind a Service.
func onlyVersion(at, version string) error {
	for range 20 {
		a, err := request("POST", at+"/predict", guideRequest, "Host", release)
		if err != nil {
			return err
		}
		if a.status != 200 || !strings.Contains(a.body, `"version":"`+version+`"`) {
			return fmt.Errorf("%d %s; want version %s", a.status, a.body, version)
		}
	}
	return nil
}

// inventory lists what is in the production namespace, events and what the
// cluster makes of itself left out.
func inventory(t *testing.T) []string {
	t.Helper()
	kinds := strings.Fields(kubectl(t, "api-resources", "--namespaced", "--verbs=list", "-o", "name"))
	kinds = slices.DeleteFunc(kinds, func(k string) bool {
		return strings.HasPrefix(k, "events") || strings.HasSuffix(k, ".metrics.k8s.io")
	})
	names := strings.Fields(kubectl(t, "get", strings.Join(kinds, ","), "-n", production, "-o", "name", "--ignore-not-found"))
	slices.Sort(names)
	return names
}

// TestHelmProduction installs the chart with its production values, with what
// they need in place, a Secret and the CRDs, and in a size that the node has room
// for. The quota that it makes admits the pod of helm test too.
func TestHelmProduction(t *testing.T) {
	const program = "helm"
	customResources(t)
	helmHome(t)
	namespace(t, production, restricted)
	kubectl(t, "-n", production, "create", "secret", "generic", "model-serving-secrets", "--from-literal=api-key=a-key-for-the-test-of-the-chart")
	notes := helm(t, program, "install", release, chartDir, "-n", production, "-f", chartDir+"/ci/production-values.yaml", "--wait", "--timeout", "5m",
		"--set", "image.tag=latest,tests.image.tag=latest,autoscaling.maxReplicas=3,resources.requests.cpu=100m,resources.requests.memory=64Mi,resources.requests.ephemeral-storage=16Mi",
		"--set", "goMemLimitPercent=0")
	if strings.Contains(notes, "no API key") || strings.Contains(notes, "ResourceQuota") {
		t.Errorf("the notes warn of what is not so:\n%s", notes)
	}
	at := "http://" + clusterIP(t, production, release)
	reached(t, at)
	expect(t, 401, "POST", at+"/predict", guideRequest, "Host", release)
	expect(t, 200, "POST", at+"/predict", guideRequest, "Host", "yourdomain.com", "X-API-Key", "a-key-for-the-test-of-the-chart")
	if out := helm(t, program, "test", release, "-n", production, "--timeout", "5m"); !strings.Contains(out, "Succeeded") {
		t.Errorf("helm test:\n%s", out)
	}
	for _, object := range []string{"servicemonitor", "prometheusrule", "verticalpodautoscaler", "networkpolicy", "resourcequota", "poddisruptionbudget", "configmap/" + release + "-dashboard"} {
		name := object
		if !strings.Contains(object, "/") {
			name += "/" + release
		}
		kubectl(t, "-n", production, "get", name)
	}
	helm(t, program, "uninstall", release, "-n", production, "--wait")
}

// TestHelmSources has the chart take a policy from a volume claim, from an image
// and by an init container; TestHelm takes it from the server's image and from a
// ConfigMap.
func TestHelmSources(t *testing.T) {
	const program = "helm"
	helmHome(t)
	ns := namespace(t, "chart-sources", restricted)
	install := func(t *testing.T, values string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		helm(t, program, "install", "policy", chartDir, "-n", ns, "-f", chartDir+"/ci/minimal-values.yaml", "-f", file, "--wait", "--timeout", "5m")
		at := "http://" + clusterIP(t, ns, "policy-carla-rl-serving")
		reached(t, at)
		body := expect(t, 200, "POST", at+"/predict", guideRequest)
		if !strings.Contains(body, `"version":"v0.3.0"`) {
			t.Errorf("the policy is not the one that was given: %s", body)
		}
		helm(t, program, "uninstall", "policy", "-n", ns, "--wait")
	}
	// The demo policy by another version, so that it is not taken for the image's.
	dir := filepath.Join(t.TempDir(), "policy")
	if err := os.CopyFS(dir, os.DirFS("../internal/demo/artifact")); err != nil {
		t.Fatal(err)
	}
	card := strings.ReplaceAll(readText(t, dir+"/model_card.yaml"), "version: v0.1.0", "version: v0.3.0")
	if err := os.WriteFile(dir+"/model_card.yaml", []byte(card), 0o644); err != nil {
		t.Fatal(err)
	}

	t.Run("persistence", func(t *testing.T) {
		apply(t, "", `{apiVersion: v1, kind: PersistentVolume, metadata: {name: policies}, spec: {capacity: {storage: 1Gi},
  accessModes: [ReadWriteMany], persistentVolumeReclaimPolicy: Retain, hostPath: {path: `+filepath.Dir(dir)+`}}}`)
		t.Cleanup(func() { kubectl(t, "delete", "persistentvolume", "policies", "--wait=false") })
		install(t, "{artifacts: {source: persistence}, persistence: {storageClass: '-', volumeName: policies, subPath: policy}}")
	})
	t.Run("oci", func(t *testing.T) {
		tag(t, t.TempDir(), "FROM scratch\nCOPY . /models\n", "your-registry/chart-policy:v0.3.0", dir)
		install(t, "{artifacts: {source: oci, oci: {reference: 'your-registry/chart-policy:v0.3.0'}}}")
	})
	t.Run("init", func(t *testing.T) {
		// The node's own address: a pod does not reach its loopback.
		listener, err := net.Listen("tcp", nodeAddress(t)+":0")
		if err != nil {
			t.Fatal(err)
		}
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.FileServer(http.Dir(dir))}}
		server.Start()
		t.Cleanup(server.Close)
		install(t, `
artifacts:
  source: init
  init:
    image: busybox:latest
    command: [sh, -ec, 'cd "$ARTIFACT_DIR"; for f in model_card.yaml model.pt preprocessor.pkl; do wget -q "$FROM/$f"; done']
    env: [{name: FROM, value: "`+server.URL+`"}]
`)
	})
}

// nodeAddress is the address of the cluster's one node.
func nodeAddress(t *testing.T) string {
	t.Helper()
	return kubectl(t, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
}

func readText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
