package deploy_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

// podSpec returns the specification of the pods that an object makes, or nil.
func podSpec(o object) object {
	switch o.kind() {
	case "Deployment":
		return o.child("spec", "template", "spec")
	case "Pod":
		return o.child("spec")
	}
	return nil
}

// patchFiles are the patches that bring containers of their own.
var patchFiles = []string{"k8s/components/policy-from-init-container/patch.yaml"}

// TestPodsAreRestricted holds every pod to what the Pod Security level
// "restricted" asks for, and to a read-only root and no token besides.
func TestPodsAreRestricted(t *testing.T) {
	pods := 0
	for _, file := range manifests(t) {
		for _, o := range objects(t, file) {
			spec := podSpec(o)
			if spec == nil {
				continue
			}
			pods++
			where := filepath.ToSlash(file) + ": " + o.name()
			if spec.get("securityContext", "runAsNonRoot") != true {
				t.Errorf("%s may run as root", where)
			}
			if spec.text("securityContext", "seccompProfile", "type") != "RuntimeDefault" {
				t.Errorf("%s has no seccomp profile", where)
			}
			for _, key := range []string{"hostNetwork", "hostPID", "hostIPC"} {
				if spec[key] != nil {
					t.Errorf("%s sets %s", where, key)
				}
			}
			for _, v := range spec.list("volumes") {
				if v["hostPath"] != nil {
					t.Errorf("%s mounts a folder of the node", where)
				}
			}
			if o.name() != "cluster-autoscaler" {
				for _, key := range []string{"runAsUser", "runAsGroup", "fsGroup"} {
					if spec.get("securityContext", key) != 1000 {
						t.Errorf("%s: %s is %v", where, key, spec.get("securityContext", key))
					}
				}
				if spec["automountServiceAccountToken"] != false {
					t.Errorf("%s gets a token of the cluster", where)
				}
			}
			containers(t, where, append(spec.list("initContainers"), spec.list("containers")...))
		}
	}
	for _, file := range patchFiles {
		for _, o := range objects(t, filepath.FromSlash(file)) {
			containers(t, file, podSpec(o).list("initContainers"))
			pods++
		}
	}
	// base/objects.yaml and the overlay of the quick start repeat two of them.
	const want = 7
	if pods != want {
		t.Errorf("%d pods were looked at, want %d", pods, want)
	}
}

// containers holds each container to "restricted" and to having requests and
// limits, without which the quota refuses it.
func containers(t *testing.T, where string, all []object) {
	t.Helper()
	if len(all) == 0 {
		t.Errorf("%s has no container", where)
	}
	for _, c := range all {
		at := where + "/" + c.text("name")
		if c.get("securityContext", "allowPrivilegeEscalation") != false {
			t.Errorf("%s may gain privileges", at)
		}
		if c.get("securityContext", "readOnlyRootFilesystem") != true {
			t.Errorf("%s may write to its root", at)
		}
		if drop := c.strings("securityContext", "capabilities", "drop"); !slices.Equal(drop, []string{"ALL"}) {
			t.Errorf("%s drops the capabilities %v", at, drop)
		}
		if c.get("securityContext", "capabilities", "add") != nil || c.get("securityContext", "privileged") != nil {
			t.Errorf("%s asks for privileges", at)
		}
		for _, side := range []string{"requests", "limits"} {
			for _, resource := range []string{"cpu", "memory"} {
				if c.text("resources", side, resource) == "" {
					t.Errorf("%s has no %s of %s", at, side, resource)
				}
			}
		}
	}
}

// TestServerPods holds both Deployments to what a rollout without a lost request
// needs, and to the names that the guide fixes.
func TestServerPods(t *testing.T) {
	defaults := config.Default()
	for _, file := range []string{"deployment.yaml", "production-deployment.yaml"} {
		o := one(t, file, "Deployment", "model-serving")
		spec := podSpec(o)
		c := container(t, o)
		if c.text("name") != "model-serving" || c.text("image") != "your-registry/carla-rl-serving:latest" {
			t.Errorf("%s: container %s of %s", file, c.text("name"), c.text("image"))
		}
		for probe, path := range map[string]string{"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"} {
			if got, port := c.text(probe, "httpGet", "path"), c.text(probe, "httpGet", "port"); got != path || port != "http" {
				t.Errorf("%s: %s asks %s on %s, want %s on http", file, probe, got, port, path)
			}
		}
		if c["lifecycle"] != nil {
			t.Errorf("%s: the image has no shell for a hook", file)
		}
		if o.get("spec", "strategy", "rollingUpdate", "maxUnavailable") != 0 {
			t.Errorf("%s: a rollout may take a pod away before another is ready", file)
		}

		// The pod goes on serving for the delay, which is longer than the
		// cluster takes to learn that it leaves; the kubelet then waits longer
		// than the server does.
		delay, err := time.ParseDuration(env(c, "CARLA_RL_DRAIN_DELAY"))
		if err != nil || delay < 3*time.Second {
			t.Errorf("%s: drain delay %v, %v", file, delay, err)
		}
		probesNotice(t, file, c.child("readinessProbe"), delay)
		grace, _ := spec["terminationGracePeriodSeconds"].(int)
		if need := delay + defaults.Server.DrainTimeout; time.Duration(grace)*time.Second < need+5*time.Second {
			t.Errorf("%s: %d s of grace, the server may take %v", file, grace, need)
		}

		if !selects(o.child("spec", "selector", "matchLabels"), o.child("spec", "template", "metadata", "labels")) {
			t.Errorf("%s: the selector does not select its pods", file)
		}
		for key, want := range map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/path": "/metrics"} {
			if got := o.child("spec", "template", "metadata", "annotations").text(key); got != want {
				t.Errorf("%s: annotation %s is %q", file, key, got)
			}
		}
		mounts := map[string]bool{}
		for _, v := range spec.list("volumes") {
			mounts[v.text("name")] = true
		}
		for _, m := range c.list("volumeMounts") {
			if !mounts[m.text("name")] {
				t.Errorf("%s mounts %s, which is no volume", file, m.text("name"))
			}
			if writable := m["readOnly"] != true; writable != (m.text("mountPath") == "/app/logs") {
				t.Errorf("%s: %s is writable: %v", file, m.text("mountPath"), writable)
			}
		}
	}
}

