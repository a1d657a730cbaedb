package plan_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/plan"
)

// net builds the networks of the benchmarks as lowering builds them.
type net struct {
	g *graph.Graph
	r *rand.Rand
	t testing.TB
}

func (n *net) in(name string, shape ...int) *graph.Value {
	return n.g.Input(name, graph.Float32, shape)
}

func (n *net) w(scale float64, shape ...int) *graph.Value {
	return n.g.Constant("w", randomTensor(n.r, scale, shape...))
}

func (n *net) add(op graph.Op, attrs graph.Attrs, in ...*graph.Value) *graph.Value {
	n.t.Helper()
	return must(n.t)(n.g.Add(op, attrs, in...))
}

func (n *net) linear(x *graph.Value, in, out int) *graph.Value {
	return n.add(graph.OpLinear, nil, x, n.w(1/math.Sqrt(float64(in)), out, in), n.w(0.1, out))
}

func (n *net) dense(act graph.Op, widths ...int) {
	x := n.in("x", graph.Batch, widths[0])
	for i := 1; i < len(widths); i++ {
		if x = n.linear(x, widths[i-1], widths[i]); i < len(widths)-1 {
			x = n.add(act, nil, x)
		}
	}
	n.g.Output("y", x)
}

func (n *net) conv(x *graph.Value, out, in, stride, padding int, kernel ...int) *graph.Value {
	s, p := make([]int, len(kernel)), make([]int, len(kernel))
	size := in
	for i, k := range kernel {
		s[i], p[i] = stride, padding
		size *= k
	}
	groups := x.Shape[1] / in
	return n.add(graph.OpConv, graph.Attrs{"stride": s, "padding": p, "groups": groups}, x, n.w(1/math.Sqrt(float64(size)), append([]int{out, in}, kernel...)...), n.w(0.1, out))
}

func (n *net) relu(x *graph.Value) *graph.Value { return n.add(graph.OpRelu, nil, x) }

func (n *net) flat(x *graph.Value) *graph.Value {
	return n.add(graph.OpReshape, graph.Attrs{"shape": []int{x.Shape[0], x.Shape[1:].RowElements()}}, x)
}

func (n *net) slice(x *graph.Value, axis, from, to, step int) *graph.Value {
	return n.add(graph.OpSlice, graph.Attrs{"axis": axis, "start": from, "end": to, "step": step}, x)
}

func (n *net) halve(x *graph.Value) *graph.Value {
	for axis := 2; axis < len(x.Shape); axis++ {
		d := x.Shape[axis]
		x = n.add(graph.OpMaximum, nil, n.slice(x, axis, 0, d-1, 2), n.slice(x, axis, 1, d, 2))
	}
	return x
}

func (n *net) gates(x *graph.Value, k int) []*graph.Value {
	out := make([]*graph.Value, k)
	last := len(x.Shape) - 1
	for i := range out {
		out[i] = n.slice(x, last, i*x.Shape[last]/k, (i+1)*x.Shape[last]/k, 1)
	}
	return out
}

func (n *net) number(x float64) *graph.Value {
	return n.g.Constant("", graph.Float32s([]float32{float32(x)}))
}

type recurrentWeights struct{ ih, hh, bih, bhh *graph.Value }

func (n *net) recurrent(in, size, gates int) recurrentWeights {
	s := 1 / math.Sqrt(float64(size))
	return recurrentWeights{n.w(s, gates*size, in), n.w(s, gates*size, size), n.w(s, gates*size), n.w(s, gates*size)}
}

func (n *net) lstmStep(x, h, c *graph.Value, w recurrentWeights) (*graph.Value, *graph.Value) {
	g := n.gates(n.add(graph.OpAdd, nil, n.add(graph.OpLinear, nil, x, w.ih, w.bih), n.add(graph.OpLinear, nil, h, w.hh, w.bhh)), 4)
	i, f, o := n.add(graph.OpSigmoid, nil, g[0]), n.add(graph.OpSigmoid, nil, g[1]), n.add(graph.OpSigmoid, nil, g[3])
	c = n.add(graph.OpAdd, nil, n.add(graph.OpMul, nil, f, c), n.add(graph.OpMul, nil, i, n.add(graph.OpTanh, nil, g[2])))
	return n.add(graph.OpMul, nil, o, n.add(graph.OpTanh, nil, c)), c
}

