package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// stream is one WebSocket from its upgrade to its end. It holds one session,
// which no one else can use and which ends with it.
//
// One goroutine reads, acts and writes. Reading ahead while an act is under
// way would gain nothing: what comes meanwhile waits in the socket, and of that
// only the newest is acted on.
type stream struct {
	s        *Server
	protocol streamProtocol
	endpoint *endpoint
	id       []byte // of the request that was upgraded
	session  *serving.Session
	key      *knownKey         // that the upgrade came with
	parent   trace.SpanContext // of the upgrade, where it is traced

	gated *gatedConn
	conn  *websocket.Conn

	begun    time.Time
	answers  uint64 // messages that were answered with actions
	refusals uint64 // messages that were answered with an error
	skipped  uint64 // messages that newer ones overtook

	member []byte // members of an answer beside those of every act
	text   []byte // what is in JSON on its way to MessagePack
}

// streamProtocol is what is spoken on a stream.
type streamProtocol interface {
	// greet is called once, before anything is read.
	greet(st *stream) error
	// newest tells whether of the messages that have come only the newest is
	// answered.
	newest() bool
	// answer answers a message. The error ends the stream.
	answer(st *stream, a *act, m websocket.Message, over overtaken) error
}

// overtaken is what the messages that were not answered leave to the one that
// is.
type overtaken struct {
	count  uint64
	starts bool // one of them began an episode
}

// openStream upgrades the request to a stream of one session.
func (x *exchange) openStream(p streamProtocol) error {
	accept, err := x.checkUpgrade()
	if err != nil {
		return err
	}
	q, err := x.streamQuery()
	if err != nil {
		return err
	}
	if x.target, err = x.s.backend.Resolve(q.model, q.version); err != nil {
		return err
	}
	st := &stream{s: x.s, protocol: p, endpoint: x.endpoint, id: append([]byte{}, x.id...), begun: x.start, key: x.key}
	if x.span != nil {
		st.parent = x.span.SpanContext()
	}
	if err := x.s.streams.enter(st); err != nil {
		return err
	}
	if err := st.open(x.sessionVersion(), q); err != nil {
		st.release()
		return err
	}
	if err := x.upgrade(accept, st); err != nil {
		st.release()
		return err
	}
	return nil
}

// open begins the session of the stream, and takes hold of it until the stream
// ends.
func (st *stream) open(v serving.SessionVersion, q *streamQuery) error {
	store := st.s.o.Sessions
	sess, err := store.Open(v, serving.Begin{Seed: q.seed, Deterministic: q.deterministic, Pinned: q.version})
	if err != nil {
		return err
	}
	st.session, err = store.Acquire(sess.ID())
	return err
}

// release gives back what the stream holds, once.
func (st *stream) release() {
	if st.session != nil {
		st.session.Release()
		st.s.o.Sessions.Close(st.session.ID())
		st.session = nil
	}
	st.s.streams.leave(st)
}

// interrupt ends the stream behind the answer that is under way.
func (st *stream) interrupt() {
	if st.conn != nil {
		st.conn.Interrupt()
	}
}

// cut ends the stream at once.
func (st *stream) cut() {
	if st.gated != nil {
		_ = st.gated.Conn.Close() // the stream sees it as an error of its own
	}
}

// run is the life of the stream once it is upgraded.
func (st *stream) run() {
	defer st.gated.Close() // and release with it
	raw := st.gated.Conn
	if raw.SetDeadline(time.Time{}) != nil {
		return
	}
	stopping := st.s.streams.begin(func() { st.conn = websocket.New(raw, st.options()) })
	defer st.conn.End()
	if stopping {
		st.conn.Interrupt()
	}
	err := st.speak()
	code, reason := st.closing(err)
	if code != 0 {
		st.gated.linger.Store(true) // or what the client still sends would reset the connection before it reads why
		st.conn.Close(code, reason)
	}
	st.log(code, err)
}

// options are the limits of the connection.
func (st *stream) options() websocket.Options {
	l, c := &st.s.limits, st.gated
	return websocket.Options{
		MaxMessage: int(l.MaxStreamMessage), MessageTimeout: l.BodyTimeout, WriteTimeout: l.WriteTimeout, Ping: l.StreamPing,
		Grow: func(n int) bool {
			if n < 0 {
				c.unclaim(int64(-n))
				return true
			}
			return c.claim(int64(n))
		},
	}
}

// speak greets and answers until there is nothing more to answer.
func (st *stream) speak() (err error) {
	defer func() {
		if r := recover(); r != nil {
			st.s.metrics.Panicked()
			st.s.log.Error("a stream panicked", "event_type", "error", "panic", fmt.Sprint(r), "endpoint", st.endpoint.template,
				"request_id", string(st.id), "stack", string(debug.Stack()))
			err = faultInternal
		}
	}()
	if err := st.protocol.greet(st); err != nil {
		return err
	}
	for {
		m, err := st.conn.Read()
		if err != nil {
			return err
		}
		var over overtaken
		if st.protocol.newest() {
			if m, over, err = st.newest(m); err != nil {
				return err
			}
		}
		if err := st.step(m, over); err != nil {
			return err
		}
	}
}

// newest returns the last of the messages that have come. The others are not
// answered; that one of them began an episode is kept.
func (st *stream) newest(m websocket.Message) (websocket.Message, overtaken, error) {
	var over overtaken
	for {
		next, ok, err := st.conn.Poll()
		if !ok || err != nil {
			return m, over, err
		}
		over.count++
		over.starts = over.starts || startsEpisode(m)
		st.skipped++
		st.s.streamMetrics.skipped()
		m = next
	}
}

