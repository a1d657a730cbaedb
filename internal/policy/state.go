package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// NewState returns the state of rows before the first step of their first
// episode, as Call.State takes it; nil for a policy that keeps none.
func (c *Contract) NewState(rows int) [][]float32 {
	if len(c.State) == 0 {
		return nil
	}
	state := make([][]float32, len(c.State))
	for i := range c.State {
		state[i] = slices.Repeat(c.State[i].Initial, rows)
	}
	return state
}

// ResetState makes the state of one row that of an episode which begins.
func (c *Contract) ResetState(state [][]float32, row int) {
	for i := range c.State {
		copy(state[i][row*c.State[i].Width:], c.State[i].Reset)
	}
}

// keepState fills in the state of the contract, and holds the card to it.
func (p *Policy) keepState(src *sources, n *lowered) error {
	for i := range n.states {
		s := &n.states[i]
		first, err := s.start(s.first)
		if err != nil {
			return err
		}
		reset, err := s.start(s.reset)
		if err != nil {
			return err
		}
		p.contract.State = append(p.contract.State, StateSpec{Name: s.name, Shape: s.row, Width: s.width, Initial: first, Reset: reset})
	}
	p.contract.keepFrames(src.frames)
	if f := src.frames; f != nil {
		p.notes = append(p.notes, f.String())
	}
	if len(p.contract.State) > 0 {
		p.notes = append(p.notes, fmt.Sprintf("state: the policy keeps %d numbers from one step of an episode to the next", p.contract.stateWidth()))
	}
	declared := src.card.Recurrent
	if declared == nil {
		return nil
	}
	recurrent, says := len(n.states) > 0, strings.ToLower(declared.Value)
	switch {
	case declared.Tag != "!!bool":
		return errors.New("model_card.yaml: recurrent: want true or false")
	case recurrent && says == "false":
		return fmt.Errorf("%w: model_card.yaml says recurrent: false, the network keeps state between steps", errDisagree)
	case !recurrent && says != "false":
		return fmt.Errorf("%w: model_card.yaml says recurrent: true, the network keeps no state between steps", errDisagree)
	}
	return nil
}

// layout is how a part of the state, or of an observation, lies in the network:
// a row of it is flat at the policy's boundary.
type layout struct {
	name  string
	dtype graph.DType
	shape graph.Shape // in the network
	axis  int         // of the batch, -1 in a network of one row
	row   []int       // shape without the batch axis
	width int
}

// errShared is a value that all rows of a batch would have in common.
var errShared = fmt.Errorf("%w: they would share it", graph.ErrMixesRows)

func layoutOf(in *graph.Value, batched bool) (layout, error) {
	l := layout{name: in.Name, dtype: in.DType, shape: in.Shape, axis: in.Shape.BatchAxis(), row: slices.Clone([]int(in.Shape))}
	switch {
	case batched && l.axis < 0:
		return l, fmt.Errorf("%s of shape %v: %w", in.Name, in.Shape, errShared)
	case l.axis >= 0 && in.Shape[l.axis] != graph.Batch:
		return l, fmt.Errorf("unsupported: %s of shape %v, whose rows do not lie one by one", in.Name, in.Shape)
	case l.axis >= 0:
		l.row = slices.Delete(l.row, l.axis, l.axis+1)
	}
	l.width = product(l.row)
	return l, nil
}

// enter makes of the flat rows x what the network takes.
func (l *layout) enter(g *graph.Graph, x *graph.Value) (*graph.Value, error) {
	shape := l.shape
	if l.axis > 0 {
		shape = append(graph.Shape{graph.Batch}, l.row...)
	}
	x, err := adapt(g, x, &graph.Value{DType: l.dtype, Shape: shape})
	if err != nil || l.axis <= 0 {
		return x, err
	}
	perm := make([]int, 0, len(l.shape))
	for i := range l.shape {
		switch {
		case i < l.axis:
			perm = append(perm, i+1)
		case i == l.axis:
			perm = append(perm, 0)
		default:
			perm = append(perm, i)
		}
	}
	return g.Add(graph.OpTranspose, graph.Attrs{"perm": perm}, x)
}

// leave makes flat rows of what the network gives.
func (l *layout) leave(g *graph.Graph, x *graph.Value, rows int) (*graph.Value, error) {
	x, err := batchFirst(g, x)
	if err != nil {
		return nil, err
	}
	return adapt(g, x, &graph.Value{DType: graph.Float32, Shape: graph.Shape{rows, l.width}})
}

// batchFirst moves the batch axis to the front.
func batchFirst(g *graph.Graph, x *graph.Value) (*graph.Value, error) {
	axis := x.Shape.BatchAxis()
	if axis <= 0 {
		return x, nil
	}
	perm := []int{axis}
	for i := range x.Shape {
		if i != axis {
			perm = append(perm, i)
		}
	}
	return g.Add(graph.OpTranspose, graph.Attrs{"perm": perm}, x)
}

// start returns the state of one row as a tensor of the network gives it.
func (l *layout) start(t *graph.Tensor) ([]float32, error) {
	row := make([]float32, l.width)
	if t == nil {
		return row, nil
	}
	if t.Len() != l.width {
		return nil, errors.New("state " + l.name + ": the first one has another size")
	}
	for i := range row {
		row[i] = float32(t.At(i))
	}
	return row, nil
}