func (n *net) lstm(in, size, length int) {
	x, h, c := n.in("x", length, graph.Batch, in), n.in("h", graph.Batch, size), n.in("c", graph.Batch, size)
	w := n.recurrent(in, size, 4)
	var outs []*graph.Value
	for t := range length {
		xt := n.add(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, in}}, n.slice(x, 0, t, t+1, 1))
		h, c = n.lstmStep(xt, h, c, w)
		outs = append(outs, n.add(graph.OpReshape, graph.Attrs{"shape": []int{1, graph.Batch, size}}, h))
	}
	n.g.Output("y", n.add(graph.OpConcat, graph.Attrs{"axis": 0}, outs...))
	n.g.Output("h", h)
	n.g.Output("c", c)
}

func (n *net) gru(in, size int) {
	x, h := n.in("x", graph.Batch, in), n.in("h", graph.Batch, size)
	w := n.recurrent(in, size, 3)
	gi, gh := n.gates(n.add(graph.OpLinear, nil, x, w.ih, w.bih), 3), n.gates(n.add(graph.OpLinear, nil, h, w.hh, w.bhh), 3)
	r := n.add(graph.OpSigmoid, nil, n.add(graph.OpAdd, nil, gi[0], gh[0]))
	z := n.add(graph.OpSigmoid, nil, n.add(graph.OpAdd, nil, gi[1], gh[1]))
	v := n.add(graph.OpTanh, nil, n.add(graph.OpAdd, nil, gi[2], n.add(graph.OpMul, nil, r, gh[2])))
	n.g.Output("h", n.add(graph.OpAdd, nil, v, n.add(graph.OpMul, nil, z, n.add(graph.OpSub, nil, h, v))))
}

func (n *net) rnn(in, size int) {
	x, h := n.in("x", graph.Batch, in), n.in("h", graph.Batch, size)
	w := n.recurrent(in, size, 1)
	n.g.Output("h", n.add(graph.OpTanh, nil, n.add(graph.OpAdd, nil, n.add(graph.OpLinear, nil, x, w.ih, w.bih), n.add(graph.OpLinear, nil, h, w.hh, w.bhh))))
}

// norm is a layer norm as lowering composes it.
func (n *net) norm(x *graph.Value) *graph.Value {
	last := len(x.Shape) - 1
	reduce := graph.Attrs{"axes": []int{last}, "keepdim": true}
	d := n.add(graph.OpSub, nil, x, n.add(graph.OpMean, reduce, x))
	v := n.add(graph.OpMean, reduce, n.add(graph.OpMul, nil, d, d))
	y := n.add(graph.OpMul, nil, d, n.add(graph.OpRsqrt, nil, n.add(graph.OpAdd, nil, v, n.number(1e-5))))
	return n.add(graph.OpAdd, nil, n.add(graph.OpMul, nil, y, n.w(1, x.Shape[last])), n.w(1, x.Shape[last]))
}

func (n *net) attention(x *graph.Value, heads int) *graph.Value {
	length, width := x.Shape[1], x.Shape[2]
	size := width / heads
	split := func() *graph.Value {
		y := n.add(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, length, heads, size}}, n.linear(x, width, width))
		return n.add(graph.OpTranspose, graph.Attrs{"perm": []int{0, 2, 1, 3}}, y)
	}
	q, k, v := split(), split(), split()
	q = n.add(graph.OpMul, nil, q, n.number(1/math.Sqrt(float64(size))))
	s := n.add(graph.OpMatMul, nil, q, n.add(graph.OpTranspose, graph.Attrs{"perm": []int{0, 1, 3, 2}}, k))
	o := n.add(graph.OpMatMul, nil, n.add(graph.OpSoftmax, graph.Attrs{"axis": -1}, s), v)
	o = n.add(graph.OpReshape, graph.Attrs{"shape": []int{graph.Batch, length, width}}, n.add(graph.OpTranspose, graph.Attrs{"perm": []int{0, 2, 1, 3}}, o))
	return n.linear(o, width, width)
}

func (n *net) encoder(length, width, heads, inner int) {
	x := n.in("x", graph.Batch, length, width)
	y := n.norm(n.add(graph.OpAdd, nil, n.attention(x, heads), x))
	z := n.linear(n.relu(n.linear(y, width, inner)), inner, width)
	n.g.Output("y", n.norm(n.add(graph.OpAdd, nil, z, y)))
}

func (n *net) one(op graph.Op, attrs graph.Attrs, shapes ...[]int) {
	var in []*graph.Value
	for i, s := range shapes {
		in = append(in, n.in(string(rune('a'+i)), append([]int{graph.Batch}, s...)...))
	}
	n.g.Output("y", n.add(op, attrs, in...))
}

