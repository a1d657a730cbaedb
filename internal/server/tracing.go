package server

import (
	"bytes"
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

var (
	peekTraceparent = []byte("Traceparent")
	peekTracestate  = []byte("Tracestate")
)

// startSpan begins the span of a request, below the client's where it sent a
// traceparent.
func (x *exchange) startSpan() {
	ctx := context.Background()
	h := &x.ctx.Request.Header
	if parent, ok := parseTraceparent(h.PeekCanonical(peekTraceparent), h.PeekCanonical(peekTracestate)); ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	scheme := "http"
	if c, ok := x.ctx.Conn().(*gatedConn); ok && c.secure() {
		scheme = "https"
	}
	method := methodNames[x.method]
	name := method + " " + x.endpoint.template
	if x.method == methodOther {
		method, name = "_OTHER", "HTTP "+x.endpoint.template
	}
	x.spanCtx, x.span = x.s.o.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", method),
		attribute.String("http.route", x.endpoint.template),
		attribute.String("url.scheme", scheme),
		attribute.String("network.protocol.version", string(bytes.TrimPrefix(h.Protocol(), []byte("HTTP/")))),
	))
}

// child begins a span within the request's; nil when the request is not
// traced.
func (x *exchange) child(name string) trace.Span {
	if x.span == nil || !x.span.IsRecording() {
		return nil
	}
	_, span := x.s.o.Tracer.Start(x.spanCtx, name)
	return span
}

func endChild(span trace.Span) {
	if span != nil {
		span.End()
	}
}

// recordError notes on the span why a request failed.
func (x *exchange) recordError(err error, code string) {
	if x.span == nil {
		return
	}
	x.span.SetAttributes(attribute.String("error.type", code))
	if f, message, _ := faultOf(err); f.status >= 500 {
		x.span.SetStatus(codes.Error, message)
	}
}

// endSpan ends the request's span and returns its trace id where it was
// sampled, for exemplars.
func (x *exchange) endSpan(status int) (traceID string) {
	if x.span.IsRecording() {
		x.span.SetAttributes(
			attribute.Int("http.response.status_code", status),
			attribute.String("carla_rl.request_id", string(x.id)),
		)
		if x.target.Model != "" {
			x.span.SetAttributes(
				attribute.String("carla_rl.model", x.target.Model),
				attribute.String("carla_rl.version", x.target.Version),
				attribute.Int("carla_rl.rows", x.req.Rows),
				attribute.Bool("carla_rl.deterministic", x.req.Deterministic),
			)
		}
	}
	if sc := x.span.SpanContext(); sc.IsSampled() {
		traceID = sc.TraceID().String()
	}
	x.span.End()
	x.span, x.spanCtx = nil, nil
	return traceID
}

// parseTraceparent reads a W3C trace context, version 00. One that is not
// well-formed is as good as none.
func parseTraceparent(parent, state []byte) (sc trace.SpanContext, ok bool) {
	const form = "00-00000000000000000000000000000000-0000000000000000-00"
	if len(parent) < len(form) || parent[2] != '-' || parent[35] != '-' || parent[52] != '-' {
		return sc, false
	}
	version := string(parent[:2])
	if version == "ff" || version == "00" && len(parent) != len(form) {
		return sc, false
	}
	if len(parent) > len(form) && parent[len(form)] != '-' {
		return sc, false
	}
	for i, c := range parent[:len(form)] {
		if i != 2 && i != 35 && i != 52 && !digit(c) && (c < 'a' || c > 'f') {
			return sc, false
		}
	}
	traceID, err := trace.TraceIDFromHex(string(parent[3:35]))
	if err != nil {
		return sc, false
	}
	spanID, err := trace.SpanIDFromHex(string(parent[36:52]))
	if err != nil {
		return sc, false
	}
	config := trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, Remote: true}
	if flag := parent[54]; flag == '1' || flag == '3' || flag == '5' || flag == '7' || flag == '9' || flag == 'b' || flag == 'd' || flag == 'f' {
		config.TraceFlags = trace.FlagsSampled
	}
	if ts, err := trace.ParseTraceState(string(state)); err == nil {
		config.TraceState = ts
	}
	return trace.NewSpanContext(config), true
}
