package telemetry

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func setOTLP(t *testing.T, env ...string) {
	t.Helper()
	for _, name := range []string{"ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
		t.Setenv("OTEL_EXPORTER_OTLP_"+name, "")
		t.Setenv("OTEL_EXPORTER_OTLP_TRACES_"+name, "")
	}
	for i := 0; i < len(env); i += 2 {
		t.Setenv("OTEL_EXPORTER_OTLP_"+env[i], env[i+1])
	}
}

// TestOTLPRequest holds that the variables of the specification reach the
// request, and that a busy collector is asked again.
func TestOTLPRequest(t *testing.T) {
	var asked atomic.Int32
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path != "/base/v1/traces" || r.Header.Get("X-Tenant") != "a b" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(z)
		got := &tracepb.TracesData{}
		if err != nil || proto.Unmarshal(body, got) != nil || len(got.ResourceSpans) != 1 || got.ResourceSpans[0].SchemaUrl != "here" {
			t.Errorf("%v, %v", got, err)
		}
	}))
	defer collector.Close()
	setOTLP(t, "ENDPOINT", collector.URL+"/base/", "HEADERS", "x-tenant=a%20b, other=1", "COMPRESSION", "gzip")
	c, err := newOTLPClient()
	if err != nil {
		t.Fatal(err)
	}
	c.wait = time.Millisecond
	if err := c.UploadTraces(t.Context(), []*tracepb.ResourceSpans{{SchemaUrl: "here"}}); err != nil || asked.Load() != 2 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

// TestOTLPRefused holds that a collector that refuses is not asked again, and
// that a busy one is waited for no longer than the context.
func TestOTLPRefused(t *testing.T) {
	var asked atomic.Int32
	status := http.StatusBadRequest
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(status)
	}))
	defer collector.Close()
	setOTLP(t, "TRACES_ENDPOINT", collector.URL)
	c, err := newOTLPClient()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.UploadTraces(t.Context(), nil); err == nil || asked.Load() != 1 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	status = http.StatusTooManyRequests
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.UploadTraces(ctx, nil); err == nil || asked.Load() != 2 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

func TestOTLPSettingsRefused(t *testing.T) {
	f := func(want string, env ...string) {
		t.Helper()
		setOTLP(t, env...)
		if _, err := newOTLPClient(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", env, err, want)
		}
	}
	f("no address", "ENDPOINT", "collector:4318")
	f("no address", "ENDPOINT", "ftp://collector")
	f("not of the form", "ENDPOINT", "http://c", "HEADERS", "token")
	f("there are gzip and none", "ENDPOINT", "http://c", "COMPRESSION", "zstd")
	f("milliseconds", "ENDPOINT", "http://c", "TIMEOUT", "10s")
	f("no such file", "ENDPOINT", "https://c", "CERTIFICATE", "/does/not/exist")
}
