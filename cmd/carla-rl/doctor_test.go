package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/doctor"
)

// examine runs the doctor on files as the command would.
func examine(t *testing.T, names ...string) []doctor.Finding {
	t.Helper()
	in := doctor.Input{Server: doctorServer()}
	for _, name := range names {
		objects, err := manifests(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		in.Objects = append(in.Objects, objects...)
	}
	if len(in.Objects) == 0 {
		t.Fatalf("%q hold no objects", names)
	}
	return doctor.Examine(in)
}

// TestDoctorOfTheGuide holds the findings in the deployment guide's own YAML,
// as it stands there, to exactly the traps that are in it.
func TestDoctorOfTheGuide(t *testing.T) {
	var got []string
	for _, f := range examine(t, "../../internal/doctor/testdata/guide") {
		file, _, _ := strings.Cut(filepath.Base(f.Where[:strings.Index(f.Where+" ", " ")]), ":")
		got = append(got, fmt.Sprintf("%s %s %s", f.Severity, f.Check, file))
	}
	want := []string{
		"warning request-width configmap.yaml",
		"error artifact-files configmap.yaml", // model.pt
		"error artifact-files configmap.yaml", // preprocessor.pkl
		"error probes production-deployment.yaml",
		"warning allowed-hosts production-deployment.yaml",
		"note allowed-hosts production-deployment.yaml", // port-forward
		"error hashes configmap.yaml",
		"error hashes configmap.yaml",
		"error error-ratio alerting-rules.yaml",
		"warning quantile alerting-rules.yaml",
		"warning quantile grafana-dashboard.yaml",
		"error rewrite-target ingress.yaml",
		"warning ingress-nginx ingress.yaml",
		"error pod-security-policy pod-security-policy.yaml",
		"warning pod-security namespace.yaml",
		"warning pod-security production-deployment.yaml",
		"error hpa-and-vpa vpa.yaml",
		"error quota namespace.yaml",                 // requests.cpu
		"error quota namespace.yaml",                 // requests.memory
		"error quota namespace.yaml",                 // limits.cpu
		"error quota namespace.yaml",                 // limits.memory
		"warning network-policy network-policy.yaml", // the label name
		"error network-policy network-policy.yaml",   // Prometheus
		"note network-policy network-policy.yaml",    // traces
		"error scraped-twice servicemonitor.yaml",
		"warning scraped-twice service.yaml",
		"note scraped-twice production-deployment.yaml",
		"error dashboard grafana-dashboard.yaml", // wrapped
		"error dashboard grafana-dashboard.yaml", // graph
		"error dashboard grafana-dashboard.yaml", // graph
		"note dashboard grafana-dashboard.yaml",  // uid
		"note dashboard grafana-dashboard.yaml",  // schemaVersion
		"note memory-lock production-deployment.yaml",
		"note contract configmap.yaml",
		"warning memory-limit production-deployment.yaml",
		"error frozen-registry cluster-autoscaler.yaml",
		"error cluster-autoscaler cluster-autoscaler.yaml",
		"warning cluster-autoscaler cluster-autoscaler.yaml", // 1.21
		"warning cluster-autoscaler cluster-autoscaler.yaml", // your-cluster-name
		"warning rbac rbac.yaml",
		"warning rbac serviceaccount.yaml",
		"note rbac production-deployment.yaml",
		"note image-tag production-deployment.yaml",
		"error secrets secrets.yaml", // no base64, twice
		"error secrets secrets.yaml",
		"error secrets secrets.yaml", // api-key
		"note secrets secrets.yaml",  // database-url
		"note api-versions alerting-rules.yaml",
		"error drain production-deployment.yaml",
		"warning drain production-deployment.yaml",
	}
	slices.Sort(got)
	slices.Sort(want)
	for _, s := range got {
		i := slices.Index(want, s)
		if i < 0 {
			t.Errorf("found, and not expected: %s", s)
			continue
		}
		want = slices.Delete(want, i, i+1)
	}
	for _, s := range want {
		t.Errorf("not found: %s", s)
	}
}

// TestDoctorOfOurManifests holds that no error is found in the manifests that
// this repository ships.
func TestDoctorOfOurManifests(t *testing.T) {
	for _, name := range []string{"../../deploy/k8s/base/objects.yaml", "../../deploy/k8s/deployment.yaml"} {
		for _, f := range examine(t, name) {
			if f.Severity == doctor.Error {
				t.Errorf("%s: %s: %s", f.Check, f.Where, f.What)
			}
		}
	}
}

// TestRoutesOfTheDoctor holds the doctor's routes to the server's table.
func TestRoutesOfTheDoctor(t *testing.T) {
	source, err := os.ReadFile("../../internal/server/route.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range regexp.MustCompile(`template: "([^"]+)"`).FindAllSubmatch(source, -1) {
		if r := string(m[1]); strings.HasPrefix(r, "/") {
			want = append(want, r)
		}
	}
	if len(want) < 10 {
		t.Fatalf("%q", want)
	}
	for _, r := range want {
		if !slices.Contains(routes, r) {
			t.Errorf("the doctor does not know %s", r)
		}
	}
	for _, r := range routes {
		if !slices.Contains(want, r) {
			t.Errorf("the server has no %s", r)
		}
	}
}

// TestMetricsOfTheDoctor holds what the doctor believes to be exposed to the
// page of operations, and to what queries need.
func TestMetricsOfTheDoctor(t *testing.T) {
	byName := map[string]doctor.Metric{}
	for _, m := range exposed() {
		byName[m.Name] = m
	}
	if m := byName["http_requests_total"]; !slices.Equal(m.Labels, []string{"endpoint", "method", "status"}) {
		t.Errorf("%+v", m)
	}
	if m := byName["http_request_duration_seconds_bucket"]; !slices.Contains(m.Buckets, 0.01) || len(m.Buckets) < 10 {
		t.Errorf("%+v", m)
	}
	_, table, _ := strings.Cut(readDoc(t, "operations.md"), "| metric |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, m := range regexp.MustCompile("`((?:carla_rl|http)_[a-z_]+)`").FindAllStringSubmatch(table, -1) {
		_, ok := byName[m[1]]
		_, histogram := byName[m[1]+"_count"]
		if !ok && !histogram {
			t.Errorf("the doctor does not know %s", m[1])
		}
	}
}

// TestChecksAreDocumented holds the page of the command line to the table of
// checks.
func TestChecksAreDocumented(t *testing.T) {
	_, text, _ := strings.Cut(readDoc(t, "command-line.md"), "<!-- checks:")
	text, _, _ = strings.Cut(text, "\n## ")
	var listed []string
	for _, m := range regexp.MustCompile("`([a-z-]+)`[,| ]").FindAllStringSubmatch(text, -1) {
		listed = append(listed, m[1])
	}
	for _, name := range doctor.Checks() {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/command-line.md does not list %s", name)
		}
	}
	if len(listed) != len(doctor.Checks()) {
		t.Errorf("docs/command-line.md lists %d checks, the doctor has %d", len(listed), len(doctor.Checks()))
	}
}
