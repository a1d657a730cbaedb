package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TraceOptions configure a Tracer. Endpoint, headers, sampler and resource come
// from the standard variables OTEL_*.
type TraceOptions struct {
	Version string // of the program
	Logger  *slog.Logger
}

// defaultServiceName is the service's name where OTEL_SERVICE_NAME has none.
const defaultServiceName = "carla-rl-serving"

// Tracer makes spans and sends them.
type Tracer struct {
	trace.Tracer
	provider *sdktrace.TracerProvider
}

// NewTracer returns a tracer that exports by OTLP over HTTP, or nil with one
// warning in the log where there is nothing to export to: tracing never keeps
// a process from serving.
func NewTracer(ctx context.Context, o TraceOptions) *Tracer {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if reason := untraceable(); reason != "" {
		o.Logger.Warn("tracing is off: "+reason, "event_type", "startup") //nolint:sloglint // one line of the start, with one of three reasons.
		return nil
	}
	t, err := newTracer(ctx, o)
	if err != nil {
		o.Logger.Warn("tracing is off: the exporter could not be set up", "event_type", "startup", "error", err)
		return nil
	}
	return t
}

// untraceable says why the environment asks for no traces, or "".
func untraceable() string {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return "OTEL_SDK_DISABLED is true"
	}
	if exporter := os.Getenv("OTEL_TRACES_EXPORTER"); exporter != "" && exporter != "otlp" {
		return fmt.Sprintf("OTEL_TRACES_EXPORTER is %q, and only otlp is there", exporter)
	}
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return "there is no endpoint; set OTEL_EXPORTER_OTLP_ENDPOINT, such as http://collector:4318"
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != "http/protobuf" {
			return fmt.Sprintf("%s is %q, and only http/protobuf is there", name, p)
		}
	}
	return ""
}

func newTracer(ctx context.Context, o TraceOptions) (*Tracer, error) {
	client, err := newOTLPClient()
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, err
	}
	base := resource.NewSchemaless(attribute.String("service.name", defaultServiceName), attribute.String("service.version", o.Version))
	env, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, err
	}
	if base, err = resource.Merge(base, env); err != nil {
		return nil, err
	}
	otel.SetErrorHandler(&exportErrors{log: o.Logger})
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(base))
	return &Tracer{Tracer: provider.Tracer("github.com/carla-rl/carla-rl-serving"), provider: provider}, nil
}

// Shutdown sends the spans that are still here.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// exportErrors logs that spans could not be sent, once a minute at most: a
// collector that is away must not fill the log.
type exportErrors struct {
	log  *slog.Logger
	last atomic.Int64 // seconds since 1970
}

// Handle implements otel.ErrorHandler.
func (e *exportErrors) Handle(err error) {
	now := time.Now().Unix()
	if last := e.last.Load(); now-last < 60 || !e.last.CompareAndSwap(last, now) {
		return
	}
	e.log.Warn("spans could not be sent", "error", err)
}