// probesNotice holds a readiness probe to finding that a pod stops while it still
// serves: the drain delay is longer than the probes that it takes.
func probesNotice(t *testing.T, where string, probe object, delay time.Duration) {
	t.Helper()
	period, _ := probe["periodSeconds"].(int)
	threshold, _ := probe["failureThreshold"].(int)
	if found := time.Duration(period*threshold) * time.Second; found <= 0 || delay <= found {
		t.Errorf("%s: a readiness probe needs %v to find that the pod stops, and the drain delay is %v", where, found, delay)
	}
}

// TestChartProbes holds the values of the chart to the same.
func TestChartProbes(t *testing.T) {
	const file = "../charts/carla-rl-serving/values.yaml"
	values := objects(t, filepath.FromSlash(file))[0]
	delay, err := time.ParseDuration(values.text("drainDelay"))
	if err != nil {
		t.Fatal(err)
	}
	probesNotice(t, file, values.child("readinessProbe"), delay)
}

// TestVariablesAreKnown holds the variables of the Deployments to the ones that
// the server reads, and lets the server itself check their values together with
// the configuration file.
func TestVariablesAreKnown(t *testing.T) {
	known := map[string]bool{"GOMEMLIMIT": true}
	for _, r := range config.Reference() {
		known[r.Env] = true
	}
	for _, file := range []string{"deployment.yaml", "production-deployment.yaml"} {
		for _, e := range container(t, one(t, file, "Deployment", "model-serving")).list("env") {
			if !known[e.text("name")] {
				t.Errorf("%s sets %s, which nothing reads", file, e.text("name"))
			}
		}
	}
	patch := objects(t, "k8s/components/policy-from-image-volume/patch.yaml")[0]
	if env(container(t, patch), "ARTIFACT_DIR") != "/app/artifacts/models" {
		t.Error("the image volume is looked for elsewhere")
	}
}

// TestConfigurationFile lets the server read config.yaml with the environment of
// the Deployment.
func TestConfigurationFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, one(t, "configmap-config.yaml", "ConfigMap", "model-serving-config").text("data", "config.yaml"))
	key := filepath.Join(t.TempDir(), "api-key")
	write(t, key, "a-key-for-this-test\n")
	var environ []string
	for _, e := range container(t, one(t, "production-deployment.yaml", "Deployment", "model-serving")).list("env") {
		value := e.text("value")
		if e.text("name") == "API_KEY_FILE" {
			value = key
		}
		environ = append(environ, e.text("name")+"="+value)
	}
	c, _, err := config.Load(config.Options{File: file, Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	if c.Server.Host != "0.0.0.0" || c.Server.Workers != 2 || c.Model.Version != "v0.1.0" || c.Server.DrainDelay != 5*time.Second || c.Monitoring.MetricsPort != 8080 {
		t.Errorf("read %+v", c)
	}

	// The names of the Services are among those that are answered under.
	for _, service := range []string{"model-serving-service", "model-serving-headless"} {
		one(t, "service.yaml", "Service", service)
		for _, name := range []string{"", ".carla-rl-serving", ".carla-rl-serving.svc", ".carla-rl-serving.svc.cluster.local"} {
			if !slices.Contains(c.Security.AllowedHosts, service+name) {
				t.Errorf("ALLOWED_HOSTS lacks %s", service+name)
			}
		}
	}
	for _, host := range one(t, "ingress.yaml", "Ingress", "model-serving-ingress").list("spec", "rules") {
		if !slices.Contains(c.Security.AllowedHosts, host.text("host")) {
			t.Errorf("ALLOWED_HOSTS lacks %s of the ingress", host.text("host"))
		}
	}
	for _, host := range c.Security.AllowedHosts {
		if strings.ContainsAny(host, " \n") {
			t.Errorf("ALLOWED_HOSTS has %q", host)
		}
	}
}
