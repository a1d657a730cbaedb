package main

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// episode runs a graph step after step and carries its state.
type episode struct {
	graph   *graph.Graph
	program program
	noise   graph.Noise

	carried []*tensor // what enters the next run, by graph.States; nil at the first step of an episode
	resets  int       // how often the state was reset
}

func newEpisode(engine policy.Engine, g *graph.Graph, seed uint64) (*episode, error) {
	p, err := newProgram(engine, g)
	if err != nil {
		return nil, err
	}
	return &episode{graph: g, program: p, noise: graph.Noise{Seed: seed}}, nil
}

// reset begins a new episode.
func (e *episode) reset() {
	e.carried = nil
	e.resets++
}

// run runs the graph once, on its inputs in their order. In the place of a
// state that is nil stands what the run before left, or that of the beginning
// of an episode.
func (e *episode) run(in []*tensor) ([]values, error) {
	in = slices.Clone(in)
	for i, s := range e.graph.States {
		switch {
		case in[s.Input] != nil:
		case e.carried != nil:
			in[s.Input] = e.carried[i]
		default:
			in[s.Input] = e.initial(i, rowsGiven(e.graph, in))
		}
	}
	rows, err := rowsOf(e.graph, in)
	if err != nil {
		return nil, err
	}
	outs, err := e.program.run(rows, in, e.noise)
	if err != nil {
		return nil, err
	}
	e.noise.Step++
	e.carried = make([]*tensor, len(e.graph.States))
	for i, s := range e.graph.States {
		out := &outs[s.Output]
		e.carried[i] = &tensor{shape: slices.Clone(out.shape), data: slices.Clone(out.data)}
	}
	return outs, nil
}

// initial is the state at the first step of an episode: Reset after a reset,
// Initial before any, zeros without them.
func (e *episode) initial(state, rows int) *tensor {
	s := &e.graph.States[state]
	in := e.graph.Inputs[s.Input]
	t := &tensor{shape: sized(in.Shape, rows)}
	t.data = make([]float64, count(t.shape))
	from := s.Initial
	if e.resets > 0 && s.Reset != nil {
		from = s.Reset
	}
	if from == nil || from.Len() == 0 {
		return t
	}
	// The batch axis of from is 1 and its rows are all the same.
	axis := slices.IndexFunc(in.Shape, func(d int) bool { return d < 0 })
	inner := from.Len()
	if axis >= 0 {
		inner = count(t.shape[axis+1:]) * -in.Shape[axis]
	}
	repeat := len(t.data) / from.Len()
	for i := range t.data {
		outer, rest := i/(inner*repeat), i%inner
		t.data[i] = from.At(outer*inner + rest)
	}
	return t
}

// rowsGiven is the number of rows of the first tensor that has a batch axis.
func rowsGiven(g *graph.Graph, in []*tensor) int {
	for k, v := range g.Inputs {
		t := in[k]
		if t == nil || len(t.shape) != len(v.Shape) {
			continue
		}
		for i, d := range v.Shape {
			if d < 0 {
				return t.shape[i] / -d
			}
		}
	}
	return 1
}
