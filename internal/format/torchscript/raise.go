package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// world is an object that no code has: what a run keeps beside the values of
// the code.
var world = &object{class: &classDef{name: "world"}}

// hasRaised is its attribute that tells whether the code has raised an error.
const hasRaised = "raised"

// raise is an error that the code raises. Under a condition on the data it
// ends the branch.
func (in *interp) raise(msg string) {
	if in.log != nil {
		panic(&raising{in.pos})
	}
	in.errorf("the code raises: %s", msg)
}

// raiseWhen notes that the code raises an error if a condition holds. A graph
// cannot raise: it gives NaN instead.
func (in *interp) raiseWhen(cond *graph.Value) {
	var now value = &scalar{cond}
	if before, ok := in.attrs[world][hasRaised].(*scalar); ok {
		now = &scalar{in.add(graph.OpOr, nil, in.use(before.v), in.use(cond))}
	}
	in.putAttr(world, hasRaised, now)
}

// spoil makes the results of a run NaN in which the code raises an error.
func (in *interp) spoil() {
	raised, ok := in.attrs[world][hasRaised].(*scalar)
	if !ok {
		return
	}
	spoilt := false
	for i := range in.g.Outputs {
		o := &in.g.Outputs[i]
		if o.Value.DType.IsFloat() {
			nan := in.number(math.NaN(), o.Value)
			o.Value = in.cast(in.add(graph.OpWhere, nil, raised.v, nan, o.Value), o.Value.DType)
			spoilt = true
		}
	}
	if !spoilt {
		in.unsupported("an error that the code raises as the data has it, in a method without results that are floating point")
	}
}