var families = []struct {
	name  string
	build func(n *net)
}{
	{"mlp5-64-64-3", func(n *net) { n.dense(graph.OpRelu, 5, 64, 64, 3) }},
	{"mlp5-64-64-3tanh", func(n *net) { n.dense(graph.OpTanh, 5, 64, 64, 3) }},
	{"mlp17-256-256-6", func(n *net) { n.dense(graph.OpRelu, 17, 256, 256, 6) }},
	{"mlp64-512-512-8", func(n *net) { n.dense(graph.OpElu, 64, 512, 512, 8) }},
	{"mlp_ln", func(n *net) {
		x := n.in("x", graph.Batch, 17)
		x = n.add(graph.OpTanh, nil, n.norm(n.linear(x, 17, 128)))
		x = n.add(graph.OpTanh, nil, n.norm(n.linear(x, 128, 128)))
		n.g.Output("y", n.linear(x, 128, 6))
	}},
	{"mlp_gelu", func(n *net) { n.dense(graph.OpGelu, 17, 256, 256, 6) }},
	{"nature", func(n *net) {
		x := n.in("x", graph.Batch, 4, 84, 84)
		x = n.relu(n.conv(x, 32, 4, 4, 0, 8, 8))
		x = n.relu(n.conv(x, 64, 32, 2, 0, 4, 4))
		x = n.flat(n.relu(n.conv(x, 64, 64, 1, 0, 3, 3)))
		n.g.Output("y", n.linear(n.relu(n.linear(x, 3136, 512)), 512, 6))
	}},
	{"smallcnn", func(n *net) {
		x := n.in("x", graph.Batch, 3, 32, 32)
		x = n.halve(n.relu(n.conv(x, 16, 3, 1, 1, 3, 3)))
		x = n.flat(n.halve(n.relu(n.conv(x, 32, 16, 1, 1, 3, 3))))
		n.g.Output("y", n.linear(x, 2048, 64))
	}},
	{"impala", func(n *net) {
		x := n.in("x", graph.Batch, 3, 64, 64)
		for i, width := range []int{16, 32, 32} {
			x = n.halve(n.conv(x, width, []int{3, 16, 32}[i], 1, 1, 3, 3))
			for range 2 {
				y := n.conv(n.relu(x), width, width, 1, 1, 3, 3)
				x = n.add(graph.OpAdd, nil, x, n.conv(n.relu(y), width, width, 1, 1, 3, 3))
			}
		}
		x = n.flat(n.relu(x))
		n.g.Output("y", n.linear(n.relu(n.linear(x, 2048, 256)), 256, 15))
	}},
	{"tinycnn", func(n *net) {
		x := n.in("x", graph.Batch, 1, 36, 36)
		x = n.relu(n.conv(x, 8, 1, 2, 0, 3, 3))
		x = n.flat(n.relu(n.conv(x, 16, 8, 2, 0, 3, 3)))
		n.g.Output("y", n.linear(x, 1024, 4))
	}},
	{"conv1d", func(n *net) {
		x := n.in("x", graph.Batch, 8, 64)
		x = n.relu(n.conv(x, 32, 8, 1, 0, 5))
		n.g.Output("y", n.relu(n.conv(x, 32, 32, 2, 0, 3)))
	}},
	{"depthwise", func(n *net) {
		x := n.in("x", graph.Batch, 32, 20, 20)
		x = n.relu(n.conv(x, 32, 1, 1, 1, 3, 3))
		n.g.Output("y", n.conv(x, 64, 32, 1, 0, 1, 1))
	}},
	{"convt", func(n *net) {
		x := n.in("x", graph.Batch, 32, 8, 8)
		attrs := graph.Attrs{"stride": []int{2, 2}, "padding": []int{1, 1}}
		x = n.relu(n.add(graph.OpConvTranspose, attrs, x, n.w(0.1, 32, 16, 4, 4), n.w(0.1, 16)))
		n.g.Output("y", n.add(graph.OpConvTranspose, attrs, x, n.w(0.1, 16, 3, 4, 4), n.w(0.1, 3)))
	}},
	{"lstm64", func(n *net) { n.lstm(64, 64, 1) }},
	{"lstm256", func(n *net) { n.lstm(64, 256, 1) }},
	{"lstm512", func(n *net) { n.lstm(256, 512, 1) }},
	{"gru64", func(n *net) { n.gru(64, 64) }},
	{"gru256", func(n *net) { n.gru(64, 256) }},
	{"gru512", func(n *net) { n.gru(256, 512) }},
	{"lstm64seq16", func(n *net) { n.lstm(64, 64, 16) }},
	{"rnn128", func(n *net) { n.rnn(64, 128) }},
	{"ln128", func(n *net) { n.g.Output("y", n.norm(n.in("x", graph.Batch, 128))) }},
	{"ln16x128", func(n *net) { n.g.Output("y", n.norm(n.in("x", graph.Batch, 16, 128))) }},
	{"attn16x64", func(n *net) { n.g.Output("y", n.attention(n.in("x", graph.Batch, 16, 64), 4)) }},
	{"attn32x128", func(n *net) { n.g.Output("y", n.attention(n.in("x", graph.Batch, 32, 128), 8)) }},
	{"tf16x64", func(n *net) { n.encoder(16, 64, 4, 128) }},
	{"tf32x128", func(n *net) { n.encoder(32, 128, 8, 512) }},
	{"softmax18", func(n *net) { n.one(graph.OpSoftmax, graph.Attrs{"axis": -1}, []int{18}) }},
	{"softmax64x64", func(n *net) { n.one(graph.OpSoftmax, graph.Attrs{"axis": -1}, []int{64, 64}) }},
	{"logsoftmax18", func(n *net) { n.one(graph.OpLogSoftmax, graph.Attrs{"axis": -1}, []int{18}) }},
	{"bmm8x32x16x32", func(n *net) { n.one(graph.OpMatMul, nil, []int{8, 32, 16}, []int{8, 16, 32}) }},
	{"sum64x256", func(n *net) { n.one(graph.OpSum, graph.Attrs{"axes": []int{2}}, []int{64, 256}) }},
	{"mean64x256", func(n *net) { n.one(graph.OpMean, graph.Attrs{"axes": []int{2}}, []int{64, 256}) }},
	{"max64x256", func(n *net) { n.one(graph.OpAmax, graph.Attrs{"axes": []int{2}}, []int{64, 256}) }},
	{"relu1024", func(n *net) { n.one(graph.OpRelu, nil, []int{1024}) }},
	{"tanh1024", func(n *net) { n.one(graph.OpTanh, nil, []int{1024}) }},
	{"sigmoid1024", func(n *net) { n.one(graph.OpSigmoid, nil, []int{1024}) }},
	{"exp1024", func(n *net) { n.one(graph.OpExp, nil, []int{1024}) }},
	{"log1024", func(n *net) { n.one(graph.OpLog, nil, []int{1024}) }},
	{"sqrt1024", func(n *net) { n.one(graph.OpSqrt, nil, []int{1024}) }},
	{"gelu1024", func(n *net) { n.one(graph.OpGelu, nil, []int{1024}) }},
	{"elu1024", func(n *net) { n.one(graph.OpElu, nil, []int{1024}) }},
	{"softplus1024", func(n *net) { n.one(graph.OpSoftplus, nil, []int{1024}) }},
	{"mish1024", func(n *net) { n.one(graph.OpMish, nil, []int{1024}) }},
	{"hardswish1024", func(n *net) { n.one(graph.OpHardswish, nil, []int{1024}) }},
	{"erf1024", func(n *net) { n.one(graph.OpErf, nil, []int{1024}) }},
	{"sin1024", func(n *net) { n.one(graph.OpSin, nil, []int{1024}) }},
	{"abs1024", func(n *net) { n.one(graph.OpAbs, nil, []int{1024}) }},
	{"softsign1024", func(n *net) { n.one(graph.OpSoftsign, nil, []int{1024}) }},
	{"leakyrelu1024", func(n *net) { n.one(graph.OpLeakyRelu, nil, []int{1024}) }},
	{"add1024", func(n *net) { n.one(graph.OpAdd, nil, []int{1024}, []int{1024}) }},
	{"max1024", func(n *net) { n.one(graph.OpMaximum, nil, []int{1024}, []int{1024}) }},
	{"where1024", func(n *net) {
		x := n.in("x", graph.Batch, 1024)
		c := n.add(graph.OpGt, nil, x, n.number(0))
		n.g.Output("y", n.add(graph.OpWhere, nil, c, n.in("a", graph.Batch, 1024), n.in("b", graph.Batch, 1024)))
	}},
	{"argmax64x256", func(n *net) { n.one(graph.OpArgmax, graph.Attrs{"axis": 2}, []int{64, 256}) }},
	{"transpose64x64", func(n *net) { n.one(graph.OpTranspose, graph.Attrs{"perm": []int{0, 2, 1}}, []int{64, 64}) }},
	{"transpose32x8x16", func(n *net) { n.one(graph.OpTranspose, graph.Attrs{"perm": []int{0, 2, 1, 3}}, []int{32, 8, 16}) }},
	{"concat", func(n *net) { n.one(graph.OpConcat, graph.Attrs{"axis": 1}, []int{512}, []int{256}, []int{17}) }},
	{"slice", func(n *net) { n.one(graph.OpSlice, graph.Attrs{"axis": 2, "start": 1, "step": 2}, []int{64, 64}) }},
	{"topk", func(n *net) {
		x := n.in("x", graph.Batch, 256)
		i := n.slice(n.add(graph.OpArgsort, graph.Attrs{"axis": 1, "descending": true}, x), 1, 0, 8, 1)
		n.g.Output("i", i)
		n.g.Output("y", n.add(graph.OpGather, graph.Attrs{"axis": 1}, x, i))
	}},
	{"cumsum", func(n *net) { n.one(graph.OpCumsum, graph.Attrs{"axis": 1}, []int{1024}) }},
	{"embedding", func(n *net) {
		i := n.g.Input("i", graph.Int64, graph.Shape{graph.Batch, 8})
		n.g.Output("y", n.add(graph.OpTake, graph.Attrs{"axis": 0}, n.w(1, 500, 64), i))
	}},
	{"prod64x256", func(n *net) { n.one(graph.OpProd, graph.Attrs{"axes": []int{2}}, []int{64, 256}) }},
	{"clamp1024", func(n *net) { n.one(graph.OpClamp, graph.Attrs{"min": -1.0, "max": 1.0}, []int{1024}) }},
	{"maxpool2", func(n *net) { n.g.Output("y", n.halve(n.in("x", graph.Batch, 16, 32, 32))) }},
	{"globalavg", func(n *net) { n.one(graph.OpMean, graph.Attrs{"axes": []int{2, 3}}, []int{64, 8, 8}) }},
	{"conv3d", func(n *net) { n.g.Output("y", n.conv(n.in("x", graph.Batch, 4, 8, 16, 16), 16, 4, 1, 0, 3, 3, 3)) }},
	{"bias64x64", func(n *net) { n.g.Output("y", n.add(graph.OpAdd, nil, n.in("x", graph.Batch, 64, 64), n.w(1, 64, 1))) }},
	{"mul64x64", func(n *net) { n.one(graph.OpMul, nil, []int{64, 64}, []int{64, 1}) }},
	{"log1p1024", func(n *net) { n.one(graph.OpLog1p, nil, []int{1024}) }},
	{"expm1_1024", func(n *net) { n.one(graph.OpExpm1, nil, []int{1024}) }},
	{"square1024", func(n *net) {
		x := n.in("x", graph.Batch, 1024)
		n.g.Output("y", n.add(graph.OpPow, nil, x, n.number(2)))
	}},
	{"tan1024", func(n *net) { n.one(graph.OpTan, nil, []int{1024}) }},
	{"atan1024", func(n *net) { n.one(graph.OpAtan, nil, []int{1024}) }},
	{"pow1024", func(n *net) { n.one(graph.OpPow, nil, []int{1024}, []int{1024}) }},
}

func buildFamily(t testing.TB, build func(n *net)) *graph.Graph {
	t.Helper()
	n := &net{g: graph.New("family"), r: rand.New(rand.NewPCG(1, 9)), t: t}
	build(n)
	if err := graph.Optimize(n.g); err != nil {
		t.Fatal(err)
	}
	return n.g
}

// BenchmarkFamily runs one row through each family of operators.
func BenchmarkFamily(b *testing.B) {
	for _, f := range families {
		b.Run(f.name, func(b *testing.B) {
			g := buildFamily(b, f.build)
			p, err := plan.Compile(g, plan.Options{})
			if err != nil {
				b.Fatal(err)
			}
			_, in := inputsFor(rand.New(rand.NewPCG(4, 4)), g, 1)
			out, r := outputsFor(g, 1), p.NewRunner()
			if err := r.Run(1, in, out, plan.Noise{}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Run(1, in, out, plan.Noise{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Every family computes what the reference evaluator does, in batches as
// alone.
func TestFamilies(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) { agreeOnBatches(t, buildFamily(t, f.build), 2e-4, 1, 3) })
	}
}
