package server

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// openpi is the policy protocol of Physical Intelligence's openpi, which its
// clients speak on "/": the server says first what it is, and then answers each
// observation, a map in MessagePack, with a map that holds the actions. An
// error is a message of text, behind which the server closes; the client raises
// its words. The connection is the session.
type openpi struct {
	previous time.Duration // from the last observation to its answer; 0 without one
}

// root answers GET /: a person is led to the documentation, and a client of
// openpi is upgraded. The page is for everybody, the policy is not.
func (x *exchange) root() error {
	if !x.wantsUpgrade() {
		return x.home()
	}
	if s := x.s; s.o.Keys != nil && !s.o.Keyless {
		c, _ := x.ctx.Conn().(*gatedConn)
		if err := x.authorize(c, ScopeInfer); err != nil {
			return err
		}
	}
	return x.openStream(&openpi{})
}

// greet sends the metadata: what there is to know of the policy, under names of
// ours. Clients of openpi show it and look for what they know.
func (p *openpi) greet(st *stream) error {
	t := st.session.Version()
	c := t.Contract
	b := msgp.AppendMapHeader(st.conn.Frame(), 8)
	b = msgp.AppendString(msgp.AppendString(b, "server"), "carla-rl-serving")
	b = msgp.AppendString(msgp.AppendString(b, "model"), t.Model)
	b = msgp.AppendString(msgp.AppendString(b, "version"), t.Version)
	b = msgp.AppendInt(msgp.AppendString(b, "action_horizon"), 1)
	b = msgp.AppendInt(msgp.AppendString(b, "action_dim"), c.ActionWidth())
	b = msgp.AppendArrayHeader(msgp.AppendString(b, "action_names"), uint32(c.ActionWidth()))
	for i := range c.ActionWidth() {
		b = msgp.AppendString(b, c.ActionName(i))
	}
	b = msgp.AppendMapHeader(msgp.AppendString(b, "observation"), uint32(len(c.Features)))
	for i := range c.Features {
		f := &c.Features[i]
		b = msgp.AppendArrayHeader(msgp.AppendString(b, inputName(c, i)), uint32(len(f.Shape)))
		for _, n := range f.Shape {
			b = msgp.AppendInt(b, n)
		}
	}
	b = msgp.AppendBool(msgp.AppendString(b, "recurrent"), len(c.State) > 0)
	return st.conn.Write(websocket.Binary, b)
}

// newest is false: an answer is waited for before the next observation, and one
// that were never answered would leave the client waiting.
func (p *openpi) newest() bool { return false }

func (p *openpi) answer(st *stream, a *act, m websocket.Message, over overtaken) error {
	if m.Op != websocket.Binary {
		return p.fail(st, explain(faultMalformedPack, "an observation is a binary message"))
	}
	_, err := st.act(a, over, (*act).decodeOpenpi, m)
	var b []byte
	if err == nil {
		b, err = p.encode(st, a)
	}
	if err != nil {
		st.count(a, err)
		return p.fail(st, err)
	}
	a.postprocess = a.rest()
	st.session.Advance()
	err = st.finish(a, websocket.Binary, b)
	p.previous = time.Since(a.arrived)
	return err
}

// encode makes the map of the actions: all of them as an array of one step, in
// the order of the metadata, and each under its name.
func (p *openpi) encode(st *stream, a *act) ([]byte, error) {
	c, values := a.target.Contract, a.req.Actions
	for _, v := range values {
		if v-v != 0 {
			return nil, faultInference
		}
	}
	named := uint32(0)
	if len(c.Actions) > 0 && c.Actions[0].Name != "" {
		named = 1
	}
	b := msgp.AppendMapHeader(st.conn.Frame(), 3+named)
	b = appendArray(msgp.AppendString(b, "actions"), values, 1, len(values))
	if named > 0 {
		b = msgp.AppendMapHeader(msgp.AppendString(b, "action"), uint32(len(c.Actions)))
		for i := range c.Actions {
			act := &c.Actions[i]
			b = msgp.AppendString(b, act.Name)
			part := values[act.Offset:][:act.Size]
			if len(act.Shape) == 0 {
				b = msgp.AppendFloat32(b, part[0])
			} else {
				b = appendArray(b, part, act.Shape...)
			}
		}
	}
	b = appendTiming(msgp.AppendString(b, "policy_timing"), a.req.Infer, 0)
	return appendTiming(msgp.AppendString(b, "server_timing"), time.Since(a.arrived), p.previous), nil
}

// appendArray appends numbers as msgpack-numpy does: a map whose keys are
// bytes, since those of text are no array to its reader.
func appendArray(b []byte, values []float32, shape ...int) []byte {
	b = msgp.AppendMapHeader(b, 4)
	b = msgp.AppendBool(msgp.AppendBytes(b, []byte("__ndarray__")), true)
	b = msgp.AppendBytesHeader(msgp.AppendBytes(b, []byte("data")), uint32(4*len(values)))
	for _, v := range values {
		b = le.AppendUint32(b, math.Float32bits(v))
	}
	b = msgp.AppendString(msgp.AppendBytes(b, []byte("dtype")), "<f4")
	b = msgp.AppendArrayHeader(msgp.AppendBytes(b, []byte("shape")), uint32(len(shape)))
	for _, n := range shape {
		b = msgp.AppendInt(b, n)
	}
	return b
}

// appendTiming appends times in milliseconds; a previous one of 0 is left out.
func appendTiming(b []byte, infer, previous time.Duration) []byte {
	n := uint32(1)
	if previous > 0 {
		n = 2
	}
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendFloat64(msgp.AppendString(b, "infer_ms"), float64(infer)/1e6)
	if previous > 0 {
		b = msgp.AppendFloat64(msgp.AppendString(b, "prev_total_ms"), float64(previous)/1e6)
	}
	return b
}

// errOpenpi ends a stream behind an error that the client was told.
var errOpenpi = errors.New("an observation was answered with an error")

// fail tells the client what went wrong, in words that say nothing of the
// inside, and ends the stream as the protocol has it.
func (p *openpi) fail(st *stream, err error) error {
	f, message, _ := st.refused(websocket.Binary, err)
	text := fmt.Sprintf("%s: %s (request %s)", f.code, message, st.id)
	if err := st.conn.Send(websocket.Text, []byte(strings.ToValidUTF8(text, "\uFFFD"))); err != nil {
		return err
	}
	return errOpenpi
}
