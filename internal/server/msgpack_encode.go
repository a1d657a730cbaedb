package server

import (
	"encoding/binary"
	"math/bits"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"

	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
)

// carried is what the carrier of an act adds to its answer.
type carried struct {
	state   []byte // of the next step, of POST /predict
	session *serving.Session
	reset   bool // another version has taken over
	over    overtaken
}

// packAnswer appends in MessagePack the answer that appendAnswer makes in JSON,
// with the members of its carrier: those of nextState, appendSessionMembers and
// actStream.carrier. Its bytes are those that msgpack.AppendFromJSON makes of
// that; one form for both would cost the JSON some 50 ns a step. What is rare
// goes by way of the JSON.
func (a *act) packAnswer(b []byte, more carried) ([]byte, error) {
	t, req, st := &a.target, &a.req, &a.text
	width := t.Contract.ActionWidth()
	for _, v := range req.Actions[:req.Rows*width] {
		if v-v != 0 {
			return b, faultInference
		}
	}
	start, members := len(b), 6
	b = append(b, 0) // their number, which is known at the end
	b = packHead(msgp.AppendString(b, "actions"), packArray, req.Rows)
	for row := range req.Rows {
		b = packAction(b, t.Contract.Actions, req.Actions[row*width:][:width])
	}
	b = packString(msgp.AppendString(b, "version"), t.Version)
	b = packMillis(msgp.AppendString(b, "timingMs"), req.Infer)
	b = msgp.AppendBool(msgp.AppendString(b, "deterministic"), req.Deterministic)
	b = packString(msgp.AppendString(b, "model"), t.Model)
	if a.drawn() {
		members++
		b = msgp.AppendUint64(msgp.AppendString(b, "seed"), req.Seed)
	}
	if wanted := a.options.Return; wanted != 0 {
		members += bits.OnesCount64(uint64(wanted))
		*st = append(appendReturns(append((*st)[:0], '{'), wanted, t.Contract, req), '}')
		b = packMembers(b, *st)
	}
	if a.options.Given.has(memberObserved) {
		members++
		b = packMillis(msgp.AppendString(b, "age_ms"), a.age)
	}
	if len(req.Interventions) > 0 {
		members++
		*st = AppendInterventions((*st)[:0], t.Contract, req.Interventions)
		b = msgpack.AppendFromJSON(msgp.AppendString(b, "interventions"), *st)
	}
	if moving := t.Contract.Moving(); moving != nil && req.Histories == nil {
		members++
		*st = AppendUnheld((*st)[:0], moving)
		b = msgpack.AppendFromJSON(msgp.AppendString(b, "unheld"), *st)
	}
	if more.state != nil {
		members++
		b = msgp.AppendStringFromBytes(msgp.AppendString(b, "state"), more.state)
	}
	if sess := more.session; sess != nil {
		members += 3
		b = packString(msgp.AppendString(b, "session_id"), sess.ID())
		b = msgp.AppendUint64(msgp.AppendString(b, "step"), sess.Step())
		b = msgp.AppendUint64(msgp.AppendString(b, "episode"), sess.Episode())
	}
	if more.reset {
		members++
		b = msgp.AppendString(msgp.AppendString(b, "reset"), "version")
	}
	if more.session != nil && a.options.Given.has(memberSeq) {
		members++
		b = msgp.AppendUint64(msgp.AppendString(b, "seq"), a.options.Seq)
	}
	if more.over.count > 0 {
		members++
		b = msgp.AppendUint64(msgp.AppendString(b, "skipped"), more.over.count)
	}
	a.postprocess = a.rest()
	b = packHead(msgp.AppendString(b, "timing"), packMap, 4)
	b = packMillis(msgp.AppendString(b, "queue_ms"), req.Queue)
	b = packMillis(msgp.AppendString(b, "preprocess_ms"), a.preprocess())
	b = packMillis(msgp.AppendString(b, "infer_ms"), a.infer())
	b = packMillis(msgp.AppendString(b, "postprocess_ms"), a.postprocess)
	if members > maxShort {
		b = append(b, "1234"...)
		copy(b[start+longHead:], b[start+1:])
	}
	packHead(b[:start], packMap, members)
	return b, nil
}

// packMembers appends the members of the object that text is, without the head
// of a map.
func packMembers(b, text []byte) []byte {
	at := len(b)
	b = msgpack.AppendFromJSON(b, text)
	head := 1
	if b[at] > packMap|maxShort {
		head = longHead
	}
	return append(b[:at], b[at+head:]...)
}

// packAction is appendAction.
func packAction(b []byte, actions []policy.Action, values []float32) []byte {
	named := len(actions) == 0 || actions[0].Name != ""
	switch {
	case named:
		b = packHead(b, packMap, len(actions))
	case len(actions) > 1:
		b = packHead(b, packArray, len(actions))
	}
	for i := range actions {
		a := &actions[i]
		if named {
			b = packString(b, a.Name)
		}
		b = packValues(b, a, a.Shape, values[a.Offset:][:a.Size])
	}
	return b
}

// packValues is appendValues.
func packValues(b []byte, a *policy.Action, shape []int, values []float32) []byte {
	if len(shape) == 0 {
		if a.Discrete {
			return packInt(b, int64(values[0]))
		}
		return packFloat32(b, values[0])
	}
	b = packHead(b, packArray, shape[0])
	for i := range shape[0] {
		size := len(values) / shape[0]
		b = packValues(b, a, shape[1:], values[i*size:][:size])
	}
	return b
}

// packFloat32 appends a finite number as the float64 that is nearest to its
// shortest decimal, so that a reader sees 0.1 in both forms.
func packFloat32(b []byte, v float32) []byte {
	const exact = 1 << 24 // below it the decimal of an integer has all its digits
	if -exact < v && v < exact && v == float32(int32(v)) {
		return msgp.AppendFloat64(b, float64(v))
	}
	var text [48]byte
	f, _ := scanNumber(appendFloat32(text[:0], v), 0)
	return msgp.AppendFloat64(b, f)
}

func packInt(b []byte, n int64) []byte {
	if n >= 0 {
		return msgp.AppendUint64(b, uint64(n))
	}
	return msgp.AppendInt64(b, n)
}

// packMillis is appendMillis. A float64 holds the digits up to 104 days.
func packMillis(b []byte, d time.Duration) []byte {
	return msgp.AppendFloat64(b, float64(max(0, d.Nanoseconds()))/1e6)
}

// packString appends s. What is not UTF-8 becomes U+FFFD, byte by byte.
func packString(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	return msgp.AppendString(b, s)
}

const (
	packMap   = 0x80 // heads of up to maxShort
	packArray = 0x90
	maxShort  = 15
	longHead  = 5 // bytes of the others
)

// packHead appends the head of a map or list of n.
func packHead(b []byte, short byte, n int) []byte {
	if n <= maxShort {
		return append(b, short|byte(n))
	}
	long := byte(0xdd)
	if short == packMap {
		long = 0xdf
	}
	return binary.BigEndian.AppendUint32(append(b, long), uint32(n))
}