// step answers one message, on an act that all streams share.
func (st *stream) step(m websocket.Message, over overtaken) error {
	s := st.s
	a := s.acts.Get().(*act)
	a.arrive(st.conn.Heard())
	s.metrics.Active(1)
	whole := false
	defer func() {
		s.metrics.Active(-1)
		st.session.Again() // before the act is another stream's
		if !whole {
			return // what a panic left half done is not used again
		}
		// Large buffers are kept, unlike those of a request: the next frame of
		// a camera will need them, and the pool gives them up in time.
		a.target = Target{}
		a.decoder.release()
		a.pack.release()
		a.options.release()
		s.acts.Put(a)
	}()
	err := st.protocol.answer(st, a, m, over)
	whole = true
	return err
}

// act runs one act of the session: decode reads the message by the contract of
// the target. What it returns tells whether the session went over to another
// version.
func (st *stream) act(a *act, over overtaken, decode func(a *act, m websocket.Message) error, m websocket.Message) (reset bool, err error) {
	sess := st.session
	if reset, err = a.follow(sess); err != nil {
		return false, err
	}
	span, ctx := st.span()
	defer endChild(span)
	err = decode(a, m)
	if refused := st.admit(); refused != nil {
		return false, refused
	}
	if err != nil {
		return false, err
	}
	if over.starts {
		sess.Begin()
	}
	if err := a.attach(sess); err != nil {
		return false, err
	}
	return reset, a.run(ctx, st.id)
}

// admit holds a message to what the stream was opened with: the key may have
// been taken away since, and a message is a request of its client. It comes behind the
// decoding, so that a refusal can say which observation it is about.
func (st *stream) admit() error {
	now, key := time.Now(), st.key
	var err error
	if key != nil {
		if key = st.s.o.Keys.again(key, ScopeInfer, now); key == nil {
			err = faultUnauthorized
		}
	}
	if st.s.spend(key, st.gated, now) > 0 {
		return faultRate
	}
	return err
}

// span begins the span of one message, below that of the upgrade; nil where
// that is not sampled.
func (st *stream) span() (trace.Span, context.Context) {
	if st.s.o.Tracer == nil || !st.parent.IsSampled() {
		return nil, nil
	}
	ctx, span := st.s.o.Tracer.Start(trace.ContextWithSpanContext(context.Background(), st.parent), "act "+st.endpoint.template)
	return span, ctx
}

// closing decides how the stream ends: with which code and words, or 0 where
// nothing can be said any more.
func (st *stream) closing(err error) (code int, reason string) {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Peer:
		return 0, ""
	case closed != nil:
		return closed.Code, closed.Reason
	case errors.Is(err, websocket.ErrInterrupted):
		return websocket.CloseGoingAway, "the server is shutting down"
	case errors.Is(err, errOpenpi):
		return websocket.CloseInternal, "The message before says what went wrong."
	case errors.Is(err, websocket.ErrDead), errors.Is(err, io.EOF):
		return 0, ""
	}
	if f, message, _ := faultOf(err); f == faultInternal || f == faultInference {
		return websocket.CloseInternal, message
	}
	return 0, "" // the connection broke
}

// log tells of the end of the stream.
func (st *stream) log(code int, err error) {
	st.s.streamMetrics.closed(code)
	if !st.s.o.AccessLog {
		return
	}
	attrs := []slog.Attr{
		slog.String("event_type", "stream_end"), slog.String("endpoint", st.endpoint.template),
		slog.Float64("duration_ms", float64(time.Since(st.begun))/1e6), slog.Uint64("answers", st.answers),
		slog.Uint64("refused", st.refusals), slog.Uint64("skipped", st.skipped), slog.String("why", clip([]byte(err.Error()))),
		slog.String("request_id", string(st.id)),
	}
	if code != 0 {
		attrs = append(attrs, slog.Int("close_code", code))
	}
	st.s.log.LogAttrs(context.Background(), slog.LevelInfo, "stream", attrs...)
}

// streamQuery is what the query of an upgrade says.
type streamQuery struct {
	model, version string
	deterministic  *bool
	seed           uint64
}

var streamQueryNames = []string{"model", "version", "deterministic", "seed"}

// streamQuery reads the query: model, version, deterministic and seed, each at
// most once and nothing else.
func (x *exchange) streamQuery() (*streamQuery, error) {
	q := &streamQuery{seed: drawSeed()}
	var r refusal
	seen := map[string]bool{}
	for name, value := range x.ctx.QueryArgs().All() {
		field := "query." + clip(name)
		if seen[string(name)] {
			r.violate(field, kindDuplicate, "expected one of this name, got another")
			continue
		}
		seen[string(name)] = true
		switch string(name) {
		case "model":
			q.model = string(value)
		case "version":
			q.version = string(value)
		case "deterministic":
			v, err := strconv.ParseBool(string(value))
			if err != nil || string(value) != "true" && string(value) != "false" {
				r.violate(field, kindBool, "expected true or false, got "+strconv.QuoteToASCII(clip(value)))
			}
			q.deterministic = &v
		case "seed":
			n, ok := wholeNumber(value)
			if !ok {
				r.violate(field, kindInteger, "expected a whole number from 0 to 9007199254740991, got "+strconv.QuoteToASCII(clip(value)))
			}
			q.seed = n
		default:
			r.unknown("query", name, streamQueryNames)
		}
	}
	if r.count > 0 {
		return nil, r.refused()
	}
	if q.model != "" && !validName([]byte(q.model)) {
		return nil, faultModel
	}
	if q.version != "" && !validName([]byte(q.version)) {
		return nil, faultVersion
	}
	return q, nil
}
