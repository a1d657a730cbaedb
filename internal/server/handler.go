package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"
)

// exchange is one request and its answer. It is pooled: what it holds is valid
// until the handler returns, as is everything that fasthttp hands out.
type exchange struct {
	act
	ctx *fasthttp.RequestCtx // nil for a hot request
	hot hotRequest

	start    time.Time
	method   int
	endpoint *endpoint
	model    []byte // of the path; the session where the path names one
	version  []byte // of the path

	modelName, versionName nameText

	id      []byte
	idSpace [maxRequestIDLen]byte
	code    string    // of the error that was answered
	key     *knownKey // that the request carries; nil where it was not asked for one

	retryAfter int // seconds, in place of the fault's

	span    trace.Span // nil unless this request is traced
	spanCtx context.Context

	tensors inferDecoder
	out     []byte // scratch for bodies and header values
	member  []byte // scratch for a member of an answer
}

// Headers of the hot path.
var (
	headerRequestID   = []byte("X-Request-ID")
	headerProcessTime = []byte("X-Process-Time")
	peekRequestID     = []byte("X-Request-Id") // as fasthttp spells what it parsed
	peekOrigin        = []byte("Origin")
	peekEncoding      = []byte("Content-Encoding")
	typeJSON          = []byte("application/json")
)

// handle answers one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	x := s.pool.Get().(*exchange)
	x.begin(ctx)
	s.metrics.Active(1)
	defer x.end()
	if err := x.serve(); err != nil {
		x.fail(err)
	}
}

func (x *exchange) begin(ctx *fasthttp.RequestCtx) {
	x.ctx = ctx
	x.start = time.Now()
	x.arrive(x.start)
	x.method = methodIndex(ctx.Method())
	x.endpoint = x.s.routes.notFound
	x.model, x.version, x.code, x.key = nil, nil, "", nil
	x.id = requestID(x.idSpace[:0], ctx.Request.Header.PeekCanonical(peekRequestID))
}

// content is what a handler reads of a request: its body, and what the header
// says of it.
type content struct {
	body, media, encoding, inferLength []byte
}

func (x *exchange) content() content {
	if x.ctx == nil {
		h := x.hot.head
		return content{body: x.hot.body, media: h.contentType, inferLength: h.inferLength}
	}
	h := &x.ctx.Request.Header
	return content{
		body: x.ctx.PostBody(), media: h.ContentType(),
		encoding: h.PeekCanonical(peekEncoding), inferLength: h.PeekCanonical(headerInferLength),
	}
}

// query returns the parameters of the target.
func (x *exchange) query() *fasthttp.Args {
	if x.ctx == nil {
		return x.hot.query()
	}
	return x.ctx.QueryArgs()
}

// serve routes the request, decides whether it may be answered and answers it.
func (x *exchange) serve() error {
	s, header := x.s, &x.ctx.Request.Header
	if s.phase.Load() == phaseClosing {
		x.ctx.SetConnectionClose()
	}
	target := header.RequestURI()
	host := header.Host()
	if len(target) > 0 && target[0] != '/' && target[0] != '*' {
		var err error
		if target, err = originForm(target, host); err != nil {
			return err
		}
	}
	path := target
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path = target[:i]
	}
	x.endpoint, x.model, x.version = s.routes.find(path)
	hosts := &s.hosts
	if x.ofAdmins() {
		hosts = &s.adminHosts
		if !x.endpoint.apart() {
			x.endpoint = s.routes.notFound
		}
	}
	e := x.endpoint
	if !e.open && !hosts.allow(host) && !(hosts.loopback && x.local()) {
		return x.hostFault(hosts)
	}
	if origin := header.PeekCanonical(peekOrigin); len(origin) > 0 && !e.open {
		if err := s.cors.admit(x.ctx, origin, host); err != nil {
			return err
		}
	}
	if e.allow == "" {
		return faultNotFound
	}
	if x.method == methodOptions {
		return x.options()
	}
	h := e.handler(x.method)
	if h == nil {
		x.ctx.Response.Header.Set(fasthttp.HeaderAllow, e.allow)
		return explain(faultMethod, "the route takes %s, not this method", e.allow)
	}
	if err := x.admit(e); err != nil {
		if e.admin {
			f, _, _ := faultOf(err)
			x.audit(e.template[len("/admin/"):], "", "refused", f.code, 0)
		}
		return err
	}
	if s.o.Tracer != nil && !e.open { // probes would drown the rest
		x.startSpan()
	}
	return h(x)
}

