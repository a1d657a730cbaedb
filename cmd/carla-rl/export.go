package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// exportGraph makes of the graph of a policy, in which all is flat rows of
// float32, one for other programs: inputs, outputs and state have the shapes of
// the contract, and actions that are choices are whole numbers.
func exportGraph(p *policy.Policy, sampled, masked, detailed bool) (*graph.Graph, error) {
	composed := p.Composed()
	switch {
	case masked:
		composed = p.Masked(!sampled)
	case sampled:
		composed = p.Sampled()
	}
	c := p.Contract()
	var extras []policy.ExtraSpec
	if detailed {
		var err error
		if composed, err = p.Detailed(!sampled, masked); err != nil {
			return nil, err
		}
		extras = c.Extras
	}
	g := graph.New(composed.Name)
	inner := make([]*graph.Value, len(composed.Inputs))
	outer := map[int]*graph.Value{}
	for i, in := range composed.Inputs {
		rows := in.Shape[0]
		shape := in.Shape
		switch states := len(c.Inputs); {
		case i < states:
			shape = withRows(rows, c.Inputs[i].Shape, c.Inputs[i].Width)
		default:
			if s := stateOf(c, in.Name); s != nil {
				shape = withRows(rows, s.Shape, s.Width)
			}
		}
		x := g.Input(in.Name, graph.Float32, shape)
		outer[i] = x
		var err error
		if inner[i], err = shaped(g, x, in.DType, in.Shape); err != nil {
			return nil, err
		}
	}
	outs, err := graph.Inline(g, composed, inner)
	if err != nil {
		return nil, err
	}
	left := 0 // out, of what stands before the state
	for i, o := range composed.Outputs {
		shape, dt, name := outs[i].Shape, graph.Float32, o.Name
		rows := shape[0]
		switch state := slices.IndexFunc(composed.States, func(s graph.State) bool { return s.Output == i }); {
		case i == 0:
			shape, dt = actionForm(c, rows)
		case state >= 0:
			shape = outer[composed.States[state].Input].Shape
		case i-1 < len(extras):
			e := &extras[i-1]
			if named(e.Name) {
				left++
				continue
			}
			shape, dt, name = withRows(rows, e.Shape, 0), e.DType, extraName(e)
		}
		y, err := shaped(g, outs[i], dt, shape)
		if err != nil {
			return nil, err
		}
		g.Output(name, y)
	}
	for _, s := range composed.States {
		s.Output -= left
		s.Initial, s.Reset = reshapedTo(s.Initial, outer[s.Input].Shape), reshapedTo(s.Reset, outer[s.Input].Shape)
		g.States = append(g.States, s)
	}
	return g, g.Verify()
}

// withRows is the shape of rows of a shape. A single number stays a column
// where it is given a width.
func withRows(rows int, row []int, width int) graph.Shape {
	if len(row) == 0 && width > 0 {
		return graph.Shape{rows, width}
	}
	return append(graph.Shape{rows}, row...)
}

func stateOf(c *policy.Contract, name string) *policy.StateSpec {
	i := slices.IndexFunc(c.State, func(s policy.StateSpec) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &c.State[i]
}

// actionForm is the shape and type of the action: its own where there is one,
// a row of all where there are several.
func actionForm(c *policy.Contract, rows int) (graph.Shape, graph.DType) {
	dt := graph.Int64
	for i := range c.Actions {
		if !c.Actions[i].Discrete {
			dt = graph.Float32
		}
	}
	if len(c.Actions) == 1 {
		return withRows(rows, c.Actions[0].Shape, 0), dt
	}
	return graph.Shape{rows, c.ActionWidth()}, dt
}

// shaped gives a value a shape and a type.
func shaped(g *graph.Graph, v *graph.Value, dt graph.DType, shape graph.Shape) (*graph.Value, error) {
	var err error
	if !v.Shape.Equal(shape) {
		if v, err = g.Add(graph.OpReshape, graph.Attrs{"shape": []int(shape)}, v); err != nil {
			return nil, err
		}
	}
	if v.DType != dt {
		return g.Add(graph.OpCast, graph.Attrs{"dtype": dt}, v)
	}
	return v, nil
}

// reshapedTo gives the tensor that begins a state the shape of one row.
func reshapedTo(t *graph.Tensor, shape graph.Shape) *graph.Tensor {
	if t == nil {
		return nil
	}
	out := *t
	out.Shape = shape.For(1)
	return &out
}

// exportNotes tell what an ONNX file of the policy cannot say.
func exportNotes(p *policy.Policy, sampled, masked bool) []string {
	c := p.Contract()
	var notes []string
	if len(c.Features) > len(c.Inputs) {
		var parts []string
		for i := range c.Features {
			f := &c.Features[i]
			parts = append(parts, columns(f.Name, f.Offset, f.Size))
		}
		notes = append(notes, fmt.Sprintf("The features of an observation are one input, %s, in columns: %s.", c.Inputs[0].Name, strings.Join(parts, ", ")))
	}
	if len(c.Actions) > 1 {
		var parts []string
		for i := range c.Actions {
			a := &c.Actions[i]
			parts = append(parts, columns(a.Name, a.Offset, a.Size))
		}
		notes = append(notes, fmt.Sprintf("The action has columns: %s.", strings.Join(parts, ", ")))
	}
	notes = append(notes, "The bounds of observations are not held to: a value out of its range is computed with.")
	if p.Enveloped() {
		notes = append(notes, "The envelope of the card is not in the file: its actions are held to no limits, and there is no fallback.")
	}
	switch {
	case c.Stochastic && sampled:
		notes = append(notes, "The action is drawn, by the engine that runs the file: a seed of this program gives other draws there.")
	case c.Stochastic:
		notes = append(notes, "The action is the deterministic one; --sampled writes the form that draws.")
	case sampled:
		notes = append(notes, "The policy draws nothing, so that its action is the deterministic one.")
	}
	for _, s := range c.State {
		notes = append(notes, fmt.Sprintf("The state %s is for the caller to carry: what leaves a step enters the next one.", s.Name))
	}
	switch {
	case masked:
		notes = append(notes, "The input action_masks is 0 for each action that may not be taken, and 1 for any other.")
	case c.Masks > 0:
		notes = append(notes, "Action masks are no input of the file, so that everything is allowed; --masked makes them one.")
	}
	if !p.Batchable() {
		notes = append(notes, "The file takes one observation at a time.")
	}
	return notes
}

// columns names the columns of a part of a row.
func columns(name string, offset, size int) string {
	if size == 1 {
		return fmt.Sprintf("%s %d", name, offset)
	}
	return fmt.Sprintf("%s %d to %d", name, offset, offset+size-1)
}
