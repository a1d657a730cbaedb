package onnx

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// unrolled is a recurrent layer step by step, with all that ONNX lets it have:
// directions, activations, clipping, peepholes, coupled gates.
type unrolled struct {
	l      *lowering
	gates  int
	hidden int
	kind   string
	dt     graph.DType
	clip   float64
	f      []func(x torchscript.Value) torchscript.Value // activations of the direction
}

// plainRecurrent reports whether torch's layer is the same one: forward, with
// the usual activations.
func (l *lowering) plainRecurrent(kind string) bool {
	for _, a := range []string{"activation_alpha", "activation_beta", "clip"} {
		if _, ok := l.attr(a); ok {
			return false
		}
	}
	usual := map[string][]string{"lstm": {"Sigmoid", "Tanh", "Tanh"}, "gru": {"Sigmoid", "Tanh"}, "rnn_tanh": {"Tanh"}}[kind]
	if a, ok := l.attr("activations"); ok {
		for i, name := range a.strings {
			if name != usual[i%len(usual)] {
				return false
			}
		}
	}
	direction := l.attrText("direction", "forward")
	return (direction == "forward" || direction == "bidirectional") && l.attrInt("layout", 0) == 0 && l.attrInt("input_forget", 0) == 0 &&
		(kind != "gru" || l.attrInt("linear_before_reset", 0) != 0) && !l.has(4) && !l.has(7) &&
		l.constOf(l.operand(1)) != nil && l.constOf(l.operand(2)) != nil && (!l.has(3) || l.constOf(l.in[3]) != nil)
}

// unroll lowers a recurrent layer of any kind.
func (l *lowering) unroll(kind string, gates int) []torchscript.Value {
	u := &unrolled{l: l, gates: gates, kind: kind, hidden: l.attrInt("hidden_size", 0), clip: l.attrFloat("clip", 0)}
	x := l.x(0)
	u.dt = l.dtype(x)
	layout := l.attrInt("layout", 0) != 0
	if layout && len(l.shape(x)) == 3 {
		x = l.permute(x, []int{1, 0, 2})
	}
	shape := l.shape(x)
	if len(shape) != 3 || shape[0] < 1 || shape[0] > maxIterations || u.hidden < 1 {
		l.c.Errorf("X is of shape %v with hidden_size %d", shape, u.hidden)
	}
	u.sameLengths(shape[0])
	directions := map[string][]bool{"forward": {false}, "reverse": {true}, "bidirectional": {false, true}}[l.attrText("direction", "forward")]
	if directions == nil {
		l.c.Errorf("direction %s", short(l.attrText("direction", "")))
	}
	var ys, hs, cs []value
	for d, backwards := range directions {
		u.activations(d)
		y, h, c := u.run(x, d, backwards, layout)
		ys, hs, cs = append(ys, value{t: y}), append(hs, value{t: h}), append(cs, value{t: c})
	}
	axis := 0
	if layout {
		axis = 1
	}
	y := l.stack(ys, 1) // [steps, directions, batch, hidden]
	if layout {
		y = l.permute(y, []int{2, 0, 1, 3})
	}
	out := []torchscript.Value{y, l.stack(hs, axis)}
	if kind == "lstm" {
		out = append(out, l.stack(cs, axis))
	}
	return out
}

// sameLengths refuses rows of different lengths.
func (u *unrolled) sameLengths(steps int) {
	if !u.l.has(4) {
		return
	}
	t := u.l.constant(4)
	for i := range t.Len() {
		if int(t.At(i)) != steps {
			u.l.c.Unsupported("sequence_lens other than the number of steps")
		}
	}
}

// part is direction d of a parameter, from row a to row b of its gates.
func (u *unrolled) part(k, d, a, b int) torchscript.Value {
	x := u.l.x(k)
	shape := u.l.shape(x)
	if len(shape) < 2 || d >= shape[0] || b > shape[1] {
		u.l.c.Errorf("operand %d is of shape %v", k+1, shape)
	}
	x = u.l.slice(u.l.slice(x, 0, d, d+1, 1), 1, a, b, 1)
	return u.l.reshape(x, u.l.shape(x)[1:])
}

func (u *unrolled) op(op graph.Op, in ...torchscript.Value) torchscript.Value {
	return u.l.op(op, nil, in...)
}

