package server

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/tinylib/msgp/msgp"

	"github.com/carla-rl/carla-rl-serving/internal/envelope"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/msgpack"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/serving"
	"github.com/carla-rl/carla-rl-serving/internal/websocket"
)

// answerer draws answers of streams of all kinds of policy.
type answerer struct {
	r    *rand.Rand
	name string // of what has one
}

func (g *answerer) chance() bool { return g.r.IntN(2) == 0 }

func (g *answerer) shape() []int {
	switch g.r.IntN(8) {
	case 0:
		return []int{1 + g.r.IntN(40)}
	case 1:
		return []int{1 + g.r.IntN(3), 1 + g.r.IntN(18)}
	}
	return nil
}

func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// value draws a finite number, of those that people write more than of others.
func (g *answerer) value() float32 {
	switch g.r.IntN(5) {
	case 0:
		return []float32{0, 1, -1, float32(math.Copysign(0, -1)), 1 << 24, 1<<24 + 2, -1 << 30, math.MaxFloat32, math.SmallestNonzeroFloat32, 0.1, 1e16, 9e-6}[g.r.IntN(12)]
	case 1:
		if v := math.Float32frombits(g.r.Uint32()); v-v == 0 {
			return v
		}
	case 2:
		return float32(g.r.IntN(4000)-2000) / 1000
	case 3:
		return float32(g.r.IntN(1<<25) - 1<<24)
	}
	return g.r.Float32()*2 - 1
}

func (g *answerer) values(n int) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = g.value()
	}
	return values
}

// duration draws one of up to 104 days, negative ones among them.
func (g *answerer) duration() time.Duration {
	return time.Duration(g.r.Int64()>>(10+g.r.IntN(54))) - 2
}

// contract draws a policy: its actions have names or not, are numbers or
// shaped, discrete or not.
func (g *answerer) contract() *policy.Contract {
	c := &policy.Contract{Stochastic: g.chance(), Distribution: "gaussian"}
	n := 1 + g.r.IntN(4)
	if g.r.IntN(8) == 0 {
		n = 20
	}
	named, offset := g.chance(), 0
	for i := range n {
		a := policy.Action{Shape: g.shape(), Discrete: g.r.IntN(3) == 0, Offset: offset}
		if named {
			a.Name = fmt.Sprint(g.name, "_", i)
		}
		a.Size = size(a.Shape)
		offset += a.Size
		c.Actions = append(c.Actions, a)
	}
	extra := func(name string, t graph.DType) {
		e := policy.ExtraSpec{Name: name, Shape: g.shape(), DType: t}
		e.Width = size(e.Shape)
		c.Extras = append(c.Extras, e)
	}
	if g.chance() {
		extra("value", graph.Float32)
		extra("raw_action", graph.Int64)
		extra("distribution.mean", graph.Float32)
		extra("distribution.std", graph.Float32)
	}
	if g.r.IntN(4) == 0 {
		for i := range 20 {
			extra(fmt.Sprint(g.name, "-", i), graph.Float32)
		}
	}
	if g.r.IntN(3) == 0 {
		c.Envelope = &envelope.Spec{Limits: make([]envelope.Limit, offset)}
		c.Envelope.Limits[0].Rate = 1
	}
	return c
}

// act draws an act of a policy that was run. It lies ahead, so that the rest of
// its time, which has passed from one answer to the next, is 0.
func (g *answerer) act(s *Server, c *policy.Contract) *act {
	a := &act{s: s, target: Target{Model: g.name, Version: "v1", Contract: c}, begun: time.Now().Add(time.Hour), age: g.duration()}
	a.arrived = a.begun.Add(-g.duration())
	req := &a.req
	req.Rows = 1 + g.r.IntN(3)
	if g.r.IntN(8) == 0 {
		req.Rows = 17
	}
	req.Actions = g.values(req.Rows * c.ActionWidth())
	req.Deterministic, req.Seed = g.chance(), g.r.Uint64()>>11
	req.Queue, req.Infer = g.duration(), g.duration()
	o := &a.options
	if g.chance() {
		o.Given |= 1 << memberObserved
	}
	if g.chance() {
		o.Given, o.Seq = o.Given|1<<memberSeq, g.r.Uint64()>>g.r.IntN(64)
	}
	seen := map[string]bool{}
	for i := range c.Extras {
		e := &c.Extras[i]
		req.Extras = append(req.Extras, g.values(req.Rows*e.Width))
		if head := extraHead(e); !seen[head] && g.chance() {
			o.Return |= 1 << i
			seen[head] = true
		}
	}
	if len(req.Extras) > 0 {
		req.Extras[0][0] = float32(math.Inf(-1))
	}
	if g.r.IntN(3) == 0 {
		req.Interventions = []envelope.Intervention{{From: float32(math.NaN()), To: g.value(), Cause: envelope.Cause{Kind: envelope.Bound}}}
	}
	return a
}

