package policy

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// OutputSpec is one thing that a policy gives beside the action: a mean, a
// value, the logits.
type OutputSpec struct {
	Name  string
	DType graph.DType // in the network; the values of a call are float32
	Shape []int       // of one row, nil for a single number
	Width int         // number of values of one row
	// Fixed tells that the output is one for all rows, such as a parameter;
	// each row then has the same values.
	Fixed bool
}

// outputs returns what the network gives beside its action.
func (n *lowered) outputs() []OutputSpec {
	var specs []OutputSpec
	for _, o := range n.others {
		s := o.Value.Shape
		spec := OutputSpec{Name: o.Name, DType: o.Value.DType}
		switch axis := s.BatchAxis(); {
		case n.rows == 1:
			spec.Shape, _ = n.row(o.Value)
		case axis < 0:
			spec.Shape, spec.Fixed = slices.Clone([]int(s)), true
		case s[axis] == graph.Batch:
			spec.Shape = slices.Delete(slices.Clone([]int(s)), axis, axis+1)
		default: // Several rows for each observation, of no use to a caller.
			continue
		}
		if len(spec.Shape) == 0 {
			spec.Shape = nil
		}
		spec.Width = product(spec.Shape)
		specs = append(specs, spec)
	}
	return specs
}

// common returns the outputs that both forms of a policy have.
func common(a, b []OutputSpec) []OutputSpec {
	return slices.DeleteFunc(slices.Clone(a), func(o OutputSpec) bool {
		return !slices.ContainsFunc(b, func(p OutputSpec) bool { return o.Name == p.Name && slices.Equal(o.Shape, p.Shape) })
	})
}

// lower makes flat rows of the output v.
func (o *OutputSpec) lower(g *graph.Graph, v *graph.Value, rows int) (*graph.Value, error) {
	v, err := batchFirst(g, v)
	if err != nil {
		return nil, err
	}
	flat := graph.Shape{rows, o.Width}
	if !o.Fixed {
		return adapt(g, v, &graph.Value{DType: graph.Float32, Shape: flat})
	}
	if v, err = adapt(g, v, &graph.Value{DType: graph.Float32, Shape: graph.Shape{1, o.Width}}); err != nil {
		return nil, err
	}
	return g.Add(graph.OpExpand, graph.Attrs{"shape": []int(flat)}, v)
}
