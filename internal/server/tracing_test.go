package server_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// TestSpans holds the spans of a request to the semantic conventions: the
// client's trace goes on, the request has its route, and its steps lie below.
func TestSpans(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	traced := &tracingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Tracer: provider.Tracer("test"), Metrics: traced})
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	s.do("POST", "/predict", guideRequest, "traceparent", "00-"+traceID+"-00f067aa0ba902b7-01", "X-Request-ID", "me")
	spans := recorder.Ended()
	var names []string
	for _, span := range spans {
		names = append(names, span.Name())
		if got := span.SpanContext().TraceID().String(); got != traceID {
			t.Errorf("%s: trace %s", span.Name(), got)
		}
	}
	if !slices.Equal(names, []string{"decode", "infer", "POST /predict"}) {
		t.Fatalf("spans %v", names)
	}
	root := spans[2]
	if root.Parent().SpanID().String() != "00f067aa0ba902b7" || spans[0].Parent().SpanID() != root.SpanContext().SpanID() {
		t.Error("the spans do not hang together")
	}
	got := map[string]string{}
	for _, a := range root.Attributes() {
		got[string(a.Key)] = a.Value.String()
	}
	for key, want := range map[string]string{
		"http.request.method": "POST", "http.route": "/predict", "http.response.status_code": "200", "url.scheme": "http", "network.protocol.version": "1.1",
		"carla_rl.model": "carla-ppo", "carla_rl.version": "v0.1.0", "carla_rl.rows": "1", "carla_rl.deterministic": "true", "carla_rl.request_id": "me",
	} {
		if got[key] != want {
			t.Errorf("%s: %q, want %q", key, got[key], want)
		}
	}
	if traced.last != traceID {
		t.Errorf("the exemplar of the request is %q", traced.last)
	}
}

// TestProbesAreNotTraced holds that probes and scrapes make no spans.
func TestProbesAreNotTraced(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Tracer: provider.Tracer("test"), MetricsHandler: emptyMetrics})
	for _, p := range paths {
		s.do(p.method, p.path, p.body)
		spans := len(recorder.Ended())
		recorder.Reset()
		if p.open != (spans == 0) {
			t.Errorf("%s %s: %d spans", p.method, p.path, spans)
		}
	}
}

func TestSpansOfErrors(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	b := &fakeBackend{contract: driving(), act: func(context.Context, *serving.Request) error { return serving.ErrDeadline }}
	s := serve(t, b, server.Options{Limits: fast(), Tracer: provider.Tracer("test")})
	s.do("POST", "/predict", guideRequest, "traceparent", "00-bad")
	s.do("POST", "/predict", "{")
	var roots []sdktrace.ReadOnlySpan
	for _, span := range recorder.Ended() {
		if span.Name() == "POST /predict" {
			roots = append(roots, span)
		}
	}
	if len(roots) != 2 || roots[0].Status().Code != codes.Error || roots[1].Status().Code == codes.Error {
		t.Errorf("a 504 is the server's error, a 400 is not: %v", roots)
	}
}

// tracingMetrics remembers the trace of the last request.
type tracingMetrics struct {
	countingMetrics
	last string
}

func (m *tracingMetrics) Route(string, string) func(int, time.Duration, string) {
	return func(_ int, _ time.Duration, traceID string) { m.last = traceID }
}

// TestCounted holds what a request leaves in the metrics: labels are route
// templates and known methods, whatever clients send.
func TestCounted(t *testing.T) {
	counted := &countingMetrics{}
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), Metrics: counted, MetricsHandler: emptyMetrics})
	s.do("POST", "/predict", guideRequest)
	s.do("POST", "/v1/models/carla-ppo/versions/v0.1.0/predict", guideRequest)
	s.do("POST", "/v1/models/nobody/predict", guideRequest)
	s.do("GET", "/.env", "")
	s.do("GET", "/wp-admin/"+"x", "")
	s.do("PROPFIND", "/predict", "")
	s.do("GET", "/metrics", "")
	s.do("POST", "/predict", "{}")
	for key, want := range map[string]int{
		"POST /predict 200": 1, "POST /v1/models/{model}/versions/{version}/predict 200": 1, "POST /v1/models/{model}/predict 404": 1,
		"GET other 404": 2, "OTHER /predict 405": 1, "GET /metrics 200": 1, "POST /predict 422": 1,
		"infer carla-ppo v0.1.0 rows=1 deterministic=true err=false": 2,
		"stages of carla-ppo v0.1.0":                                 2, "actions of carla-ppo v0.1.0: [throttle brake steer] in [0 0 -1] to [1 1 1]": 1, "actions [0.255 0.001 0.008]": 2,
		"error NOT_FOUND other": 2, "error METHOD_NOT_ALLOWED /predict": 1, "error MODEL_NOT_FOUND /v1/models/{model}/predict": 1, "error VALIDATION_ERROR /predict": 1,
	} {
		if got := counted.get(key); got != want {
			t.Errorf("%s: %d, want %d", key, got, want)
		}
	}
	if n := counted.active.Load(); n != 0 {
		t.Errorf("%d requests are still active", n)
	}
}

// TestMetricsRoute holds that a handler of net/http answers through the
// adaptor with our headers, and that there is no route without one.
func TestMetricsRoute(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write([]byte("m " + r.Method + " " + r.URL.Path + "\n"))
	})
	s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), MetricsHandler: h})
	if r := s.do("GET", "/metrics", ""); r.status != 200 || r.body != "m GET /metrics\n" || r.header.Get("X-Request-ID") == "" || r.header.Get("X-Process-Time") == "" {
		t.Errorf("%d %v %q", r.status, r.header, r.body)
	}
	without := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast()})
	if r := without.do("GET", "/metrics", ""); r.status != 404 {
		t.Errorf("without metrics: %d", r.status)
	}
}

// TestMetricsRouteFails holds that what the handler of metrics refuses is
// answered in the form of all errors.
func TestMetricsRouteFails(t *testing.T) {
	f := func(status, want int, code string) {
		t.Helper()
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			w.Write([]byte("private words"))
		})
		s := serve(t, &fakeBackend{contract: driving()}, server.Options{Limits: fast(), MetricsHandler: h})
		r := s.do("GET", "/metrics", "")
		if r.status != want || r.code(t) != code || r.header.Get("Content-Type") != "application/json" || r.header.Get("Content-Encoding") != "" {
			t.Errorf("%d: %d %v %q", status, r.status, r.header, r.body)
		}
		if later := r.header.Get("Retry-After"); (later != "") != (want == 503) {
			t.Errorf("%d: Retry-After %q", status, later)
		}
	}
	f(503, 503, "TOO_MANY_SCRAPES")
	f(500, 500, "INTERNAL_ERROR")
}
