package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// rnnBuiltins are recurrent layers, unrolled over a sequence of fixed length,
// and their cells.
var rnnBuiltins = map[string]builtin{
	"lstm":          {"x state params has_biases layers dropout train bidirectional batch_first", lstm},
	"gru":           {"x state params has_biases layers dropout train bidirectional batch_first", func(c *call) value { return c.recurrent(gruStep) }},
	"rnn_tanh":      {"x state params has_biases layers dropout train bidirectional batch_first", func(c *call) value { return c.recurrent(rnnStep(graph.OpTanh)) }},
	"rnn_relu":      {"x state params has_biases layers dropout train bidirectional batch_first", func(c *call) value { return c.recurrent(rnnStep(graph.OpRelu)) }},
	"lstm_cell":     {"x state w_ih w_hh b_ih b_hh", lstmCell},
	"gru_cell":      {"x h w_ih w_hh b_ih b_hh", func(c *call) value { return c.cell(gruStep) }},
	"rnn_tanh_cell": {"x h w_ih w_hh b_ih b_hh", func(c *call) value { return c.cell(rnnStep(graph.OpTanh)) }},
	"rnn_relu_cell": {"x h w_ih w_hh b_ih b_hh", func(c *call) value { return c.cell(rnnStep(graph.OpRelu)) }},
}

// maxUnroll bounds the length of an unrolled sequence.
const maxUnroll = 512

// rnnWeights are the parameters of one direction of one layer.
type rnnWeights struct {
	ih, hh, bih, bhh *graph.Value
	hr               *graph.Value // of an LSTM whose state is projected, else nil
}

// rnnStepFunc computes the next state from an input and the state: the hidden
// state, and the cell state of an LSTM.
type rnnStepFunc func(in *interp, x *graph.Value, state []*graph.Value, w rnnWeights) []*graph.Value

func (in *interp) linearOf(x, w, b *graph.Value) *graph.Value {
	if b == nil {
		return in.add(graph.OpLinear, nil, x, w)
	}
	return in.add(graph.OpLinear, nil, x, w, b)
}

// gates cuts the last dimension into n parts.
func (in *interp) gates(x *graph.Value, n int) []*graph.Value {
	axis := len(x.Shape) - 1
	width := x.Shape[axis] / n
	if width < 1 || width*n != x.Shape[axis] {
		in.errorf("a recurrent layer with gates of %v", x.Shape)
	}
	out := make([]*graph.Value, n)
	for i := range out {
		out[i] = in.slice(x, axis, i*width, (i+1)*width, 1)
	}
	return out
}

func rnnStep(act graph.Op) rnnStepFunc {
	return func(in *interp, x *graph.Value, state []*graph.Value, w rnnWeights) []*graph.Value {
		sum := in.add(graph.OpAdd, nil, in.linearOf(x, w.ih, w.bih), in.linearOf(state[0], w.hh, w.bhh))
		return []*graph.Value{in.add(act, nil, sum)}
	}
}

// gruStep has the gates r, z and n: h' = n + z·(h - n).
func gruStep(in *interp, x *graph.Value, state []*graph.Value, w rnnWeights) []*graph.Value {
	gi, gh := in.gates(in.linearOf(x, w.ih, w.bih), 3), in.gates(in.linearOf(state[0], w.hh, w.bhh), 3)
	r := in.add(graph.OpSigmoid, nil, in.add(graph.OpAdd, nil, gi[0], gh[0]))
	z := in.add(graph.OpSigmoid, nil, in.add(graph.OpAdd, nil, gi[1], gh[1]))
	n := in.add(graph.OpTanh, nil, in.add(graph.OpAdd, nil, gi[2], in.add(graph.OpMul, nil, r, gh[2])))
	d := in.add(graph.OpSub, nil, state[0], n)
	return []*graph.Value{in.add(graph.OpAdd, nil, n, in.add(graph.OpMul, nil, z, d))}
}

// lstmStep has the gates i, f, g and o: c' = f·c + i·g, h' = o·tanh(c').
func lstmStep(in *interp, x *graph.Value, state []*graph.Value, w rnnWeights) []*graph.Value {
	g := in.gates(in.add(graph.OpAdd, nil, in.linearOf(x, w.ih, w.bih), in.linearOf(state[0], w.hh, w.bhh)), 4)
	i, f, o := in.add(graph.OpSigmoid, nil, g[0]), in.add(graph.OpSigmoid, nil, g[1]), in.add(graph.OpSigmoid, nil, g[3])
	c := in.add(graph.OpAdd, nil, in.add(graph.OpMul, nil, f, state[1]), in.add(graph.OpMul, nil, i, in.add(graph.OpTanh, nil, g[2])))
	h := in.add(graph.OpMul, nil, o, in.add(graph.OpTanh, nil, c))
	if w.hr != nil {
		h = in.linearOf(h, w.hr, nil)
	}
	return []*graph.Value{h, c}
}

func (c *call) weights(i int) rnnWeights {
	return rnnWeights{ih: c.value(i), hh: c.value(i + 1), bih: c.optional(i + 2), bhh: c.optional(i + 3)}
}

