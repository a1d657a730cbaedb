package doctor_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/doctor"
)

// traps are changes of testdata/good.yaml, in which no check finds anything:
// what is replaced, by what, and what the check then says. Where want is empty,
// the change is no trap.
var traps = []struct {
	check string
	edits []string
	want  string
}{
	{"request-width", []string{"input_shape: [7]", "input_shape: [5]", "    observation: [{name: speed}, {name: steering}, {name: sensors, shape: [5]}]\n", ""}, "warning: input_shape is [5], and the guide's request has 7 numbers"},
	{"request-width", []string{"input_shape: [7]", "input_shape: [5]"}, ""}, // The card names its features.
	{"artifact-files", []string{"  model.pt: bW9kZWw=\n", ""}, "error: model.pt: missing"},
	{"artifact-files", []string{"model_type: pytorch", "model_tipe: pytorch"}, "error: model_card.yaml:3: model_tipe: invalid card: unknown key, did you mean model_type?"},
	{"artifact-files", []string{"  model.pt: bW9kZWw=\n", "", "mountPath: /app/artifacts,", "mountPath: /app/card,"}, ""}, // The policy comes from elsewhere.
	{"probes", []string{"/readyz", "/healthz"}, "error: /healthz answers 200 also without a policy"},
	{"probes", []string{"        readinessProbe: {httpGet: {path: /readyz, port: http}}\n", ""}, "error: there is no readiness probe"},
	{"probes", []string{"readinessProbe: {httpGet: {path: /readyz, port: http}}", "readinessProbe: {tcpSocket: {port: 8080}}"}, "error: an open port does not mean"},
	{"probes", []string{"/livez", "/readyz"}, "error: /readyz fails while a policy is missing"},
	{"probes", []string{"/startupz", "/readyz"}, "warning: /readyz never passes while a file is missing"},
	{"probes", []string{"/livez", "/health"}, "error: /health is no route"},
	{"probes", []string{"/livez", "/healthz"}, ""},
	{"no-shell", []string{"        volumeMounts:", "        lifecycle: {preStop: {exec: {command: [sh, -c, sleep 5]}}}\n        volumeMounts:"}, "error: it runs sh"},
	{"no-shell", []string{"image: example.com/carla-rl-serving:v1.2.3", "image: example.com/carla-rl-serving:v1.2.3\n        command: [uvicorn, main]"}, "error: it runs uvicorn"},
	{"no-shell", []string{"{httpGet: {path: /livez, port: http}}", "{exec: {command: [/usr/local/bin/carla-rl, version]}}"}, ""},
	{"warm-up", []string{"image: example.com/wait:v1", "image: example.com/wait:v1\n        args: [curl, -X, POST, http://serving/warmup]"}, "note: it asks for /warmup"},
	{"warm-up", []string{"image: example.com/wait:v1", "image: example.com/wait:v1\n        args: [curl, http://serving/readyz]"}, ""},
	{"allowed-hosts", []string{"localhost,api.example.com,serving,serving.driving,*.svc,*.cluster.local", "localhost,api.example.com"}, "warning: it has no name of the Service"},
	{"allowed-hosts", []string{"localhost,api", "api"}, "note: localhost is not in it"},
	{"allowed-hosts", []string{"api.example.com,serving", "serving"}, "error: api.example.com, under which the outside calls"},
	{"allowed-hosts", []string{"localhost,api.example.com,serving,serving.driving,*.svc,*.cluster.local", "*"}, ""},
	{"hashes", []string{"sha256:", "sha256:0"}, "error: model_card.yaml:6: artifact_hashes[\"model.pt\"]"},
	{"hashes", []string{"model.pt: bW9kZWw=", "model.pt: bW9kZWxs"}, "error: model.pt"},
	{"hashes", []string{"sha256:", ""}, ""}, // Bare digests are read too.
	{"metric-names", []string{"rate(http_requests_total[5m]))\"", "rate(http_request_total[5m]))\""}, "error: there is no metric http_request_total"},
	{"metric-names", []string{`status=~"5.."`, `status_code=~"5.."`}, "error: http_requests_total has no label status_code"},
	{"metric-names", []string{"sum by (endpoint) (rate(http_requests_total[5m]))", "sum by (pod) (rate(container_cpu_usage_seconds_total[5m]))"}, ""},
	{"endpoint-label", []string{`endpoint="/predict"`, `endpoint="/v1/models/highway/predict"`}, `error: no request is counted under endpoint "/v1/models/highway/predict"`},
	{"endpoint-label", []string{`endpoint="/predict"`, `endpoint!="other"`}, ""},
	{"error-ratio", []string{"sum(rate(http_requests_total{endpoint=\"/predict\",status=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))", "rate(http_requests_total{status=~\"5..\"}[5m]) / rate(http_requests_total[5m])"}, "error: it divides a rate by a rate"},
	{"error-ratio", []string{"sum(rate(http_requests_total{endpoint=\"/predict\",status=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))", "sum(rate(http_requests_total[5m])) by (pod) / on (pod) (sum by (pod) (rate(http_requests_total[5m])))"}, ""},
	{"quantile", []string{"histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))", "histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m]))"}, "warning: the quantile is taken of each series"},
	{"quantile", []string{"[5m]))) > 0.01", "[5m]))) > 0.02"}, "note: 0.02 is between two bounds"},
	{"quantile", []string{"[5m]))) > 0.01", "[5m]))) > 0.1"}, ""},
	{"rewrite-target", []string{"metadata: {name: serving, namespace: driving}\nspec:\n  ingressClassName: traefik", "metadata: {name: serving, namespace: driving, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /}}\nspec:\n  ingressClassName: traefik"}, "error: every path becomes /"},
	{"rewrite-target", []string{"metadata: {name: serving, namespace: driving}\nspec:\n  ingressClassName: traefik", "metadata: {name: serving, namespace: driving, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /$1}}\nspec:\n  ingressClassName: traefik"}, ""},
	{"ingress-nginx", []string{"ingressClassName: traefik", "ingressClassName: nginx"}, "warning: it is made for ingress-nginx"},
	{"ingress-nginx", []string{"ingressClassName: traefik", "ingressClassName: nginx", "kind: Ingress\n", "kind: Ingress\n", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cluster", "kind: HTTPRoute\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cluster"}, "note: it is made for ingress-nginx"},
	{"ingress-nginx", []string{"ingressClassName: traefik", "ingressClassName: haproxy"}, ""},
	{"pod-security-policy", []string{"apiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler", "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy"}, "error: no cluster from 1.25 on"},
	{"pod-security-policy", []string{"restricted", "baseline"}, ""},
	{"pod-security", []string{"labels: {pod-security.kubernetes.io/enforce: restricted}", "labels: {}"}, "warning: the namespace enforces no level"},
	{"pod-security", []string{", seccompProfile: {type: RuntimeDefault}", ""}, "error: the restricted profile asks for seccompProfile.type: RuntimeDefault"},
	{"pod-security", []string{"runAsNonRoot: true, ", ""}, "error: the restricted profile asks for runAsNonRoot: true"},
	{"pod-security", []string{"seccompProfile: {type: RuntimeDefault}", "seccompProfile: {type: Localhost}"}, ""},
	{"hpa-and-vpa", []string{`updateMode: "Off"`, "updateMode: Auto"}, "error: it is Auto, and serving scales the same pods on cpu and memory"},
	{"hpa-and-vpa", []string{`updatePolicy: {updateMode: "Off"}`, "resourcePolicy: {}"}, "error: it is Auto, the default"},
	{"hpa-and-vpa", []string{`updateMode: "Off"`, "updateMode: Auto", "metrics: [{type: Resource, resource: {name: cpu}}, {type: Resource, resource: {name: memory}}]", "metrics: [{type: Pods, pods: {metric: {name: x}}}]"}, ""},
	{"quota", []string{"maxReplicas: 5", "maxReplicas: 10"}, `error: limits.cpu is 12, a pod of serving takes 2: 6 pods fit, and serving maxReplicas is 10 with maxSurge 1 in a rollout`},
	{"quota", []string{"maxReplicas: 5", "maxReplicas: 6"}, "warning: limits.cpu is 12"},
	{"quota", []string{"maxReplicas: 5", "maxReplicas: 6", "maxUnavailable: 0", "maxUnavailable: 1"}, "note: limits.cpu is 12"},
	{"quota", []string{"maxReplicas: 5", "maxReplicas: 6", "strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}", "strategy: {type: Recreate}"}, ""},
	{"network-policy", []string{"kubernetes.io/metadata.name: monitoring", "kubernetes.io/metadata.name: ingress"}, "error: no rule admits Prometheus"},
	{"network-policy", []string{"kubernetes.io/metadata.name: monitoring", "name: monitoring"}, "warning: it selects the namespace by the label name: monitoring"},
	{"network-policy", []string{"  - ports: [{protocol: TCP, port: 4317, endPort: 4318}]\n", ""}, "note: traces are on, and no rule lets them out to port 4318"},
	{"network-policy", []string{"  - ports: [{protocol: TCP, port: 4317, endPort: 4318}]\n", "", "- {name: GOMEMLIMIT,", "- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: http://otel:4000}\n        - {name: GOMEMLIMIT,"}, "warning: traces are on, and no rule lets them out to port 4000"},
	{"network-policy", []string{"- {name: GOMEMLIMIT,", "- {name: DATABASE_URL, value: postgres://db:6000/x}\n        - {name: GOMEMLIMIT,"}, "note: DATABASE_URL is set, and no rule lets the server out to port 6000"},
	{"network-policy", []string{"  - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]\n", ""}, "warning: no rule lets the server ask for names"},
	{"network-policy", []string{"ports: [{port: http}]", "ports: [{port: 9999}]"}, "error: no rule admits Prometheus"},
	{"network-policy", []string{"  ingress:\n  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]\n", "  ingress:\n  - from: []\n"}, ""},
	{"scraped-twice", []string{`matchLabels: {scrape: "true"}`, "matchLabels: {app: serving}"}, "error: it selects serving and headless, which send to the same pods"},
	{"scraped-twice", []string{"endpoints: [{port: http, path: /metrics}]", "endpoints: [{port: http}, {port: metrics}]"}, "warning: it has 2 endpoints"},
	{"scraped-twice", []string{"labels: {app: serving}\n    spec:", "labels: {app: serving}\n      annotations: {prometheus.io/scrape: \"true\", prometheus.io/port: \"8080\"}\n    spec:"}, "note: there are a ServiceMonitor and the annotation"},
	{"scraped-twice", []string{`matchLabels: {scrape: "true"}`, "matchLabels: {app: serving}", "port: http, path: /metrics", "port: metrics"}, ""}, // The headless Service has no such port.
	{"dashboard", []string{`{"title": "Driving", `, `{"dashboard": {"title": "Driving", `, "}]}]}", "}]}]}}"}, `error: the dashboard is wrapped in {"dashboard": ...}`},
	{"dashboard", []string{"timeseries", "graph"}, "error: its type is graph"},
	{"dashboard", []string{"]}]}", "]}]"}, "error: it is not JSON"},
	{"dashboard", []string{`"uid": "driving", `, ""}, "note: it has no uid"},
	{"dashboard", []string{"timeseries", "heatmap"}, ""},
	{"config-file", []string{"port: 8080}\n    model", "prot: 8080}\n    model"}, "error: config.yaml:1: server.prot: unknown key"},
	{"config-file", []string{"mountPath: /app/config", "mountPath: /etc/config"}, "warning: no server reads it"},
	{"config-file", []string{"mountPath: /app/config", "mountPath: /etc/config", "- {name: WORKERS,", "- {name: CONFIG_FILE, value: /etc/config/x.yaml}\n        - {name: WORKERS,"}, "error: /etc/config/x.yaml is in no ConfigMap"},
	{"config-file", []string{"mountPath: /app/config", "mountPath: /etc/config", "- {name: WORKERS,", "- {name: CONFIG_FILE, value: /etc/config/config.yaml}\n        - {name: WORKERS,"}, ""},
	{"environment", []string{`{name: WORKERS, value: "2"}`, "{name: WORKERS, value: many}"}, "error: environment: wrong"},
	{"environment", []string{"{name: WORKERS,", "{name: WORKRES, value: \"2\"}\n        - {name: WORKERS,"}, "warning: no such variable is read; WORKERS may be meant"},
	{"environment", []string{"{name: WORKERS,", "{name: SERVER_PORT, value: \"1\"}\n        - {name: WORKERS,"}, "warning: no such variable is read; PORT may be meant"},
	{"environment", []string{"{name: WORKERS,", "{name: MODEL_MAX_BATCH_SIZE, value: \"1\"}\n        - {name: WORKERS,"}, "warning: no such variable is read"},
	{"environment", []string{"{name: WORKERS,", "{name: USE_GPU, value: \"1\"}\n        - {name: WORKERS,", "carla-rl-serving:v1.2.3", "carla-rl-serving:ort"}, ""},
	{"idle-settings", []string{"model: {version: v0.1.0}", "model: {version: v0.1.0}\n    optimization: {enable_mkl: true}"}, "note: optimization.enable_mkl has no effect"},
	{"idle-settings", []string{"{name: WORKERS,", "{name: CARLA_RL_ENABLE_JIT, value: x}\n        - {name: WORKERS,"}, "note: CARLA_RL_ENABLE_JIT has no effect"},
	{"idle-settings", []string{"{name: WORKERS,", "{name: LOG_LEVEL, value: debug}\n        - {name: WORKERS,"}, ""},
	{"artifact-mount", []string{"mountPath: /app/artifacts, readOnly: true", "mountPath: /app/artifacts"}, "note: the artifacts are mounted so that"},
	{"artifact-mount", []string{"mountPath: /app/logs", "mountPath: /app/tmp"}, ""},
	{"model-version", []string{"version: v0.1.0\n    model_type", "version: v0.2.0\n    model_type"}, "error: MODEL_VERSION is v0.1.0, and the card in artifacts says version v0.2.0"},
	{"model-version", []string{"{name: MODEL_VERSION, value: v0.1.0}", "{name: MODEL_VERSION, value: latest}", "version: v0.1.0\n    model_type", "version: v0.2.0\n    model_type"}, ""},
	{"contract", []string{"    action: [{name: steer, low: -1, high: 1}]\n", ""}, "note: the card does not name the features"},
	{"contract", []string{"    postprocess: clip\n", ""}, "note: actions have bounds"},
	{"contract", []string{"postprocess: clip", "postprocess: unscale"}, ""},
	{"unhashed", []string{", preprocessor.pkl: \"", ", other.pkl: \""}, ""}, // The artifact is refused: other.pkl is missing.
	{"unhashed", []string{"    artifact_hashes:", "    description: x\n    performance_metrics: {}\n    x-hashes:"}, "note: model.pt has no digest"},
	{"workers", []string{`{name: WORKERS, value: "2"}`, `{name: WORKERS, value: "8"}`}, "warning: WORKERS is 8 and the CPU limit 2"},
	{"workers", []string{"{name: WORKERS,", "{name: WEB_CONCURRENCY, value: \"2\"}\n        - {name: WORKERS,"}, "note: WEB_CONCURRENCY is of the Python server"},
	{"workers", []string{`{name: WORKERS, value: "2"}`, `{name: WORKERS, value: "1"}`, "cpu: 2000m", "cpu: 500m"}, ""}, // The limit, rounded up.
	{"workers", []string{`        - {name: WORKERS, value: "2"}` + "\n", ""}, ""},
	{"memory-limit", []string{"        - {name: GOMEMLIMIT, value: 900MiB}\n", ""}, "warning: limits.memory is 1Gi and GOMEMLIMIT is not set, while serving scales on memory"},
	{"memory-limit", []string{"        - {name: GOMEMLIMIT, value: 900MiB}\n", "", ", {type: Resource, resource: {name: memory}}", ""}, ""},
	{"memory-limit", []string{"900MiB", "900Mi"}, `error: "900Mi" is no size that the Go runtime reads`},
	{"memory-limit", []string{"900MiB", "1GiB"}, "warning: 1GiB is all of the limit of 1Gi"},
	{"memory-limit", []string{"900MiB", "off"}, ""},
	{"memory-lock", []string{"{name: WORKERS,", "{name: CARLA_RL_ENABLE_MEMORY_PINNING, value: \"true\"}\n        - {name: WORKERS,"}, "note: optimization.enable_memory_pinning is on, and how much a container may lock"},
	{"memory-lock", []string{"model: {version: v0.1.0}", "model: {version: v0.1.0}\n    optimization: {enable_memory_pinning: true}"}, "note: optimization.enable_memory_pinning is on"},
	{"memory-lock", []string{"model: {version: v0.1.0}", "model: {version: v0.1.0}\n    optimization: {enable_memory_pinning: false}"}, ""},
	{"frozen-registry", []string{"registry.k8s.io/", "k8s.gcr.io/"}, "error: k8s.gcr.io/autoscaling/cluster-autoscaler:v1.33.0 comes from a frozen registry"},
	{"frozen-registry", []string{"registry.k8s.io/", "ghcr.io/"}, ""},
	{"cluster-autoscaler", []string{"      serviceAccountName: cluster-autoscaler\n", ""}, "error: it runs as the account default"},
	{"cluster-autoscaler", []string{"v1.33.0", "v1.21.0"}, "warning: v1.21.0 is made for Kubernetes 1.21"},
	{"cluster-autoscaler", []string{"v1.33.0", "v1.33.0\n        args: [--x=your-cluster-name]"}, "warning: your-cluster-name is a placeholder"},
	{"cluster-autoscaler", []string{"v1.33.0", "v1.34.2"}, ""},
	{"rbac", []string{"rules: []", `rules: [{apiGroups: [""], resources: [configmaps, secrets], verbs: [get]}]`}, "warning: it lets the server read every secret of the namespace"},
	{"rbac", []string{"rules: []", `rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]`}, "warning: it gives the server rights"},
	{"rbac", []string{"automountServiceAccountToken: false\n", ""}, "note: the pod has a token"},
	{"rbac", []string{"automountServiceAccountToken: false\n", "", "      serviceAccountName: serving", "      automountServiceAccountToken: false\n      serviceAccountName: serving"}, ""},
	{"image-tag", []string{":v1.2.3", ":latest"}, "note: the image is example.com/carla-rl-serving:latest"},
	{"image-tag", []string{":v1.2.3", "\n        imagePullPolicy: Always"}, "note: the image is example.com/carla-rl-serving, whose content changes, and it is pulled"},
	{"image-tag", []string{":v1.2.3", "@sha256:0123"}, ""},
	{"ports", []string{"path: /livez, port: http", "path: /livez, port: 9000"}, "error: it asks port 9000, and the server listens on 8080"},
	{"ports", []string{"targetPort: 8080", "targetPort: 9090"}, "error: it is 9090, and /metrics is on 8080"},
	{"ports", []string{"{enable_tracing: true}", "{enable_tracing: true, metrics_port: 9090}"}, "error: it is 8080, and /metrics is on 9090"},
	{"ports", []string{"labels: {app: serving}\n    spec:", "labels: {app: serving}\n      annotations: {prometheus.io/scrape: \"true\"}\n    spec:"}, "error: it names port none, and /metrics is on 8080"},
	{"ports", []string{"targetPort: http", "targetPort: 8080"}, ""},
	{"secrets", []string{"api-key: c2VjcmV0", "api-key: cmVwbGFjZS10aGlzLWFwaS1rZXk="}, "error: its value is the example's"},
	{"secrets", []string{"api-key: c2VjcmV0", "api-key: <base64-encoded-api-key>"}, "error: its value is not base64"},
	{"secrets", []string{"items: [{key: api-key,", "items: [{key: other,"}, "error: no pod consumes it: the server asks nobody for a key"},
	{"secrets", []string{"other: c2VjcmV0", "other: c2VjcmV0, database-url: eA=="}, "note: no pod consumes it: no experience is recorded"},
	{"secrets", []string{"other: c2VjcmV0", "other: c2VjcmV0, third: eA=="}, "warning: no pod consumes it"},
	{"secrets", []string{", items: [{key: api-key, path: api-key}]", ""}, ""},
	{"quota-requests", []string{"limits: {cpu: 10m, memory: 16Mi}}", "limits: {cpu: 10m}}"}, "error: quota asks for limits.memory"},
	{"quota-requests", []string{"limits: {cpu: 10m, memory: 16Mi}}", "limits: {cpu: 10m}}", "kind: ServiceAccount\n", "kind: LimitRange\nmetadata: {name: l, namespace: driving}\nspec: {limits: [{default: {memory: 64Mi}}]}\n---\nkind: ServiceAccount\n"}, ""},
	{"quota-requests", []string{"limits.memory: 6Gi}", "limits.memory: 6Gi, limits.ephemeral-storage: 1Gi}"}, ""}, // It counts as nothing.
	{"api-versions", []string{"autoscaling/v2", "autoscaling/v2beta2"}, "error: autoscaling/v2beta2 is gone since 1.26"},
	{"api-versions", []string{"labels: {pod-security.kubernetes.io/enforce: restricted}", "labels: {}"}, "note: these objects need Kubernetes 1.23 or newer"},
	{"api-versions", []string{"labels: {pod-security.kubernetes.io/enforce: restricted}", "labels: {}", "autoscaling/v2", "autoscaling/v1"}, ""},
	{"ephemeral-storage", []string{"- {name: WORKERS,", "- {name: LOG_FILE, value: /app/logs/a.log}\n        - {name: CARLA_RL_LOG_FILE_MAX_SIZE, value: 500MiB}\n        - {name: WORKERS,"}, "warning: log files may take 2.93Gi, and the size limit of volume logs is 1Gi"},
	{"ephemeral-storage", []string{"- {name: WORKERS,", "- {name: LOG_FILE, value: /app/logs/a.log}\n        - {name: WORKERS,"}, ""},
	{"drain", []string{"        - {name: CARLA_RL_DRAIN_DELAY, value: 5s}\n", ""}, "error: the server closes its port as soon as"},
	{"drain", []string{"      terminationGracePeriodSeconds: 45\n", ""}, "warning: it is 30s, and the server may take 30s to stop"},
	{"drain", []string{"        volumeMounts:", "        lifecycle: {preStop: {sleep: {seconds: 5}}}\n        volumeMounts:"}, "note: preStop.sleep needs Kubernetes 1.30"},
	{"drain", []string{"value: 5s", "value: 40s"}, "error: the whole stop may take 30s, and server.drain_delay alone is 40s"},
	{"drain", []string{"terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 60"}, ""},
}

func TestTraps(t *testing.T) {
	base, s := good(t), server()
	for _, c := range traps {
		findings := doctor.Examine(doctor.Input{Objects: decode(t, edit(t, base, c.edits...)), Server: s})
		got := found(findings, c.check)
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%s, %q: %q", c.check, c.edits, got)
		case c.want != "" && !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, c.want) }):
			t.Errorf("%s, %q: %q, want %q", c.check, c.edits, got, c.want)
		}
	}
}

