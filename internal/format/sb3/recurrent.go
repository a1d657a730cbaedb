package sb3

import (
	"fmt"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// maxLSTMLayers bounds the layers of one LSTM. Policies have one or two.
const maxLSTMLayers = 64

// carried is a state of the graph: what enters by an input, and the value that
// leaves in its place.
type carried struct{ in, out *graph.Value }

// recurrent applies the LSTM of RecurrentPPO to the features of actor and
// critic. The critic has an LSTM of its own, or a dense layer, or what the
// actor's LSTM gives.
func (b *builder) recurrent(pi, vf *graph.Value) (actor, critic *graph.Value) {
	actor = b.lstm(pi, "lstm_actor", "lstm_pi")
	switch {
	case b.hasBelow("lstm_critic."):
		critic = b.lstm(vf, "lstm_critic", "lstm_vf")
	case b.has("critic.weight"):
		critic = b.linear(vf, "critic")
	default:
		critic = actor
	}
	return actor, critic
}

// lstm is torch.nn.LSTM over one step. Its states are <state>_h and <state>_c,
// of shape [B, layers*hidden] with the layers in a row.
func (b *builder) lstm(x *graph.Value, name, state string) *graph.Value {
	if b.err == nil && b.hasBelow(name+".weight_ih_l0_reverse") {
		return b.fail("%w: %s is bidirectional: it needs the steps to come, which no policy has when it acts", ErrUnsupported, name)
	}
	layers := 0
	for b.has(fmt.Sprintf("%s.weight_hh_l%d", name, layers)) {
		layers++
	}
	if layers == 0 || layers > maxLSTMLayers {
		return b.fail("%s: %s has %d layers, 1 to %d are read", weightsMember, name, layers, maxLSTMLayers)
	}
	hh := b.parameter(name+".weight_hh_l0", 2)
	if b.err != nil {
		return nil
	}
	hidden := hh.Shape[1]
	h := b.input(state+"_h", graph.Float32, graph.Shape{b.rows, layers * hidden})
	c := b.input(state+"_c", graph.Float32, graph.Shape{b.rows, layers * hidden})
	var hs, cs []*graph.Value
	for i := range layers {
		hi, ci := h, c
		if layers > 1 {
			hi, ci = b.slice(h, i*hidden, (i+1)*hidden), b.slice(c, i*hidden, (i+1)*hidden)
		}
		x, ci = b.lstmCell(x, hi, ci, name, fmt.Sprintf("_l%d", i), hidden)
		hs, cs = append(hs, x), append(cs, ci)
	}
	b.states = append(b.states, carried{h, b.concat(hs...)}, carried{c, b.concat(cs...)})
	return x
}

// lstmCell is one layer:
//
//	i, f, o = sigmoid(W x + U h + b);  g = tanh(W x + U h + b)
//	c' = f c + i g;  h' = o tanh(c')
//
// Each gate is one dense layer on input and state side by side, so that a plan
// multiplies once and applies the activation as it writes.
func (b *builder) lstmCell(x, h, c *graph.Value, name, layer string, hidden int) (nextH, nextC *graph.Value) {
	w, u := b.parameter(name+".weight_ih"+layer, 2), b.parameter(name+".weight_hh"+layer, 2)
	if b.err != nil {
		return nil, nil
	}
	width := b.width(x)
	if w.Shape[1] != width || w.Shape[0] != 4*hidden || u.Shape[0] != 4*hidden || u.Shape[1] != hidden {
		return b.fail("%s: %s takes %d values into %d, weight_ih%s has the shape %v and weight_hh%s %v",
			weightsMember, name, width, hidden, layer, w.Shape, layer, u.Shape), nil
	}
	bias := make([]float32, 4*hidden)
	for _, part := range []string{".bias_ih", ".bias_hh"} {
		if !b.has(name + part + layer) { // lstm_kwargs may say bias=False
			continue
		}
		v := b.parameter(name+part+layer, 1)
		if b.err != nil {
			return nil, nil
		}
		if len(v.Const.F32) != len(bias) {
			return b.fail("%s: %s%s%s has the shape %v, [%d] was wanted", weightsMember, name, part, layer, v.Shape, len(bias)), nil
		}
		for i, k := range v.Const.F32 {
			bias[i] += k
		}
	}
	both := b.concat(x, h)
	gate := func(i int, letter string, act graph.Op) *graph.Value {
		weights := make([]float32, 0, hidden*(width+hidden))
		for row := i * hidden; row < (i+1)*hidden; row++ {
			weights = append(weights, w.Const.F32[row*width:(row+1)*width]...)
			weights = append(weights, u.Const.F32[row*hidden:(row+1)*hidden]...)
		}
		label := strings.Join([]string{name, letter + layer}, ".")
		return b.add(act, nil, b.add(graph.OpLinear, nil, both,
			b.g.Constant(label+".weight", graph.Float32s(weights, hidden, width+hidden)),
			b.g.Constant(label+".bias", graph.Float32s(bias[i*hidden:(i+1)*hidden], hidden))))
	}
	in, forget := gate(0, "i", graph.OpSigmoid), gate(1, "f", graph.OpSigmoid)
	g, out := gate(2, "g", graph.OpTanh), gate(3, "o", graph.OpSigmoid)
	nextC = b.add(graph.OpAdd, nil, b.add(graph.OpMul, nil, forget, c), b.add(graph.OpMul, nil, in, g))
	nextH = b.add(graph.OpMul, nil, out, b.add(graph.OpTanh, nil, nextC))
	return nextH, nextC
}

// carryOn adds the outputs of the states, after all others.
func (b *builder) carryOn() {
	if b.err != nil {
		return
	}
	for _, s := range b.states {
		for i, in := range b.g.Inputs {
			if in == s.in {
				b.g.States = append(b.g.States, graph.State{Input: i, Output: len(b.g.Outputs)})
			}
		}
		b.g.Output(s.in.Name+"_out", s.out)
	}
}