// initial is the state of a direction at the beginning.
func (u *unrolled) initial(k, d int, batch int, layout bool) torchscript.Value {
	l := u.l
	if !l.has(k) {
		return l.op(graph.OpExpand, graph.Attrs{"shape": []int{batch, u.hidden}}, l.c.Parameter("", constantOf(u.dt, 0)))
	}
	axis := 0
	if layout {
		axis = 1
	}
	x := l.slice(l.x(k), axis, d, d+1, 1)
	return l.reshape(x, graph.Shape{batch, u.hidden})
}

// run is one direction: all states in the order of the steps, and the last.
func (u *unrolled) run(x torchscript.Value, d int, backwards, layout bool) (y, h, c torchscript.Value) {
	l, rows := u.l, u.gates*u.hidden
	shape := l.shape(x)
	steps, batch := shape[0], shape[1]
	w, r := u.part(1, d, 0, rows), u.part(2, d, 0, rows)
	var wb, rb torchscript.Value
	in := u.op(graph.OpLinear, x, w)
	if l.has(3) {
		wb, rb = u.part(3, d, 0, rows), u.part(3, d, rows, 2*rows)
		in = u.op(graph.OpAdd, in, wb)
	}
	h = u.initial(5, d, batch, layout)
	if u.kind == "lstm" {
		c = u.initial(6, d, batch, layout)
	}
	all := make([]value, steps)
	for i := range steps {
		at := i
		if backwards {
			at = steps - 1 - i
		}
		now := l.reshape(l.slice(in, 0, at, at+1, 1), graph.Shape{batch, rows})
		switch u.kind {
		case "lstm":
			h, c = u.lstm(now, h, c, r, rb, d)
		case "gru":
			h = u.gru(now, h, r, rb)
		default:
			h = u.f[0](u.clipped(u.op(graph.OpAdd, now, u.linear(h, r, rb))))
		}
		all[at] = value{t: h}
	}
	return l.stack(all, 0), h, c
}

func (u *unrolled) linear(x, w, b torchscript.Value) torchscript.Value {
	if b == nil {
		return u.op(graph.OpLinear, x, w)
	}
	return u.op(graph.OpLinear, x, w, b)
}

// gate is one of the gates of a sum of all.
func (u *unrolled) gate(x torchscript.Value, k int) torchscript.Value {
	return u.l.slice(x, 1, k*u.hidden, (k+1)*u.hidden, 1)
}

func (u *unrolled) lstm(now, h, c, r, rb torchscript.Value, d int) (newH, newC torchscript.Value) {
	sum := u.op(graph.OpAdd, now, u.linear(h, r, rb))
	peep := func(x, c torchscript.Value, k int) torchscript.Value {
		if !u.l.has(7) {
			return x
		}
		return u.op(graph.OpAdd, x, u.op(graph.OpMul, u.part(7, d, k*u.hidden, (k+1)*u.hidden), c))
	}
	i := u.f[0](u.clipped(peep(u.gate(sum, 0), c, 0)))
	var f torchscript.Value
	if u.l.attrInt("input_forget", 0) != 0 {
		f = u.op(graph.OpSub, 1.0, i)
	} else {
		f = u.f[0](u.clipped(peep(u.gate(sum, 2), c, 2)))
	}
	g := u.f[1](u.clipped(u.gate(sum, 3)))
	newC = u.op(graph.OpAdd, u.op(graph.OpMul, f, c), u.op(graph.OpMul, i, g))
	o := u.f[0](u.clipped(peep(u.gate(sum, 1), newC, 1)))
	return u.op(graph.OpMul, o, u.f[2](newC)), newC
}

func (u *unrolled) gru(now, h, r, rb torchscript.Value) torchscript.Value {
	l, n := u.l, u.hidden
	rows := func(x torchscript.Value, a, b int) torchscript.Value {
		if x == nil {
			return nil
		}
		return l.slice(x, 0, a*n, b*n, 1)
	}
	two := u.linear(h, rows(r, 0, 2), rows(rb, 0, 2))
	z := u.f[0](u.clipped(u.op(graph.OpAdd, u.gate(now, 0), u.gate(two, 0))))
	reset := u.f[0](u.clipped(u.op(graph.OpAdd, u.gate(now, 1), u.gate(two, 1))))
	var part torchscript.Value
	if l.attrInt("linear_before_reset", 0) != 0 {
		part = u.op(graph.OpMul, reset, u.linear(h, rows(r, 2, 3), rows(rb, 2, 3)))
	} else {
		part = u.linear(u.op(graph.OpMul, reset, h), rows(r, 2, 3), rows(rb, 2, 3))
	}
	g := u.f[1](u.clipped(u.op(graph.OpAdd, u.gate(now, 2), part)))
	return u.op(graph.OpAdd, u.op(graph.OpMul, u.op(graph.OpSub, 1.0, z), g), u.op(graph.OpMul, z, h))
}

