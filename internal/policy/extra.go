package policy

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// ExtraSpec is one thing that a policy can give beside its action:
//
//	value                   of the observation
//	log_prob                of the action before it is clipped or unscaled
//	entropy                 of the distribution, where it has one in closed form
//	distribution.mean, ...  a parameter of the distribution
//	raw_action              before it is clipped or unscaled
//	normalized_observation  behind the preprocessor; with the feature behind a
//	                        point where an observation has several parts
//
// and under its own name what else the network gives, such as q_values.
type ExtraSpec struct {
	Name  string
	Shape []int // of one row, nil for a single number
	Width int   // number of float32 values of one row

	DType graph.DType // in the network; the values of a call are float32
	// Fixed tells that it is one for all rows, such as a parameter; each row
	// then has the same values.
	Fixed bool

	output string // of the network, empty where the policy makes it
	input  int    // of a normalized_observation
}

// Whole tells whether the values are integers, as the raw action of a policy
// with discrete actions is.
func (e *ExtraSpec) Whole() bool { return e.DType != graph.Invalid && !e.DType.IsFloat() }

// The extras that a policy makes itself, of what it was given and has given. The
// parts of an observation that has several follow behind a point.
const (
	RawAction             = "raw_action"
	NormalizedObservation = "normalized_observation"
)

// parameters are the outputs of a network that are those of its distribution.
var parameters = []string{"mean", "std", "logits", "probs", "alpha", "beta"}

// keepExtras fills in the extras of the contract: what all forms of the network
// give, then what the policy makes itself.
func (p *Policy) keepExtras(src *sources, all networks) {
	c := &p.contract
	c.Extras = nil
	for i, n := range all {
		switch {
		case n == nil:
		case i == 0:
			c.Extras = n.extras(c.Distribution != "")
		default:
			c.Extras = common(c.Extras, n.extras(c.Distribution != ""))
		}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(c.Extras, func(e ExtraSpec) bool { return e.Name == name })
	}
	network := all[0]
	if !has(RawAction) {
		row, _ := network.row(network.action.Value)
		c.Extras = append(c.Extras, ExtraSpec{Name: RawAction, Shape: row, Width: c.ActionWidth(), DType: network.action.Value.DType})
	}
	for i, v := range network.observation {
		row, _ := network.inputRow(v)
		e := ExtraSpec{Name: NormalizedObservation, Shape: row, Width: product(row), DType: graph.Float32, input: i}
		if len(c.Inputs) > 1 || src.spaces != nil && src.spaces.Named {
			e.Name += "." + c.Inputs[i].Name
		}
		if !has(e.Name) {
			c.Extras = append(c.Extras, e)
		}
	}
}

// extras returns what the network gives beside its action.
func (n *lowered) extras(distribution bool) []ExtraSpec {
	var specs []ExtraSpec
	for _, o := range n.others {
		s := o.Value.Shape
		spec := ExtraSpec{Name: o.Name, DType: o.Value.DType, output: o.Name}
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
		if distribution && slices.Contains(parameters, o.Name) {
			spec.Name = "distribution." + o.Name
		}
		if !slices.ContainsFunc(specs, func(e ExtraSpec) bool { return e.Name == spec.Name }) {
			specs = append(specs, spec)
		}
	}
	return specs
}

// common returns the extras that both forms of a policy have.
func common(a, b []ExtraSpec) []ExtraSpec {
	return slices.DeleteFunc(slices.Clone(a), func(e ExtraSpec) bool {
		return !slices.ContainsFunc(b, func(f ExtraSpec) bool { return e.Name == f.Name && slices.Equal(e.Shape, f.Shape) })
	})
}

// composing is a form that is being composed.
type composing struct {
	g          *graph.Graph
	network    *lowered
	inlined    map[*graph.Value]*graph.Value // of the network's outputs
	normalized []*graph.Value                // of the contract's inputs
}

// extra makes flat rows of one extra.
func (w *composing) extra(e *ExtraSpec) (*graph.Value, error) {
	var v *graph.Value
	switch {
	case e.output != "":
		at := slices.IndexFunc(w.network.others, func(o graph.Output) bool { return o.Name == e.output })
		v = w.inlined[w.network.others[at].Value]
	case e.Name == RawAction:
		v = w.inlined[w.network.action.Value]
	default:
		v = w.normalized[e.input]
	}
	v, err := batchFirst(w.g, v)
	if err != nil {
		return nil, err
	}
	flat := graph.Shape{w.network.rows, e.Width}
	if !e.Fixed {
		return adapt(w.g, v, &graph.Value{DType: graph.Float32, Shape: flat})
	}
	if v, err = adapt(w.g, v, &graph.Value{DType: graph.Float32, Shape: graph.Shape{1, e.Width}}); err != nil {
		return nil, err
	}
	return w.g.Add(graph.OpExpand, graph.Attrs{"shape": []int(flat)}, v)
}
