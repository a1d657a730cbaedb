package architecture

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// memory is a value that a recurrent layer carries from one step to the next.
type memory struct {
	name string // of its input; the output is <name>_out
	next torchscript.Value
}

// recurrent is one step of the layers of torch.nn.LSTM, GRU or RNN, which the
// tensors weight_ih_l0, weight_hh_l0, ... show. What the layers remember
// becomes states of the graph: h0, c0, h1, ... of the shape [B,hidden], zeros
// at the start of an episode.
func (b *builder) recurrent(l *Layer) {
	b.only(l, "activation")
	cell, gates := "lstm_cell", 4
	switch l.Op {
	case "gru":
		cell, gates = "gru_cell", 3
	case "rnn":
		cell, gates = "rnn_tanh_cell", 1
		if a, ok := l.Attrs["activation"].(string); ok && a != "tanh" {
			if a != "relu" {
				b.c.Errorf("activation %q: an rnn has tanh or relu", a)
			}
			cell = "rnn_relu_cell"
		}
	}
	if x, ok := b.c.Shape(b.current); ok && len(x) != 2 {
		b.c.Errorf("the value before is %v, [B,features] was wanted: a recurrent layer takes one step", x)
	}
	for i := 0; i == 0 || b.has(l.Key, "weight_ih_l"+strconv.Itoa(i)); i++ {
		at := "_l" + strconv.Itoa(i)
		for _, other := range []string{"weight_ih" + at + "_reverse", "weight_hr" + at} {
			if b.has(l.Key, other) {
				b.c.Unsupported("a recurrent layer with %s: one that runs backwards or projects what it remembers", other)
			}
		}
		wx, wh := b.parameter(l.Key, "weight_ih"+at), b.parameter(l.Key, "weight_hh"+at)
		shape, _ := b.c.Shape(wh)
		if len(shape) != 2 || shape[0] != gates*shape[1] {
			b.c.Errorf("%s is %v, an %s has [%d·hidden,hidden]", join(l.Key, "weight_hh"+at), shape, l.Op, gates)
		}
		if x, ok := b.c.Shape(b.current); ok {
			if w, _ := b.c.Shape(wx); len(w) != 2 || w[1] != x[1] {
				b.c.Errorf("the value before is %v, %s is %v", x, join(l.Key, "weight_ih"+at), w)
			}
		}
		args := []torchscript.Value{b.current, nil, wx, wh, b.optional(l.Key, "bias_ih"+at), b.optional(l.Key, "bias_hh"+at)}
		h := b.remember("h", shape[1])
		if cell != "lstm_cell" {
			args[1] = h
			b.current = b.c.Call(cell, args, nil)
			b.memories[len(b.memories)-1].next = b.current
			continue
		}
		c := b.remember("c", shape[1])
		args[1] = []torchscript.Value{h, c}
		next := b.c.Call(cell, args, nil).([]torchscript.Value)
		b.current = next[0]
		b.memories[len(b.memories)-2].next, b.memories[len(b.memories)-1].next = next[0], next[1]
	}
}

// remember makes the input of a state.
func (b *builder) remember(kind string, width int) torchscript.Value {
	n := 0
	for _, m := range b.memories {
		if strings.HasPrefix(m.name, kind) {
			n++
		}
	}
	m := memory{name: kind + strconv.Itoa(n)}
	if _, taken := b.names[m.name]; taken {
		b.c.Errorf("the name %s is that of a state; name the value otherwise", m.name)
	}
	b.memories = append(b.memories, m)
	return b.c.Input(m.name, graph.Float32, graph.Shape{graph.Batch, width})
}

func (b *builder) has(key, name string) bool { return b.byName[join(key, name)] != nil }

// pair makes states of the inputs and outputs of the memories.
func pair(g *graph.Graph, memories []memory) error {
	for _, m := range memories {
		s := graph.State{Input: -1, Output: -1}
		for i, in := range g.Inputs {
			if in.Name == m.name {
				s.Input = i
			}
		}
		for i, out := range g.Outputs {
			if out.Name == m.name+"_out" {
				s.Output = i
			}
		}
		if s.Input < 0 || s.Output < 0 {
			return fmt.Errorf("the state %s has no input or output", m.name)
		}
		g.States = append(g.States, s)
	}
	return g.Verify()
}