// local reports whether the request came over a Unix socket, which no page can
// reach under a name.
func (x *exchange) local() bool {
	if x.ctx == nil {
		return x.hot.local
	}
	_, ok := x.ctx.LocalAddr().(*net.UnixAddr)
	return ok
}

func (x *exchange) hostFault(l *hostList) error {
	if l.loopback {
		return explain(faultHost, "the server listens on this machine only and answers for localhost; ALLOWED_HOSTS lists other names to answer for")
	}
	return faultHost
}

// originForm turns a target in absolute form into what follows its authority,
// which must be that of the Host header: one request has one host.
func originForm(target, host []byte) ([]byte, error) {
	authority, ok := absoluteAuthority(target)
	if !ok || !bytes.EqualFold(authority, host) {
		return nil, explain(faultFraming, "the target and the Host header name different hosts")
	}
	rest := target[bytes.Index(target, []byte("//"))+2+len(authority):]
	if len(rest) == 0 {
		return []byte("/"), nil
	}
	return rest, nil
}

// options answers OPTIONS, preflights of allowed origins among them: admit has
// put their headers already.
func (x *exchange) options() error {
	x.ctx.Response.Header.Set(fasthttp.HeaderAllow, x.endpoint.allow)
	x.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// fail answers with the error envelope.
func (x *exchange) fail(err error) {
	f, message, details := faultOf(err)
	if f == faultInternal {
		x.s.log.Error("request failed", "event_type", "error", "error", err, "endpoint", x.endpoint.template, "request_id", string(x.id))
	}
	x.s.reject.count(f)
	x.s.metrics.Error(f.code, x.endpoint.template)
	x.code = f.code
	if after := max(f.retryAfter, x.retryAfter); after > 0 {
		x.set(fasthttp.HeaderRetryAfter, fmt.Sprint(after))
	}
	x.retryAfter = 0
	status := f.status
	if x.endpoint.v2 {
		x.out = appendError2(x.out[:0], message)
		status = f.status2()
	} else {
		x.out = appendError(x.out[:0], f, message, details, x.id, time.Now())
	}
	x.json(status, x.out)
	x.recordError(err, f.code)
}

// end finishes the answer and counts it. It is the deferred call of handle,
// and turns a panic into an answer: nothing that one request does may end the
// process.
func (x *exchange) end() {
	if r := recover(); r != nil {
		x.ctx.Response.Reset()
		x.ctx.SetConnectionClose()
		x.panicked(r)
	}
	ctx := x.ctx
	took := time.Since(x.start)
	h := &ctx.Response.Header
	h.SetCanonical(headerRequestID, x.id)
	x.out = appendSeconds(x.out[:0], took)
	h.SetCanonical(headerProcessTime, x.out)
	x.count(ctx.Response.StatusCode(), took)
	if n := ctx.Request.Header.ContentLength(); n > smallBody {
		ctx.Request.ReleaseBody(smallBody) // or the connection would keep it
		if c, ok := ctx.Conn().(*gatedConn); ok {
			c.unclaim(int64(n))
		}
	}
	x.release()
}

// panicked answers a request whose handler panicked.
func (x *exchange) panicked(r any) {
	x.s.metrics.Panicked()
	x.s.log.Error("a handler panicked", "event_type", "error", "panic", fmt.Sprint(r), "endpoint", x.endpoint.template,
		"request_id", string(x.id), "stack", string(debug.Stack()))
	x.fail(faultInternal)
	// What the panic left half done is not used again.
	x.act, x.tensors = act{s: x.s, target: x.target, shard: x.shard}, inferDecoder{}
}

// count counts a request that was answered.
func (x *exchange) count(status int, took time.Duration) {
	s := x.s
	var traceID string
	if x.span != nil {
		traceID = x.endSpan(status)
	}
	x.endpoint.observe(s.metrics, x.method, status, took, traceID)
	s.metrics.Active(-1)
	if s.o.AccessLog {
		x.logAccess(status, took)
	}
}

// maxKeptBytes is the largest buffer that an exchange keeps for the next
// request: a rare large request must not raise the memory of the process for
// good.
const maxKeptBytes = 256 << 10

func (x *exchange) release() {
	x.ctx, x.model, x.version = nil, nil, nil
	for _, b := range []*[]byte{&x.out, &x.member} {
		if cap(*b) > maxKeptBytes {
			*b = nil
		}
	}
	x.hot.release()
	x.act.release()
	x.tensors.release()
	x.s.pool.Put(x)
}

func (x *exchange) logAccess(status int, took time.Duration) {
	level := slog.LevelInfo
	if x.endpoint.open {
		level = slog.LevelDebug // probes would drown the rest
	}
	attrs := []slog.Attr{
		slog.String("event_type", "http_request"), slog.String("method", methodNames[x.method]),
		slog.String("endpoint", x.endpoint.template), slog.Int("status", status),
		slog.Float64("duration_ms", float64(took)/1e6), slog.String("request_id", string(x.id)),
	}
	if x.key != nil {
		attrs = append(attrs, slog.String("key", x.key.Name))
	}
	if x.code != "" {
		attrs = append(attrs, slog.String("error", x.code))
	}
	x.s.log.LogAttrs(context.Background(), level, "request", attrs...)
}

// handleBroken answers a message that never became a request.
func (s *Server) handleBroken(ctx *fasthttp.RequestCtx, err error) {
	if c, ok := ctx.Conn().(*gatedConn); ok {
		c.linger.Store(true)
	}
	x := s.pool.Get().(*exchange)
	x.begin(ctx)
	s.metrics.Active(1)
	defer x.end()
	if path, _, _ := bytes.Cut(ctx.Request.Header.RequestURI(), []byte("?")); len(path) > 1 {
		x.endpoint, _, _ = s.routes.find(path)
	} else {
		x.method = methodOther // fasthttp says GET / of what it has not read
	}
	f, _, _ := faultOf(err)
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		x.fail(explain(faultTooLarge, "the body is larger than the limit of %d bytes", s.limits.MaxBodyBytes))
	case f == faultHeaders:
		x.fail(explain(f, "the header of the request is larger than the limit of %d bytes", s.limits.MaxHeaderBytes))
	case f == faultHeaderTooMany:
		x.fail(explain(f, "the request has more than %d header fields", s.limits.MaxHeaderFields))
	case f == faultInternal:
		// What fasthttp could not parse; its words may hold the client's bytes.
		x.fail(faultFraming)
	default:
		x.fail(f)
	}
}

