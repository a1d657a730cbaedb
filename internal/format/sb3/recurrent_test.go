package sb3_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/sb3"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// run evaluates a graph on the recorded observations: at once, or one after
// the other where there is state. The results of the steps are stacked.
func (c *agentCase) run(t *testing.T, g *graph.Graph, noise graph.Noise) []*graph.Tensor {
	t.Helper()
	in := c.inputs(t, g)
	if len(g.States) == 0 {
		outs, err := graph.Evaluate(g, c.N, in, noise)
		if err != nil {
			t.Fatal(err)
		}
		return outs
	}
	if !c.Sequence || len(c.EpisodeStart) != c.N {
		t.Fatal("the graph has states, the case is no sequence")
	}
	var all []*graph.Tensor
	state := make([]*graph.Tensor, len(g.States))
	for step := range c.N {
		args := make([]*graph.Tensor, 0, len(g.Inputs))
		for _, x := range in {
			n := x.Len() / c.N
			args = append(args, &graph.Tensor{DType: x.DType, Shape: append(graph.Shape{1}, x.Shape[1:]...), F32: x.F32[step*n : (step+1)*n]})
		}
		for i, s := range g.States {
			if c.EpisodeStart[step] || state[i] == nil {
				shape := g.Inputs[s.Input].Shape.For(1)
				state[i] = graph.Float32s(make([]float32, shape[1]), shape...)
			}
			args = append(args, state[i])
		}
		outs, err := graph.Evaluate(g, 1, args, graph.Noise{Seed: noise.Seed, Step: uint64(step)})
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range g.States {
			state[i] = outs[s.Output]
		}
		all = stack(all, outs)
	}
	return all
}

// stack puts the results of one more step behind those of the steps before.
func stack(all, outs []*graph.Tensor) []*graph.Tensor {
	if all == nil {
		all = make([]*graph.Tensor, len(outs))
		for i, x := range outs {
			all[i] = &graph.Tensor{DType: x.DType, Shape: append(graph.Shape{0}, x.Shape[1:]...)}
		}
	}
	for i, x := range outs {
		all[i].Shape[0]++
		all[i].F32, all[i].I64 = append(all[i].F32, x.F32...), append(all[i].I64, x.I64...)
	}
	return all
}

// TestStates holds the names and shapes of states.
func TestStates(t *testing.T) {
	f := func(name string, want string) {
		t.Helper()
		p, err := decodeFile("testdata/" + name + "/model.zip")
		if err != nil {
			t.Fatal(err)
		}
		g, err := p.Lower(sb3.LowerOptions{Deterministic: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range g.States {
			in, out := g.Inputs[s.Input], g.Outputs[s.Output]
			if out.Name != in.Name+"_out" || !in.Shape.Equal(out.Value.Shape) || s.Initial != nil || s.Reset != nil {
				t.Errorf("%s: %s %v leaves by %s %v", name, in.Name, in.Shape, out.Name, out.Value.Shape)
			}
			got = append(got, in.Name)
		}
		if !p.Recurrent || strings.Join(got, " ") != want {
			t.Errorf("%s: recurrent is %v, states %v, %s was wanted", name, p.Recurrent, got, want)
		}
		if name == "rppo_two_layers" && g.Inputs[1].Shape[1] != 8 {
			t.Errorf("%s: %s has the shape %v", name, g.Inputs[1].Name, g.Inputs[1].Shape)
		}
		fixed, err := p.Lower(sb3.LowerOptions{Deterministic: true, Rows: 3})
		if err != nil {
			t.Fatal(err)
		}
		if fixed.Batched() || slices.ContainsFunc(fixed.Inputs, func(v *graph.Value) bool { return v.Shape[0] != 3 }) {
			t.Errorf("%s: for 3 rows the graph is\n%s", name, fixed)
		}
	}
	f("rppo_two_layers", "lstm_pi_h lstm_pi_c lstm_vf_h lstm_vf_c")
	f("rppo_shared", "lstm_pi_h lstm_pi_c")
	f("rppo_no_critic", "lstm_pi_h lstm_pi_c")
}

func TestRefusesBidirectional(t *testing.T) {
	p, err := decodeFile("testdata/rppo_bidirectional/model.zip")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = p.Lower(sb3.LowerOptions{}); !errors.Is(err, sb3.ErrUnsupported) || !strings.Contains(err.Error(), "bidirectional") {
		t.Errorf("got %v", err)
	}
}