func (u *unrolled) clipped(x torchscript.Value) torchscript.Value {
	if u.clip <= 0 {
		return x
	}
	return u.l.op(graph.OpClamp, graph.Attrs{"min": -u.clip, "max": u.clip}, x)
}

// activations are those of direction d. Their numbers are in lists in which
// each takes as many as it has.
func (u *unrolled) activations(d int) {
	count := map[string]int{"lstm": 3, "gru": 2}[u.kind]
	count = max(count, 1)
	names := []string{"Sigmoid", "Tanh", "Tanh"}[:count]
	if u.kind == "rnn_tanh" {
		names = []string{"Tanh"}
	}
	a, b := u.l.n.attrs["activation_alpha"].floats, u.l.n.attrs["activation_beta"].floats
	if given, ok := u.l.attr("activations"); ok {
		if len(given.strings) < count*(d+1) {
			u.l.c.Errorf("%d activations, %d for each direction were expected", len(given.strings), count)
		}
		for _, name := range given.strings[:count*d] { // of the first direction
			use := takes[name]
			a, b = a[min(use[0], len(a)):], b[min(use[1], len(b)):]
		}
		names = given.strings[count*d : count*(d+1)]
	}
	u.f = nil
	for _, name := range names {
		use := takes[name]
		alpha, beta := defaults[name][0], defaults[name][1]
		if use[0] > 0 && len(a) > 0 {
			alpha, a = a[0], a[1:]
		}
		if use[1] > 0 && len(b) > 0 {
			beta, b = b[0], b[1:]
		}
		u.f = append(u.f, u.activation(name, alpha, beta))
	}
}

// takes is how many numbers an activation takes of alpha and of beta, and
// defaults what they are where they are absent.
var (
	takes = map[string][2]int{
		"Affine": {1, 1}, "LeakyRelu": {1, 0}, "ThresholdedRelu": {1, 0}, "ScaledTanh": {1, 1}, "HardSigmoid": {1, 1}, "Elu": {1, 0},
	}
	defaults = map[string][2]float64{
		"Affine": {1, 0}, "LeakyRelu": {0.01, 0}, "ThresholdedRelu": {1, 0}, "ScaledTanh": {1, 1}, "HardSigmoid": {0.2, 0.5}, "Elu": {1, 0},
	}
)

func (u *unrolled) activation(name string, alpha, beta float64) func(x torchscript.Value) torchscript.Value {
	l := u.l
	single := map[string]graph.Op{"Relu": graph.OpRelu, "Tanh": graph.OpTanh, "Sigmoid": graph.OpSigmoid, "Softsign": graph.OpSoftsign, "Softplus": graph.OpSoftplus}
	if op, ok := single[name]; ok {
		return func(x torchscript.Value) torchscript.Value { return u.op(op, x) }
	}
	affine := func(x torchscript.Value, a, b float64) torchscript.Value {
		return u.op(graph.OpAdd, u.op(graph.OpMul, x, a), b)
	}
	switch name {
	case "Affine":
		return func(x torchscript.Value) torchscript.Value { return affine(x, alpha, beta) }
	case "LeakyRelu":
		return func(x torchscript.Value) torchscript.Value {
			return l.op(graph.OpLeakyRelu, graph.Attrs{"alpha": alpha}, x)
		}
	case "Elu":
		return func(x torchscript.Value) torchscript.Value {
			return l.op(graph.OpElu, graph.Attrs{"alpha": alpha}, x)
		}
	case "ThresholdedRelu":
		return func(x torchscript.Value) torchscript.Value {
			return u.op(graph.OpWhere, u.op(graph.OpGt, x, alpha), x, u.op(graph.OpMul, x, 0.0))
		}
	case "ScaledTanh":
		return func(x torchscript.Value) torchscript.Value {
			return u.op(graph.OpMul, u.op(graph.OpTanh, u.op(graph.OpMul, x, beta)), alpha)
		}
	case "HardSigmoid":
		return func(x torchscript.Value) torchscript.Value {
			return l.op(graph.OpClamp, graph.Attrs{"min": 0.0, "max": 1.0}, affine(x, alpha, beta))
		}
	}
	l.c.Unsupported("activation %s", short(name))
	return nil
}
