package policy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// masksInput is the name of the input of action masks.
const masksInput = "action_masks"

// lowered is the graph of a model file with its ports told apart.
type lowered struct {
	*graph.Graph
	rows        int            // leading dimension of a row: graph.Batch, or 1
	observation []*graph.Value // inputs
	masks       *graph.Value   // input, nil where the form has none
	action      graph.Output
	others      []graph.Output // neither action nor state
	states      []state
}

// state is a state of the network's graph.
type state struct {
	layout
	in    *graph.Value
	out   *graph.Value
	first *graph.Tensor
	reset *graph.Tensor
}

// lowering asks a model file for its graphs.
type lowering struct {
	src         *sources
	description format.Description
	rows        int // as in format.LowerOptions
	whole       bool
}

// lower makes the graph of one form, and chooses the method as the trainers' own wrappers
// do: `act` where the network has it, else `forward`.
func (l *lowering) lower(deterministic, masked bool) (*lowered, error) {
	o := format.LowerOptions{Deterministic: deterministic, InputShapes: l.inputShapes(), Rows: l.rows, ActionMasks: masked, Whole: l.whole}
	if slices.Contains(l.description.Methods, "act") {
		o.Method = "act"
	}
	g, err := l.src.network.Lower(o)
	if err != nil && len(o.InputShapes) > 0 {
		// Where the network knows its own shape, the contract's inference
		// names the two sources that disagree; the lowering cannot.
		o.InputShapes = nil
		if own, ownErr := l.src.network.Lower(o); ownErr == nil {
			g, err = own, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return portsOf(g, masked)
}

// inputShapes are those that the card or the preprocessor tells.
func (l *lowering) inputShapes() map[string][]int {
	shapes := map[string][]int{}
	var inputs []string
	for _, in := range l.description.Inputs {
		inputs = append(inputs, in.Name)
	}
	if len(inputs) == 1 {
		if shape := l.src.rowShape(inputs[0]); shape != nil {
			shapes[inputs[0]] = append([]int{graph.Batch}, shape...)
		}
		if p := l.src.preprocessor; p != nil {
			// An agent that joins the parts of an observation to one row may
			// not know their sizes.
			for _, key := range p.Keys() {
				if shape := l.src.statisticsShape([]int{p.KeyWidth(key)}, key); shape != nil {
					shapes[key] = append([]int{graph.Batch}, shape...)
				}
			}
		}
		return shapes
	}
	for _, f := range l.src.card.Observation {
		if len(inputs) == 0 || slices.Contains(inputs, f.Name) {
			if shape := l.src.stacked(f.Shape, f.Name); shape != nil || len(f.Shape) == 0 {
				shapes[f.Name] = append([]int{graph.Batch}, shape...)
			}
		}
	}
	return shapes
}

// portsOf tells the inputs and outputs of a graph apart.
func portsOf(g *graph.Graph, masked bool) (*lowered, error) {
	n := &lowered{Graph: g, rows: graph.Batch}
	if !g.Batched() {
		n.rows = 1
	}
	isState := [2]map[int]bool{{}, {}}
	for _, s := range g.States {
		if s.Input < 0 || s.Input >= len(g.Inputs) || s.Output < 0 || s.Output >= len(g.Outputs) {
			return nil, fmt.Errorf("the network has no input %d or output %d, which its state names", s.Input, s.Output)
		}
		isState[0][s.Input], isState[1][s.Output] = true, true
		l, err := layoutOf(g.Inputs[s.Input], n.rows == graph.Batch)
		if err != nil {
			return nil, fmt.Errorf("state %w", err)
		}
		reset := s.Reset
		if reset == nil {
			reset = s.Initial
		}
		n.states = append(n.states, state{layout: l, in: g.Inputs[s.Input], out: g.Outputs[s.Output].Value, first: s.Initial, reset: reset})
	}
	for i, in := range g.Inputs {
		switch {
		case isState[0][i]:
		case masked && in.Name == masksInput:
			n.masks = in
		default:
			n.observation = append(n.observation, in)
		}
	}
	for i, out := range g.Outputs {
		if !isState[1][i] {
			n.others = append(n.others, out)
		}
	}
	if len(n.others) == 0 {
		return nil, errors.New("the network has no output")
	}
	n.action, n.others = n.others[0], n.others[1:]
	if masked && n.masks == nil {
		return nil, errors.New("the network was asked for action masks and takes none")
	}
	return n, nil
}

// inputRow is row of an input, in which the rows may also lie along another
// axis: a hidden state of torch has the layers first.
func (n *lowered) inputRow(v *graph.Value) ([]int, bool) {
	if v.Shape.BatchAxis() <= 0 {
		return n.row(v)
	}
	l, err := layoutOf(v, true)
	return l.row, err == nil
}

// row is the shape of one row of a value, nil for a single number; false where
// it is not one row an observation.
func (n *lowered) row(v *graph.Value) ([]int, bool) {
	s := v.Shape
	switch {
	case n.rows == 1 && (len(s) == 0 || s[0] != 1): // all of it belongs to the row
		return slices.Clone([]int(s)), true
	case len(s) == 0 || s[0] != n.rows || slices.ContainsFunc(s[1:], func(d int) bool { return d < 0 }):
		return nil, false
	}
	return rowShape(s), true
}
