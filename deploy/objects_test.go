package deploy_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestObjectsOfTheGuide looks for every object that the guide has, by the name
// that it has there.
func TestObjectsOfTheGuide(t *testing.T) {
	for _, want := range []struct{ file, kind, name string }{
		{"deployment.yaml", "Deployment", "model-serving"},
		{"deployment.yaml", "Service", "model-serving-service"},
		{"namespace.yaml", "Namespace", "carla-rl-serving"},
		{"namespace.yaml", "ResourceQuota", "carla-rl-serving-quota"},
		{"configmap.yaml", "ConfigMap", "model-serving-artifacts"},
		{"production-deployment.yaml", "Deployment", "model-serving"},
		{"service.yaml", "Service", "model-serving-service"},
		{"service.yaml", "Service", "model-serving-headless"},
		{"ingress.yaml", "Ingress", "model-serving-ingress"},
		{"serviceaccount.yaml", "ServiceAccount", "model-serving"},
		{"serviceaccount.yaml", "Role", "model-serving"},
		{"serviceaccount.yaml", "RoleBinding", "model-serving"},
		{"configmap-config.yaml", "ConfigMap", "model-serving-config"},
		{"secrets.yaml", "Secret", "model-serving-secrets"},
		{"servicemonitor.yaml", "ServiceMonitor", "model-serving"},
		{"hpa.yaml", "HorizontalPodAutoscaler", "model-serving-hpa"},
		{"vpa.yaml", "VerticalPodAutoscaler", "model-serving-vpa"},
		{"cluster-autoscaler.yaml", "Deployment", "cluster-autoscaler"},
		{"cluster-autoscaler.yaml", "ServiceAccount", "cluster-autoscaler"},
		{"network-policy.yaml", "NetworkPolicy", "model-serving-netpol"},
		{"rbac.yaml", "Role", "model-serving-operator"},
	} {
		one(t, want.file, want.kind, want.name)
	}
}

// TestNamespacesAndLabels holds every object to the labels by which it is found,
// and those of production to their namespace.
func TestNamespacesAndLabels(t *testing.T) {
	scraped := []string{}
	for _, file := range manifests(t) {
		base := filepath.Base(file)
		for _, o := range objects(t, file) {
			where := filepath.ToSlash(file) + ": " + o.kind() + " " + o.name()
			labels := o.child("metadata", "labels")
			if labels["carla-rl.io/scrape"] != nil {
				scraped = append(scraped, o.kind()+" "+o.name())
			}
			if base == "cluster-autoscaler.yaml" {
				if labels["app"] != "cluster-autoscaler" {
					t.Errorf("%s has the labels %v", where, labels)
				}
				continue
			}
			want := map[string]string{"app.kubernetes.io/name": "carla-rl-serving", "app.kubernetes.io/part-of": "carla-rl"}
			if o.kind() != "Namespace" && o.kind() != "Pod" {
				want["app"] = "model-serving"
			}
			for key, value := range want {
				if labels[key] != value {
					t.Errorf("%s: label %s is %v, want %s", where, key, labels[key], value)
				}
			}
			if o.kind() != "Namespace" && labels["app.kubernetes.io/component"] == nil {
				t.Errorf("%s has no label app.kubernetes.io/component", where)
			}
			namespace := "carla-rl-serving"
			if o.kind() == "Namespace" || base == "deployment.yaml" || strings.Contains(where, "k8s/components/") || strings.Contains(where, "k8s/examples/") {
				namespace = ""
			}
			if got := o.text("metadata", "namespace"); got != namespace {
				t.Errorf("%s is in namespace %q, want %q", where, got, namespace)
			}
		}
	}
	for _, s := range scraped {
		if s != "Service model-serving-service" {
			t.Errorf("%s has the label that says what is scraped", s)
		}
	}
	if len(scraped) == 0 {
		t.Error("no Service is scraped")
	}
}

