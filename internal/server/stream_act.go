package server

import (
	"bytes"
	"strconv"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// actStream is what is spoken on /v1/stream: a message is an act of the
// session, in JSON as text and in MessagePack as binary, and is answered in the
// form in which it came. The newest observation wins.
type actStream struct{}

// stream answers GET /v1/stream.
func (x *exchange) stream() error { return x.openStream(actStream{}) }

func (actStream) greet(*stream) error { return nil }
func (actStream) newest() bool        { return true }

func (p actStream) answer(st *stream, a *act, m websocket.Message, over overtaken) error {
	decode := (*act).streamJSON
	if m.Op == websocket.Binary {
		decode = (*act).streamPacked
	}
	reset, err := st.act(a, over, decode, m)
	var out []byte
	if err == nil {
		out, err = p.encode(st, a, m.Op, over, reset)
	}
	if err != nil {
		st.count(a, err)
		return p.refuse(st, a, m.Op, over, err)
	}
	st.session.Advance()
	return st.finish(a, m.Op, out)
}

// finish sends an answer, and counts it while it is on its way: the robot does
// not wait for the metrics.
func (st *stream) finish(a *act, op websocket.Op, frame []byte) error {
	err := st.conn.Write(op, frame)
	st.count(a, nil)
	st.answers++
	st.s.streamMetrics.answered(op)
	return err
}

// count counts an act that reached the backend.
func (st *stream) count(a *act, err error) {
	if !a.begun.IsZero() {
		a.observe(err, st.id)
	}
}

func (a *act) streamJSON(m websocket.Message) error   { return a.decodeJSON(m.Payload, formStream) }
func (a *act) streamPacked(m websocket.Message) error { return a.decodePack(m.Payload, formStream) }

// encode makes the answer of an act: that of POST /predict, with the sequence
// number of the observation, step and episode, and how many observations it
// overtook.
func (p actStream) encode(st *stream, a *act, op websocket.Op, over overtaken, reset bool) ([]byte, error) {
	if op == websocket.Binary {
		return a.packAnswer(st.conn.Frame(), carried{session: st.session, reset: reset, over: over})
	}
	b := appendSessionMembers(st.member[:0], st.session, reset)
	st.member = p.carrier(b, a, over)
	return a.appendAnswer(st.conn.Frame(), st.member)
}

// carrier appends what every answer of a stream says, an error too.
func (actStream) carrier(b []byte, a *act, over overtaken) []byte {
	if a.options.Given.has(memberSeq) {
		b = append(b, `,"seq":`...)
		b = strconv.AppendUint(b, a.options.Seq, 10)
	}
	if over.count > 0 {
		b = append(b, `,"skipped":`...)
		b = strconv.AppendUint(b, over.count, 10)
	}
	return b
}

// refuse answers with the error envelope. A stream goes on after a message that
// was refused; it ends where the fault is the server's.
func (p actStream) refuse(st *stream, a *act, op websocket.Op, over overtaken, err error) error {
	f, message, details := st.refused(op, err)
	st.text = appendError(st.text[:0], f, message, details, st.id, time.Now())
	st.text = append(p.carrier(st.text[:len(st.text)-1], a, over), '}')
	var out []byte
	if op == websocket.Text {
		out = append(st.conn.Frame(), st.text...)
	} else {
		out = msgpack.AppendFromJSON(st.conn.Frame(), st.text)
	}
	if err := st.conn.Write(op, out); err != nil {
		return err
	}
	if f == faultInternal {
		return f
	}
	return nil
}

// refused counts a message that is answered with an error, and returns what
// may be said of it.
func (st *stream) refused(op websocket.Op, err error) (*fault, string, []byte) {
	f, message, details := faultOf(err)
	if f == faultInternal {
		st.s.log.Error("a message failed", "event_type", "error", "error", err, "endpoint", st.endpoint.template, "request_id", string(st.id))
	}
	st.refusals++
	st.s.reject.count(f)
	st.s.metrics.Error(f.code, st.endpoint.template)
	st.s.streamMetrics.refused(op)
	return f, message, details
}

// startsEpisode reports whether a message that was overtaken would have begun
// an episode: the one that overtook it begins it then. One that is not
// well-formed says nothing.
func startsEpisode(m websocket.Message) bool {
	name := []byte(memberNames[memberStart])
	if m.Op == websocket.Binary {
		return bytes.Contains(m.Payload, name) && packStarts(m.Payload)
	}
	// A name may be written with escapes.
	return (bytes.Contains(m.Payload, name) || bytes.IndexByte(m.Payload, '\\') >= 0) && jsonStarts(m.Payload)
}

// jsonStarts looks for "episode_start":true or [true] among the members of an
// object.
func jsonStarts(data []byte) bool {
	var s scanner
	s.begin(data)
	if s.next() != '{' || s.empty('}') {
		return false
	}
	for {
		name, ok := s.key()
		if !ok {
			return false
		}
		if string(name) == memberNames[memberStart] {
			c := s.next()
			if c == '[' {
				s.pos++
				c = s.next()
			}
			return c == 't'
		}
		if !s.skip(1) {
			return false
		}
		if more, _ := s.more('}'); !more {
			return false
		}
	}
}

// streamMetrics are the counters of streams, resolved once.
type streamMetrics struct {
	jsonOK, jsonError, packOK, packError func()
	skipped                              func()
	closed                               func(code int)
}

func newStreamMetrics(m Metrics, open func() int) streamMetrics {
	m.Streams(open)
	return streamMetrics{
		jsonOK: m.StreamMessages("json", "ok"), jsonError: m.StreamMessages("json", "error"),
		packOK: m.StreamMessages("msgpack", "ok"), packError: m.StreamMessages("msgpack", "error"),
		skipped: m.StreamSkipped(), closed: m.StreamClosed,
	}
}

func (m *streamMetrics) answered(op websocket.Op) {
	if op == websocket.Text {
		m.jsonOK()
		return
	}
	m.packOK()
}

func (m *streamMetrics) refused(op websocket.Op) {
	if op == websocket.Text {
		m.jsonError()
		return
	}
	m.packError()
}
