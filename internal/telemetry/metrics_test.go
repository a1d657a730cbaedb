package telemetry_test

import (
	"errors"
	"io"
	"math"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// scrape returns the lines of /metrics that hold a text.
func scrape(t *testing.T, m *telemetry.Metrics, accept string) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/metrics", nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("%d, %v: %s", w.Code, err, b)
	}
	return string(b)
}

func has(t *testing.T, body string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

func filled() *telemetry.Metrics {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{Version: "v1.2.3", Commit: "abc", BuildDate: "today"})
	route := m.Route("POST", "/predict")
	route(200, 70*time.Microsecond, "")
	route(200, 3*time.Millisecond, "")
	route(422, 60*time.Microsecond, "")
	m.Route("GET", "other")(404, time.Microsecond, "")
	infer := m.Inference("carla-ppo", "v0.1.0")
	infer(1, 3, true, false, 12*time.Microsecond, 4*time.Microsecond, 1500*time.Nanosecond, 600*time.Nanosecond)
	infer(2, 1, false, true, 0, 0, 0, 0)
	act := m.Saturation("carla-ppo", "v0.1.0", []string{"throttle", "brake", "steer", "gear"}, []float64{0, 0, -1, math.Inf(-1)}, []float64{1, 1, 1, math.Inf(1)})
	act([]float32{1, 0, 0.5, 3, 0.5, 0, -1, -7})
	m.Rejected("queue_full")()
	m.Error("VALIDATION_ERROR", "/predict")
	m.Active(2)
	m.Active(-1)
	m.Panicked()
	m.Connections(func() int { return 7 })
	m.Queue(4, 256, func() int { return 5 }, func() int { return 2 })
	m.Ready(func() bool { return true })
	m.Current(func() []telemetry.CurrentVersion {
		return []telemetry.CurrentVersion{
			{Model: "carla-ppo", Version: "v0.1.0", Digest: "0123456789abcdef", Ready: true},
			{Model: "other", Version: "v2"},
		}
	})
	m.Versions(func() []telemetry.VersionState {
		return []telemetry.VersionState{
			{Model: "carla-ppo", Version: "v0.1.0", Ready: true},
			{Model: "carla-ppo", Version: "v0.1.0", Quarantined: true}, // of other files: the first is told of
			{Model: "carla-ppo", Version: "v0.0.9", Hashed: true},
		}
	})
	m.Root(func() time.Time { return time.UnixMicro(1795000000_500000) }, func() int { return 3 })
	m.VersionChanged("rollback")
	m.Quarantined("carla-ppo", "v0.0.9")
	m.RootFailed()
	m.AdminAct("reload", "changed")
	m.ModelLoaded("carla-ppo", "v0.1.0", 20*time.Millisecond, nil)
	m.ModelLoaded("carla-ppo", "v0.0.9", 0, errors.New("no file"))
	return m
}