// TestServicesLeadToPods holds selectors and ports together.
func TestServicesLeadToPods(t *testing.T) {
	services := map[string][]object{
		"deployment.yaml":            objects(t, "k8s/deployment.yaml")[1:],
		"production-deployment.yaml": objects(t, "k8s/service.yaml"),
	}
	for file, all := range services {
		d := one(t, file, "Deployment", "model-serving")
		labels := d.child("spec", "template", "metadata", "labels")
		port := container(t, d).list("ports")[0]
		for _, s := range all {
			if !selects(s.child("spec", "selector"), labels) {
				t.Errorf("%s of %s selects no pod", s.name(), file)
			}
			for _, p := range s.list("spec", "ports") {
				if p["targetPort"] != port["containerPort"] && p["targetPort"] != port["name"] {
					t.Errorf("%s of %s leads to port %v", s.name(), file, p["targetPort"])
				}
			}
		}
		ports := map[string]int{}
		for _, p := range all[0].list("spec", "ports") {
			ports[p.text("name")], _ = p["port"].(int)
		}
		if want := map[string]int{"http": 80, "metrics": 9090}; !reflect.DeepEqual(ports, want) {
			t.Errorf("%s has the ports %v, want %v", all[0].name(), ports, want)
		}
	}

	d := one(t, "production-deployment.yaml", "Deployment", "model-serving")
	labels := d.child("spec", "template", "metadata", "labels")
	if pdb := one(t, "pod-disruption-budget.yaml", "PodDisruptionBudget", "model-serving"); !selects(pdb.child("spec", "selector", "matchLabels"), labels) {
		t.Error("the disruption budget counts no pod")
	}

	// Prometheus finds each pod through exactly one Service.
	monitor := one(t, "servicemonitor.yaml", "ServiceMonitor", "model-serving")
	found := 0
	for _, s := range objects(t, "k8s/service.yaml") {
		if selects(monitor.child("spec", "selector", "matchLabels"), s.child("metadata", "labels")) {
			found++
			for _, e := range monitor.list("spec", "endpoints") {
				has := false
				for _, p := range s.list("spec", "ports") {
					has = has || p["name"] == e["port"]
				}
				if !has {
					t.Errorf("the ServiceMonitor scrapes port %v, which %s does not have", e["port"], s.name())
				}
			}
		}
		if s.child("metadata", "annotations")["prometheus.io/scrape"] != nil {
			t.Errorf("%s and its pods both ask to be scraped", s.name())
		}
	}
	if found != 1 || len(monitor.list("spec", "endpoints")) != 1 {
		t.Errorf("the ServiceMonitor scrapes %d Services by %d endpoints", found, len(monitor.list("spec", "endpoints")))
	}

	for _, target := range []object{
		one(t, "hpa.yaml", "HorizontalPodAutoscaler", "model-serving-hpa").child("spec", "scaleTargetRef"),
		one(t, "vpa.yaml", "VerticalPodAutoscaler", "model-serving-vpa").child("spec", "targetRef"),
	} {
		if target["kind"] != "Deployment" || target["name"] != d.name() || target["apiVersion"] != "apps/v1" {
			t.Errorf("an autoscaler watches %v", target)
		}
	}
}

// TestWaysIn holds the ingress and the route to the Service, and to passing on
// the path that was asked for.
func TestWaysIn(t *testing.T) {
	ingress := one(t, "ingress.yaml", "Ingress", "model-serving-ingress")
	for key := range ingress.child("metadata", "annotations") {
		if strings.Contains(key, "rewrite-target") {
			t.Errorf("%s makes every path one", key)
		}
	}
	rule := ingress.list("spec", "rules")[0]
	back := rule.list("http", "paths")[0].child("backend", "service")
	if back["name"] != "model-serving-service" || back.get("port", "number") != 80 {
		t.Errorf("the ingress leads to %v", back)
	}
	tls := ingress.list("spec", "tls")[0]
	if hosts := tls.strings("hosts"); len(hosts) != 1 || hosts[0] != rule.text("host") {
		t.Errorf("the certificate is for %v, the rule for %s", hosts, rule.text("host"))
	}
	route := one(t, "httproute.yaml", "HTTPRoute", "model-serving")
	if hosts := route.strings("spec", "hostnames"); len(hosts) != 1 || hosts[0] != rule.text("host") {
		t.Errorf("the route is for %v, the ingress for %s", hosts, rule.text("host"))
	}
	if back := route.list("spec", "rules")[0].list("backendRefs")[0]; back["name"] != "model-serving-service" || back["port"] != 80 {
		t.Errorf("the route leads to %v", back)
	}
}