// packed answers as a stream does in both forms, and compares them: the
// MessagePack is what becomes of the JSON, byte for byte.
func (g *answerer) packed(t *testing.T, s *Server, st *stream) (members []string) {
	t.Helper()
	a := g.act(s, g.contract())
	reset, over := g.chance(), overtaken{}
	if g.chance() {
		over.count = g.r.Uint64() >> g.r.IntN(64)
	}
	encode := func(op websocket.Op) []byte {
		room := len(st.conn.Frame())
		b, err := actStream{}.encode(st, a, op, over, reset)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Clone(b[room:])
	}
	text, got := encode(websocket.Text), encode(websocket.Binary)
	g.same(t, text, got)
	// And as POST /predict does, with a state or without, and an act of a session.
	x := &exchange{act: *a}
	x.act.options.Given &^= 1 << memberSeq
	for _, more := range []carried{{}, {state: []byte("v1.token_-"), reset: reset}, {session: st.session, reset: reset}} {
		var members []byte
		if more.state != nil {
			members = append(members, `,"state":"v1.token_-"`...)
		}
		if more.session != nil {
			members = appendSessionMembers(members, st.session, false)
		}
		if more.reset {
			members = append(members, resetByVersion...)
		}
		text, err := x.appendAnswer(nil, members)
		if err != nil {
			t.Fatal(err)
		}
		got, err := x.packAnswer(nil, more)
		if err != nil {
			t.Fatal(err)
		}
		g.same(t, text, got)
	}
	// The slow way is held to another reader of each form.
	var ofText map[string]any
	if err := json.Unmarshal(text, &ofText); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	ofPack, rest, err := msgp.ReadIntfBytes(got)
	if err != nil || len(rest) > 0 || !reflect.DeepEqual(floats(ofPack), any(ofText)) {
		t.Fatalf("%s\nis in MessagePack %v (%v)", text, ofPack, err)
	}
	return slices.Collect(maps.Keys(ofText))
}

// same holds what was packed to what becomes of the JSON.
func (g *answerer) same(t *testing.T, text, got []byte) {
	t.Helper()
	if want := msgpack.AppendFromJSON(nil, text); !bytes.Equal(got, want) {
		same := 0
		for same < min(len(got), len(want)) && got[same] == want[same] {
			same++
		}
		t.Fatalf("behind %d bytes\n got %q\nwant %q\nof %s", same, got[same:], want[same:], text)
	}
}

// floats makes float64s of all numbers, as readers of JSON do.
func floats(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	case map[string]any:
		for k := range v {
			v[k] = floats(v[k])
		}
	case []any:
		for i := range v {
			v[i] = floats(v[i])
		}
	}
	return v
}

// packing returns a stream that answers are made for.
func packing(t testing.TB) (*Server, *stream) {
	t.Helper()
	store := serving.NewSessions(serving.SessionOptions{})
	t.Cleanup(store.Shutdown)
	s, err := New(sameBackend{}, Options{Sessions: store})
	if err != nil {
		t.Fatal(err)
	}
	st := &stream{s: s, conn: websocket.New(&replayConn{}, websocket.Options{})}
	if err := st.open(serving.SessionVersion{Model: "m", Version: "v1", Digest: "sha256:abc", Contract: drivingContract()}, &streamQuery{}); err != nil {
		t.Fatal(err)
	}
	return s, st
}

// TestPackedAnswers compares both forms of many answers, and sees every member
// among them that an answer of a stream can have.
func TestPackedAnswers(t *testing.T) {
	s, st := packing(t)
	g := &answerer{r: rand.New(rand.NewPCG(1, 2))}
	seen := map[string]bool{}
	longest := 0
	for i := range 3000 {
		g.name = []string{"carla-ppo", "ü😀\u2028", `<"\` + "\n\x7f", "not \xff\xfe UTF-8", "a name of more than thirty-two letters"}[i%5]
		members := g.packed(t, s, st)
		longest = max(longest, len(members))
		for _, m := range members {
			seen[m] = true
		}
	}
	for _, name := range answerNames {
		if !seen[name] && name != "state" { // which the session of a stream keeps
			t.Errorf("no answer had %q", name)
		}
	}
	if longest <= maxShort {
		t.Errorf("no answer had more than %d members", maxShort)
	}
}

func FuzzPackedAnswer(f *testing.F) {
	s, st := packing(f)
	f.Add(uint64(1), "carla-ppo")
	f.Add(uint64(2), "\xff<ü>")
	f.Fuzz(func(t *testing.T, seed uint64, name string) {
		g := &answerer{r: rand.New(rand.NewPCG(seed, 0)), name: name}
		g.packed(t, s, st)
	})
}

// TestPackedFloats holds the float64 of every float32 to the one that JSON
// says.
func TestPackedFloats(t *testing.T) {
	g := &answerer{r: rand.New(rand.NewPCG(5, 6))}
	for range 200_000 {
		v := g.value()
		got := packFloat32(nil, v)
		if want := msgpack.AppendFromJSON(nil, appendFloat32(nil, v)); !bytes.Equal(got, want) {
			t.Fatalf("%v (%#x) is %x, want %x", v, math.Float32bits(v), got, want)
		}
	}
}

// TestPackedAnswerRefuses holds both forms to actions that are finite.
func TestPackedAnswerRefuses(t *testing.T) {
	_, st := packing(t)
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		a := act{target: Target{Contract: drivingContract()}, req: serving.Request{Rows: 1, Actions: []float32{0, 0, float32(v)}}}
		if _, err := a.packAnswer(nil, carried{session: st.session}); err != faultInference {
			t.Errorf("%v is answered: %v", v, err)
		}
	}
}

// BenchmarkEncodePacked makes an answer of a stream in MessagePack: at once,
// and by way of the JSON.
func BenchmarkEncodePacked(b *testing.B) {
	s, st := packing(b)
	a := &act{
		s: s, target: Target{Model: "carla-ppo", Version: "v0.1.0", Contract: drivingContract()}, begun: time.Now(),
		req: serving.Request{Rows: 1, Actions: []float32{0.7312345, 0, -0.1098765}, Deterministic: true, Infer: 8500},
	}
	var out []byte
	b.Run("direct", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out, _ = a.packAnswer(out[:0], carried{session: st.session})
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			st.member = appendSessionMembers(st.member[:0], st.session, false)
			st.text, _ = a.appendAnswer(st.text[:0], st.member)
			out = msgpack.AppendFromJSON(out[:0], st.text)
		}
	})
}
