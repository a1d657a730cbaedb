package doctor_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/doctor"
)

// server is one that the checks are told of: its settings are the real ones,
// and it knows few metrics.
func server() doctor.Server {
	s := doctor.Server{
		Routes: []string{"/", "/predict", "/v1/models/{model}/predict", "/healthz", "/livez", "/readyz", "/startupz", "/metrics"},
		Metrics: []doctor.Metric{
			{Name: "http_requests_total", Labels: []string{"method", "endpoint", "status"}},
			{Name: "http_request_duration_seconds_bucket", Labels: []string{"method", "endpoint", "le"}, Buckets: []float64{0.001, 0.01, 0.1}},
		},
		CheckConfig: func(file string, environ []string, gpu bool) (problems, notes []string) {
			if strings.Contains(file, "prot:") {
				problems = append(problems, "config.yaml:1: server.prot: unknown key")
			}
			if strings.Contains(file, "enable_mkl") {
				notes = append(notes, "no effect: optimization.enable_mkl")
			}
			if slices.Contains(environ, "WORKERS=many") || slices.Contains(environ, "USE_GPU=1") && !gpu {
				problems = append(problems, "environment: wrong")
			}
			return problems, notes
		},
	}
	for _, r := range config.Reference() {
		s.Settings = append(s.Settings, doctor.Setting{Key: r.Key, Env: r.Env, Default: r.Default, Idle: r.Idle})
	}
	return s
}

func decode(t *testing.T, text string) []*doctor.Object {
	t.Helper()
	objects, err := doctor.Decode("good.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func good(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// edit replaces text that must be there.
func edit(t *testing.T, s string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			t.Fatalf("no %q to replace", pairs[i])
		}
		s = strings.ReplaceAll(s, pairs[i], pairs[i+1])
	}
	return s
}

// found are the findings of one check, as "severity: what".
func found(findings []doctor.Finding, check string) []string {
	var out []string
	for _, f := range findings {
		if f.Check == check {
			out = append(out, f.Severity.String()+": "+f.What)
		}
	}
	return out
}

func TestGood(t *testing.T) {
	findings := doctor.Examine(doctor.Input{Objects: decode(t, good(t)), Server: server()})
	for _, f := range findings {
		if f.Check != "api-versions" || f.Severity != doctor.Note {
			t.Errorf("%s %s: %s: %s", f.Severity, f.Check, f.Where, f.What)
		}
	}
	if got := found(findings, "api-versions"); len(got) != 1 || !strings.Contains(got[0], "Kubernetes 1.25") {
		t.Errorf("%q", got)
	}
}

// TestFindingsAreComplete holds that a finding says where, why and what to do.
func TestFindingsAreComplete(t *testing.T) {
	text := edit(t, good(t), "/readyz", "/healthz", "replicas: 3", "replicas: 9", "api-key: c2VjcmV0", "api-key: <key>")
	findings := doctor.Examine(doctor.Input{Objects: decode(t, text), Server: server()})
	if worst, ok := doctor.Worst(findings); !ok || worst != doctor.Error {
		t.Error(worst, ok)
	}
	for _, f := range findings {
		if f.Where == "" || f.What == "" || f.Mend == "" || !strings.HasSuffix(f.Why, ".") || !strings.HasPrefix(f.Where, "good.yaml") {
			t.Errorf("%+v", f)
		}
	}
	if _, ok := doctor.Worst(nil); ok {
		t.Error("nothing is bad")
	}
}

func TestConfigAndArtifacts(t *testing.T) {
	in := doctor.Input{
		Config: &doctor.Text{Name: "my.yaml", Data: "server: {prot: 1}\nmodel: {version: v9.0.0}\noptimization: {enable_mkl: true}\n"},
		Artifacts: &doctor.Artifacts{Name: "root", Open: func(version string) (*artifact.Artifact, []artifact.Problem, error) {
			if version != "v9.0.0" {
				t.Errorf("asked for %q", version)
			}
			return nil, nil, errors.New("there is only v0.1.0")
		}},
		Server: server(),
	}
	findings := doctor.Examine(in)
	for check, want := range map[string][]string{
		"config-file":   {"error: config.yaml:1: server.prot: unknown key", "note: no effect: optimization.enable_mkl"},
		"model-version": {"error: asked for MODEL_VERSION v9.0.0: there is only v0.1.0"},
	} {
		if got := found(findings, check); !slices.Equal(got, want) {
			t.Errorf("%s: %q", check, got)
		}
	}
	in.Config = nil
	in.Artifacts.Open = func(string) (*artifact.Artifact, []artifact.Problem, error) {
		return nil, []artifact.Problem{{File: "model.pt", Err: artifact.ErrMissing}, {File: "model_card.yaml", Field: "x", Err: artifact.ErrPlaceholder}}, nil
	}
	findings = doctor.Examine(in)
	if got := found(findings, "artifact-files"); !slices.Equal(got, []string{"error: model.pt: missing"}) {
		t.Errorf("%q", got)
	}
	if got := found(findings, "hashes"); len(got) != 1 || !strings.Contains(got[0], "placeholder") {
		t.Errorf("%q", got)
	}
}

func TestDecode(t *testing.T) {
	f := func(text, want string, n int) {
		t.Helper()
		objects, err := doctor.Decode("x.yaml", strings.NewReader(text))
		switch {
		case want == "" && (err != nil || len(objects) != n):
			t.Errorf("%q: %d objects, %v", text, len(objects), err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	f("", "", 0)
	f("---\n# nothing\n---\n", "", 0)
	f("kind: Pod\n---\nkind: Service\n", "", 2)
	f(`{"kind": "List", "items": [{"kind": "Pod"}, {"kind": "Pod"}]}`, "", 2)
	f("kind: Pod\n---\n- 1\n", "x.yaml:3: no Kubernetes object", 0)
	f("hello", "no Kubernetes object", 0)
	f("kind: [\n", "x.yaml: yaml:", 0)
	f("kind: Pod\nkind: Pod\n", "already defined", 0)
	f("kind: Pod\nspec: {1: 2, containers: 3, volumes: {a: b}}\n", "", 1)
}

// TestOddObjects holds that a check takes anything for an object.
func TestOddObjects(t *testing.T) {
	kinds := []string{"Deployment", "Pod", "CronJob", "Service", "Ingress", "HTTPRoute", "NetworkPolicy", "ServiceMonitor", "PrometheusRule", "ConfigMap", "Secret", "HorizontalPodAutoscaler", "VerticalPodAutoscaler", "ResourceQuota", "LimitRange", "Role", "RoleBinding", "Namespace"}
	for _, kind := range kinds {
		for _, body := range []string{"", "spec: 1", "spec: {template: [], containers: x, rules: 1, ports: {}}", "data: [1]\nmetadata: 7", "spec: {template: {spec: {containers: [1, {}, {name: 3, image: carla-rl, env: [1], ports: 1, volumeMounts: [{}], resources: 1}], volumes: 1}}}\nmetadata: {labels: {grafana_dashboard: 1}}\ndata: {a.json: 1, model_card.yaml: [2]}"} {
			doctor.Examine(doctor.Input{Objects: decode(t, "kind: "+kind+"\n"+body+"\n"), Server: server()})
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for part := range strings.SplitSeq(string(b), "\n---\n") {
		f.Add(part)
	}
	s := server()
	f.Fuzz(func(t *testing.T, text string) {
		objects, err := doctor.Decode("x", strings.NewReader(text))
		if err == nil {
			doctor.Examine(doctor.Input{Objects: objects, Server: s})
		}
	})
}