// TestConfigMapSize has a ConfigMap of more than 1 MiB, and one of just less.
func TestConfigMapSize(t *testing.T) {
	f := func(n int, want string) {
		t.Helper()
		text := "kind: ConfigMap\nmetadata: {name: m}\nbinaryData: {m: " + base64.StdEncoding.EncodeToString(make([]byte, n)) + "}\n"
		got := found(doctor.Examine(doctor.Input{Objects: decode(t, text), Server: server()}), "configmap-size")
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	f(1<<20, "error: it holds 1048577 bytes")
	f(1<<20-1, "note: it holds 1048576 bytes")
	text := "kind: ConfigMap\nmetadata: {name: m}\ndata: {m: x}\n"
	if got := found(doctor.Examine(doctor.Input{Objects: decode(t, text), Server: server()}), "configmap-size"); got != nil {
		t.Errorf("%q", got)
	}
}

// TestEveryCheckIsTested holds that each check has a trap and a deployment
// that is none.
func TestEveryCheckIsTested(t *testing.T) {
	for _, name := range doctor.Checks() {
		if name == "configmap-size" {
			continue // It has a test of its own.
		}
		trap, none := false, false
		for _, c := range traps {
			if c.check == name {
				trap = trap || c.want != ""
				none = none || c.want == ""
			}
		}
		if !trap || !none {
			t.Errorf("%s: a trap is tested: %v; what is none: %v", name, trap, none)
		}
	}
}