// TestRights holds the server to no rights at all, and the people who look after
// it to none that lead further.
func TestRights(t *testing.T) {
	account := one(t, "serviceaccount.yaml", "ServiceAccount", "model-serving")
	if account["automountServiceAccountToken"] != false {
		t.Error("the server gets a token")
	}
	role := one(t, "serviceaccount.yaml", "Role", "model-serving")
	if rules, ok := role["rules"].([]any); !ok || len(rules) > 0 {
		t.Errorf("the server may do %v", role["rules"])
	}
	binding := one(t, "rbac.yaml", "RoleBinding", "model-serving-operator")
	for _, s := range binding.list("subjects") {
		if s.text("kind") == "ServiceAccount" {
			t.Errorf("%s has the rights of an operator", s.text("name"))
		}
	}
	readable := map[string]bool{}
	for _, rule := range one(t, "rbac.yaml", "Role", "model-serving-operator").list("rules") {
		for _, resource := range rule.strings("resources") {
			readable[resource] = readable[resource] || slices.Contains(rule.strings("verbs"), "get")
			if resource == "secrets" || resource == "pods/exec" || resource == "*" {
				t.Errorf("an operator has rights on %s", resource)
			}
		}
		for _, verb := range rule.strings("verbs") {
			switch {
			case verb == "get", verb == "list", verb == "watch":
			case verb == "create" && rule.strings("resources")[0] == "pods/portforward":
			case verb == "patch" && len(rule.strings("resourceNames")) == 1:
			default:
				t.Errorf("an operator may %s %v", verb, rule.strings("resources"))
			}
		}
	}
	for _, resource := range []string{
		"pods", "pods/log", "services", "endpoints", "configmaps", "events", "resourcequotas", "persistentvolumeclaims", "deployments", "replicasets",
		"endpointslices", "horizontalpodautoscalers", "verticalpodautoscalers", "poddisruptionbudgets", "ingresses", "httproutes", "networkpolicies",
	} {
		if !readable[resource] {
			t.Errorf("an operator may not look at %s", resource)
		}
	}
}

// TestSecretStandsForYours holds the Secret to values that apply as they are,
// that say what they are, and that no kustomization puts over real ones.
func TestSecretStandsForYours(t *testing.T) {
	secret := one(t, "secrets.yaml", "Secret", "model-serving-secrets")
	for key, part := range map[string]string{"api-key": "replace-this", "database-url": "example.com"} {
		value, err := base64.StdEncoding.DecodeString(secret.text("data", key))
		if err != nil || !strings.Contains(string(value), part) {
			t.Errorf("%s is %q, %v", key, value, err)
		}
	}
	for _, o := range objects(t, "k8s/base/objects.yaml") {
		if o.kind() == "Secret" || o.name() == "model-serving-artifacts" {
			t.Errorf("the base holds %s", o.name())
		}
	}
	d := one(t, "production-deployment.yaml", "Deployment", "model-serving")
	for _, v := range podSpec(d).list("volumes") {
		if v.text("name") == "secrets" && (v.text("secret", "secretName") != secret.name() || v.list("secret", "items")[0].text("key") != "api-key") {
			t.Errorf("the API key comes from %v", v)
		}
	}
	if env(container(t, d), "API_KEY_FILE") != "/app/secrets/api-key" {
		t.Error("the API key is not read from the Secret")
	}
}

// TestNamespaceIsRestricted holds both files of the namespace to the same object:
// applying one does not undo the other.
func TestNamespaceIsRestricted(t *testing.T) {
	a := one(t, "namespace.yaml", "Namespace", "carla-rl-serving")
	b := one(t, "pod-security.yaml", "Namespace", "carla-rl-serving")
	if !reflect.DeepEqual(a, b) {
		t.Errorf("namespace.yaml has %v, pod-security.yaml %v", a, b)
	}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		if level := a.child("metadata", "labels")["pod-security.kubernetes.io/"+mode]; level != "restricted" {
			t.Errorf("%s is %v", mode, level)
		}
	}
}

// TestConfigMapOfThePolicyFits holds the example to what a ConfigMap takes.
func TestConfigMapOfThePolicyFits(t *testing.T) {
	const most = 1 << 20 // of all values together
	files, err := filepath.Glob("k8s/examples/configmap/policy/*")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	listed, err := os.ReadFile("k8s/examples/configmap/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		sum += int(info.Size())
		if !strings.Contains(string(listed), "- policy/"+filepath.Base(file)+"\n") {
			t.Errorf("the example does not list %s", file)
		}
	}
	if sum > most {
		t.Errorf("%d bytes, a ConfigMap takes %d", sum, most)
	}
}