// bodyDeadline gives a large body more time than a header.
func (s *Server) bodyDeadline(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() <= s.http.ReadBufferSize {
		return fasthttp.RequestConfig{}
	}
	return fasthttp.RequestConfig{ReadTimeout: s.limits.BodyTimeout}
}

// json answers with a body of JSON.
func (x *exchange) json(status int, body []byte) { x.respond(status, typeJSON, body) }

// respond answers with a body, which is not copied before the request ends.
func (x *exchange) respond(status int, media, body []byte) {
	if x.ctx == nil {
		x.hot.status, x.hot.media, x.hot.answer = status, media, body
		return
	}
	x.ctx.SetStatusCode(status)
	x.ctx.Response.Header.SetContentTypeBytes(media)
	x.ctx.Response.SetBody(body)
}

// set sets a header field of the answer.
func (x *exchange) set(name, value string) {
	if x.ctx == nil {
		x.hot.set(name, value)
		return
	}
	x.ctx.Response.Header.Set(name, value)
}

// appendRefusal appends a whole answer to a connection that is closed unread.
func appendRefusal(b []byte, f *fault, now time.Time) []byte {
	id := requestID(nil, nil)
	body := appendError(nil, f, f.message, nil, id, now)
	return fmt.Appendf(b, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nRetry-After: %d\r\nX-Request-ID: %s\r\nX-Process-Time: 0.000000000\r\nConnection: close\r\n\r\n%s",
		f.status, fasthttp.StatusMessage(f.status), len(body), max(1, f.retryAfter), id, body)
}

// fasthttpLogger takes fasthttp's own messages, which tell of single
// connections and are of use only in a search for a fault.
type fasthttpLogger struct{ log *slog.Logger }

func (l fasthttpLogger) Printf(format string, args ...any) {
	l.log.Debug("connection", "detail", fmt.Sprintf(format, args...))
}