func TestMetrics(t *testing.T) {
	m := filled()
	body := scrape(t, m, "")
	has(t, body,
		`http_requests_total{endpoint="/predict",method="POST",status="200"} 2`,
		`http_requests_total{endpoint="/predict",method="POST",status="422"} 1`,
		`http_requests_total{endpoint="other",method="GET",status="404"} 1`,
		`http_request_duration_seconds_bucket{endpoint="/predict",method="POST",le="5e-05"} 0`,
		`http_request_duration_seconds_bucket{endpoint="/predict",method="POST",le="0.0001"} 2`,
		`http_request_duration_seconds_bucket{endpoint="/predict",method="POST",le="0.005"} 3`,
		`http_request_duration_seconds_count{endpoint="/predict",method="POST"} 3`,
		`carla_rl_http_requests_total{endpoint="/predict",method="POST",status_code="200"} 2`,
		`carla_rl_request_duration_seconds_bucket{endpoint="/predict",method="POST",le="0.0001"} 2`,
		`carla_rl_request_duration_seconds_count{endpoint="/predict",method="POST"} 3`,
		`carla_rl_inference_requests_total{model="carla-ppo",status="success",version="v0.1.0"} 1`,
		`carla_rl_inference_requests_total{model="carla-ppo",status="error",version="v0.1.0"} 1`,
		`carla_rl_inference_duration_seconds_bucket{model="carla-ppo",version="v0.1.0",le="1e-06"} 0`,
		`carla_rl_inference_duration_seconds_bucket{model="carla-ppo",version="v0.1.0",le="2e-06"} 1`,
		`carla_rl_batch_size_bucket{model="carla-ppo",version="v0.1.0",le="4"} 1`,
		`carla_rl_deterministic_requests_total{model="carla-ppo",version="v0.1.0"} 1`,
		`carla_rl_queue_seconds_count 1`,
		`carla_rl_stage_duration_seconds_bucket{model="carla-ppo",stage="decode",le="1e-05"} 0`,
		`carla_rl_stage_duration_seconds_bucket{model="carla-ppo",stage="decode",le="2e-05"} 1`,
		`carla_rl_stage_duration_seconds_bucket{model="carla-ppo",stage="queue",le="5e-06"} 1`,
		`carla_rl_stage_duration_seconds_bucket{model="carla-ppo",stage="policy",le="2e-06"} 1`,
		`carla_rl_stage_duration_seconds_bucket{model="carla-ppo",stage="encode",le="1e-06"} 1`,
		`carla_rl_stage_duration_seconds_count{model="carla-ppo",stage="encode"} 1`,
		`carla_rl_action_values_total{action="throttle",model="carla-ppo",version="v0.1.0"} 2`,
		`carla_rl_action_saturated_total{action="throttle",bound="high",model="carla-ppo",version="v0.1.0"} 1`,
		`carla_rl_action_saturated_total{action="throttle",bound="low",model="carla-ppo",version="v0.1.0"} 0`,
		`carla_rl_action_saturated_total{action="brake",bound="low",model="carla-ppo",version="v0.1.0"} 2`,
		`carla_rl_action_saturated_total{action="steer",bound="low",model="carla-ppo",version="v0.1.0"} 1`,
		`carla_rl_action_bound{action="steer",bound="low",model="carla-ppo",version="v0.1.0"} -1`,
		`carla_rl_action_bound{action="steer",bound="high",model="carla-ppo",version="v0.1.0"} 1`,
		`carla_rl_ready 1`,
		`carla_rl_model_current{digest="0123456789ab",model="carla-ppo",version="v0.1.0"} 1`,
		`carla_rl_model_current{digest="",model="other",version="v2"} 0`,
		`carla_rl_lanes 4`,
		`carla_rl_request_queue_capacity 256`,
		`carla_rl_model_load_failures_total{model="carla-ppo",version="v0.1.0"} 0`,
		`carla_rl_requests_rejected_total{reason="queue_full"} 1`,
		`carla_rl_errors_total{endpoint="/predict",error_type="VALIDATION_ERROR"} 1`,
		`carla_rl_active_requests 1`,
		`carla_rl_panics_total 1`,
		`carla_rl_connections_open 7`,
		`carla_rl_request_queue_length 5`,
		`carla_rl_lanes_busy 2`,
		`carla_rl_model_loaded{model="carla-ppo",version="v0.1.0"} 1`,
		`carla_rl_model_loaded{model="carla-ppo",version="v0.0.9"} 0`,
		`carla_rl_model_warmed_up{model="carla-ppo",version="v0.1.0"} 1`,
		`carla_rl_model_hashed{model="carla-ppo",version="v0.0.9"} 1`,
		`carla_rl_model_load_failures_total{model="carla-ppo",version="v0.0.9"} 1`,
		`carla_rl_model_loading_duration_seconds_count 1`,
	)
	for _, want := range []string{`carla_rl_build_info{build_date="today",commit="abc",go_version="go`, "carla_rl_service_uptime_seconds ", "carla_rl_service_startup_timestamp_seconds ", "go_goroutines ", "go_memstats_heap_alloc_bytes "} {
		if !strings.Contains(body, want) {
			t.Errorf("nothing begins with %q", want)
		}
	}
}

// TestMetricsNames holds the names to the conventions of Prometheus.
func TestMetricsNames(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(scrape(t, filled(), ""))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "go_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestMetricsGuide holds that every name the guide's dashboard and alerts
// query is there with its labels.
func TestMetricsGuide(t *testing.T) {
	body := scrape(t, filled(), "")
	for _, want := range []string{
		`(?m)^http_requests_total\{[^}]*endpoint="[^"]+",method="[^"]+",status="\d{3}"\} `,
		`(?m)^http_request_duration_seconds_bucket\{[^}]*le="0.01"\} `,
	} {
		if !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("nothing matches %s", want)
		}
	}
}

func TestMetricsExemplar(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	m.Route("POST", "/predict")(200, 70*time.Microsecond, "4bf92f3577b34da6a3ce929d0e0e4736")
	if body := scrape(t, m, "application/openmetrics-text"); !strings.Contains(body, `# {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"}`) {
		t.Error("no exemplar")
	}
}

func TestMetricsNativeHistograms(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{NativeHistograms: true})
	m.Route("POST", "/predict")(200, 70*time.Microsecond, "")
	plain := scrape(t, m, "")
	has(t, plain, `http_request_duration_seconds_count{endpoint="/predict",method="POST"} 1`)
	if proto := scrape(t, m, "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"); !strings.Contains(proto, "http_request_duration_seconds") {
		t.Error("no protobuf exposition")
	}
}

func TestMetricsAllocateNothing(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	route, infer, act := m.Route("POST", "/predict"), m.Inference("m", "v"), m.Saturation("m", "v", []string{"a", "b"}, []float64{0, -1}, []float64{1, 1})
	actions := []float32{0, 0.5}
	route(200, time.Microsecond, "")
	if n := testing.AllocsPerRun(1000, func() {
		route(200, 70*time.Microsecond, "")
		infer(3, 1, true, false, time.Microsecond, time.Microsecond, time.Microsecond, time.Microsecond)
		act(actions)
		m.Active(1)
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkObservers(b *testing.B) {
	m := telemetry.NewMetrics(telemetry.MetricsOptions{})
	route, infer, act := m.Route("POST", "/predict"), m.Inference("m", "v"), m.Saturation("m", "v", []string{"a", "b"}, []float64{0, -1}, []float64{1, 1})
	actions := []float32{0, 0.5}
	b.ReportAllocs()
	for b.Loop() {
		m.Active(1)
		route(200, 70*time.Microsecond, "")
		infer(0, 1, true, false, time.Microsecond, time.Microsecond, time.Microsecond, time.Microsecond)
		act(actions)
		m.Active(-1)
	}
}