// cellInput tells the width of a pending input of a cell.
func (c *call) cellInput() *graph.Value {
	ih := c.value(2)
	if t := c.handle(0); t.pending {
		if t.lifted != 0 || len(ih.Shape) != 2 || ih.Shape[1] < 1 {
			c.in.needShape(t)
		}
		c.in.learn(t, graph.Shape{graph.Batch, ih.Shape[1]}, ih)
	}
	return c.sameType(0, ih)
}

func (c *call) cell(step rnnStepFunc) value {
	c.cellInput()
	return newTensor(step(c.in, c.value(0), []*graph.Value{c.value(1)}, c.weights(2))[0])
}

func lstmCell(c *call) value {
	states := c.tensors(1)
	if len(states) != 2 {
		c.in.errorf("lstm_cell with %d states", len(states))
	}
	s := lstmStep(c.in, c.cellInput(), []*graph.Value{c.in.read(states[0]), c.in.read(states[1])}, c.weights(2))
	return &tuple{elems: []value{newTensor(s[0]), newTensor(s[1])}}
}

func lstm(c *call) value { return c.recurrent(lstmStep) }

// recurrent runs all layers and directions: the outputs of the last layer, and
// the last states of all.
func (c *call) recurrent(step rnnStepFunc) value {
	in := c.in
	if _, packed := c.args[2].(*tensor); packed {
		in.unsupported("torch.%s of a packed sequence", c.name)
	}
	if c.bool(6, false) && c.float(5, 0) != 0 {
		in.unsupported("torch.%s with dropout in training: save the module after eval()", c.name)
	}
	if t := c.handle(0); t.pending {
		w := c.tensors(2)
		// The new dimension must be that of time: else the rows would be a
		// sequence.
		batchFirst := c.bool(8, false)
		if t.lifted == 0 || len(w) == 0 || batchFirst != (t.lifted == 2) {
			in.needShape(t)
		}
		ih := in.read(w[0])
		if len(ih.Shape) != 2 || ih.Shape[1] < 1 {
			in.needShape(t)
		}
		in.learn(t, graph.Shape{graph.Batch, ih.Shape[1]}, ih)
	}
	x := c.value(0)
	if len(x.Shape) != 3 {
		in.errorf("%s of %v, three dimensions are needed", c.name, x.Shape)
	}
	timeAxis := 0
	if c.bool(8, false) {
		timeAxis = 1
	}
	steps := x.Shape[timeAxis]
	if steps < 0 {
		in.mixes("torch.%s over the rows of a batch as a sequence", c.name)
	}
	if steps < 1 || steps > maxUnroll {
		in.unsupported("torch.%s over a sequence of %d", c.name, steps)
	}
	directions := 1
	if c.bool(7, false) {
		directions = 2
	}
	initial := c.states()
	seq := make([]*graph.Value, steps)
	for t := range seq {
		seq[t] = in.read(in.selectAt(newTensor(x), timeAxis, t))
	}
	params, each := c.tensors(2), 4
	if !c.bool(3, true) {
		each = 2
	}
	layers := c.int(4, 1)
	projected := c.name == "lstm" && len(params) == layers*directions*(each+1)
	if projected {
		each++
	}
	if layers < 1 || layers > maxUnroll || len(params) != layers*directions*each {
		in.unsupported("torch.%s of %d layers with %d parameters", c.name, layers, len(params))
	}
	last := make([][]*graph.Value, len(initial))
	for l := range layers {
		outs := make([][]*graph.Value, steps)
		for d := range directions {
			k := l*directions + d
			w := rnnWeights{ih: in.read(params[k*each]), hh: in.read(params[k*each+1])}
			if each >= 4 {
				w.bih, w.bhh = in.read(params[k*each+2]), in.read(params[k*each+3])
			}
			if projected {
				w.hr = in.read(params[(k+1)*each-1])
			}
			state := make([]*graph.Value, len(initial))
			for s := range state {
				state[s] = in.read(in.selectAt(initial[s], 0, k))
			}
			for i := range steps {
				t := i
				if d == 1 {
					t = steps - 1 - i
				}
				state = step(in, seq[t], state, w)
				outs[t] = append(outs[t], state[0])
			}
			for s := range state {
				last[s] = append(last[s], state[s])
			}
		}
		for t := range seq {
			seq[t] = outs[t][0]
			if directions == 2 {
				seq[t] = in.add(graph.OpConcat, graph.Attrs{"axis": -1}, outs[t]...)
			}
		}
	}
	result := &tuple{elems: []value{newTensor(in.stacked(seq, timeAxis))}}
	for _, s := range last {
		result.elems = append(result.elems, newTensor(in.stacked(s, 0)))
	}
	return result
}

// states returns the initial states: one, or the two of an LSTM.
func (c *call) states() []*tensor {
	if c.name != "lstm" {
		return []*tensor{c.handle(1)}
	}
	states := c.tensors(1)
	if len(states) != 2 {
		c.in.errorf("lstm with %d states", len(states))
	}
	return states
}

// stacked joins values along a new axis.
func (in *interp) stacked(vs []*graph.Value, axis int) *graph.Value {
	parts := make([]*graph.Value, len(vs))
	for i, v := range vs {
		shape := append(graph.Shape{}, v.Shape[:axis]...)
		parts[i] = in.reshape(v, append(append(shape, 1), v.Shape[axis:]...))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return in.add(graph.OpConcat, graph.Attrs{"axis": axis}, parts...)
}
