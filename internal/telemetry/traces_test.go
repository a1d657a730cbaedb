package telemetry_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// clearOTEL makes a test independent of the variables of the machine.
func clearOTEL(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER",
	} {
		t.Setenv(name, "")
	}
}

func TestTracerOff(t *testing.T) {
	f := func(want string, env ...string) {
		t.Helper()
		t.Run(want, func(t *testing.T) {
			clearOTEL(t)
			for i := 0; i < len(env); i += 2 {
				t.Setenv(env[i], env[i+1])
			}
			var out bytes.Buffer
			tracer := telemetry.NewTracer(t.Context(), telemetry.TraceOptions{Logger: slog.New(slog.NewTextHandler(&out, nil))})
			if tracer != nil || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "WARN") {
				t.Errorf("%v, log %q", tracer, out.String())
			}
			if err := tracer.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	f("there is no endpoint")
	f("OTEL_SDK_DISABLED", "OTEL_SDK_DISABLED", "true", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	f("OTEL_TRACES_EXPORTER", "OTEL_TRACES_EXPORTER", "zipkin", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	f("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
}

// TestTracerSends holds that spans reach a collector with the service's name.
func TestTracerSends(t *testing.T) {
	var mu sync.Mutex
	var got []byte
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		b, err := io.ReadAll(body)
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, b...)
	}))
	defer collector.Close()
	clearOTEL(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=testing")
	tracer := telemetry.NewTracer(t.Context(), telemetry.TraceOptions{Version: "v1.2.3"})
	if tracer == nil {
		t.Fatal("no tracer")
	}
	_, span := tracer.Start(t.Context(), "POST /predict")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tracer.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"POST /predict", "carla-rl-serving", "v1.2.3", "deployment.environment", "testing"} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("the collector was not sent %q", want)
		}
	}
}

// TestTracerSurvives holds that a collector that is away costs a line of the
// log and nothing else.
func TestTracerSurvives(t *testing.T) {
	clearOTEL(t)
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", away.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
	tracer := telemetry.NewTracer(t.Context(), telemetry.TraceOptions{})
	if tracer == nil {
		t.Fatal("no tracer")
	}
	for range 10 {
		_, span := tracer.Start(t.Context(), "x")
		span.End()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_ = tracer.Shutdown(ctx) // fails, as it should be told
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("the end waited for the collector for %v", took)
	}
}
