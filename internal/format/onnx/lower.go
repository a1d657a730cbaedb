package onnx

import (
	"errors"
	"fmt"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// Options say which computation is wanted.
type Options struct {
	// InputShapes gives the shape of inputs by name, with graph.Batch for the
	// batch axis, in place of what the file says.
	InputShapes map[string][]int
	// Rows asks for exactly that number of rows, without a batch axis; 0 is for
	// any number.
	Rows int
}

// plan is one way to take the inputs.
type plan struct {
	shapes map[string][]int
	// widened tells that a 1 of the file stands for the number of rows.
	widened bool
	rows    int // 0 where the number is open
}

// Lower makes the graph of the model. A model for one row, as exports without
// dynamic axes are, becomes one for any number of rows where its operators
// allow it: the rows are then computed as if one after the other. Inputs and
// outputs that carry state, see States, are the last ones.
//
// A choice or a loop that the data decides about is lowered for a fixed number
// of rows only; the error wraps graph.ErrMixesRows elsewhere.
func (m *Model) Lower(o Options) (*graph.Graph, error) {
	var last error
	for _, p := range m.plans(o) {
		g, err := m.lower(p)
		if err == nil || errors.Is(err, torchscript.ErrLimit) {
			return g, err
		}
		last = err
	}
	return nil, last
}

// plans are the ways to take the inputs, the best first.
func (m *Model) plans(o Options) []plan {
	shapes := map[string][]int{}
	for _, in := range m.Inputs {
		s, ok := o.InputShapes[in.Name]
		if !ok {
			s = oneStep(in)
		}
		if o.Rows > 0 && s != nil {
			s = graph.Shape(s).For(o.Rows)
		}
		shapes[in.Name] = s
	}
	var all []plan
	if o.Rows == 0 {
		for _, axis := range []int{1, 0} { // of the states' rows
			if w, ok := m.widened(o, axis); ok {
				all = append(all, plan{w, true, 0})
			}
		}
	}
	rows := o.Rows
	if rows == 0 && fixed(shapes) {
		rows = 1
	}
	return append(all, plan{shapes, false, rows})
}

// fixed reports whether no shape has the number of rows.
func fixed(shapes map[string][]int) bool {
	for _, s := range shapes {
		if s == nil || !graph.Shape(s).Fixed() {
			return false
		}
	}
	return true
}

// oneStep is the shape of an input in which an open dimension of time is 1:
// a policy is asked step by step.
func oneStep(in Input) []int {
	if countOpen(in.Shape) < 2 {
		return in.Shape
	}
	s := slices.Clone(in.Shape)
	for i, name := range in.dims {
		if s[i] < 0 && isTime(name) && countOpen(s) > 1 {
			s[i] = 1
		}
	}
	return s
}

func countOpen(s []int) int {
	n := 0
	for _, d := range s {
		if d < 0 {
			n++
		}
	}
	return n
}

// widened gives inputs of one row the batch axis. That of a state of three
// dimensions is the given one: recurrent layers have it behind the layers. It
// reports false where some shape is open, or given as another, or some input
// has not one row.
func (m *Model) widened(o Options, stateAxis int) (map[string][]int, bool) {
	shapes := map[string][]int{}
	for _, in := range m.Inputs {
		s := slices.Clone(in.Shape)
		axis := 0
		if m.isState(in.Name) && len(s) > 2 {
			axis = stateAxis
		}
		if len(s) <= axis || s[axis] != 1 || !graph.Shape(s).Fixed() {
			return nil, false
		}
		s[axis] = graph.Batch
		if given, ok := o.InputShapes[in.Name]; ok && !slices.Equal(given, s) {
			return nil, false
		}
		shapes[in.Name] = s
	}
	return shapes, len(shapes) > 0
}

func (m *Model) lower(p plan) (*graph.Graph, error) {
	g, err := torchscript.Build("model", torchscript.LowerOptions{Rows: p.rows}, func(c *torchscript.Calls) error {
		l := &lowering{c: c, m: m, opset: m.Opset, scope: &scope{values: map[string]value{}}, widened: p.widened, derived: map[derivation]*graph.Tensor{}}
		l.run(p.shapes)
		return nil
	})
	switch {
	case errors.Is(err, errors.ErrUnsupported): // its message is complete
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("onnx: %w", err)
	}
	return g, m.addStates(g, p.widened)
}
