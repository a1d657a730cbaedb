package torchscript

import (
	"strconv"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// arguments makes the inputs of the graph, and binds the other parameters.
func (in *interp) arguments(method string, def *funcDef) []value {
	if len(def.params) == 0 {
		in.errorf("method %s has no self", method)
	}
	params := def.params[1:]
	traced := in.m.traced[method]
	in.tracedRows = rowsOfTrace(traced)
	args := make([]value, len(params))
	for i, p := range params {
		var example value
		if i < len(traced) {
			example = traced[i]
		}
		args[i] = in.argument(p, example)
	}
	return args
}

func (in *interp) argument(p param, example value) value {
	switch name := typeName(p.typ); {
	case name == "Tensor":
		return in.input(p.name, example)
	case name == "Dict[str, Tensor]":
		d := newDict()
		d.inputs = p.name
		if ex, ok := example.(*dict); ok {
			for _, k := range ex.keys {
				if key, ok := k.(string); ok {
					d.set(key, in.input(key, ex.vals[k]))
				}
			}
		}
		return d
	case strings.HasPrefix(name, "Tuple[Tensor"):
		t := &tuple{}
		for i := range p.typ.(*indexExpr).idx {
			var ex value
			if et, ok := example.(*tuple); ok && i < len(et.elems) {
				ex = et.elems[i]
			}
			t.elems = append(t.elems, in.input(p.name+strconv.Itoa(i), ex))
		}
		return t
	case p.name == "deterministic" && (name == "bool" || name == "Optional[bool]"):
		return in.o.Deterministic
	case p.def != nil:
		return in.eval(&frame{}, p.def)
	case strings.HasPrefix(name, "Optional["):
		return nil
	default:
		in.unsupported("an argument %s of type %s", p.name, name)
		return nil
	}
}

// input makes one input of the graph, pending where its shape is not known.
func (in *interp) input(name string, example value) *tensor {
	s := &slot{name: name}
	if ex, ok := example.(*graph.Tensor); ok {
		s.dtype = ex.DType
		s.shape = exampleShape(ex.Shape, ex.DType, in.tracedRows)
	}
	return in.open(s)
}

// open makes the input of a slot whose type and shape are what the file tells;
// the options come before it, the hints of an earlier attempt fill in.
func (in *interp) open(s *slot) *tensor {
	for _, other := range in.slots {
		if other.name == s.name {
			in.unsupported("two inputs of the name %s", s.name)
		}
	}
	if len(in.slots) >= graph.MaxPorts {
		in.limit("more than %d inputs", graph.MaxPorts)
	}
	in.slots = append(in.slots, s)
	if given, ok := in.o.InputShapes[s.name]; ok {
		s.shape = append(graph.Shape{}, given...)
	}
	if given := in.o.InputTypes[s.name]; s.dtype == graph.Invalid && given != graph.Invalid {
		if s.floating = given.IsFloat(); !s.floating {
			s.dtype = given
		}
	}
	if h, ok := in.hints[s.name]; ok {
		if s.shape == nil {
			s.shape = h.shape
		}
		if h.dtype != graph.Invalid {
			s.dtype = h.dtype
		}
		s.ranked = h.ranked
	}
	// The order of inputs is that of the arguments, so a value is reserved
	// even while its shape is unknown; such a graph is never returned.
	if s.shape == nil {
		return &tensor{slot: s, pending: true, memory: &memory{}}
	}
	s.batch = s.shape
	if in.rows > 0 {
		s.shape = s.shape.For(in.rows)
	}
	if err := s.shape.Check(); err != nil {
		in.errorf("shape of input %s: %w", s.name, err)
	}
	dt := s.dtype
	if dt == graph.Invalid {
		dt = graph.Float32
	}
	s.v = in.root.g.Input(s.name, dt, s.shape)
	t := newTensor(s.v)
	t.slot = s
	return t
}

// rowsOfTrace returns the number of rows that a trace was made with: the
// leading dimension of its first input.
func rowsOfTrace(traced []value) int {
	if len(traced) > 0 {
		if t, ok := traced[0].(*graph.Tensor); ok && len(t.Shape) > 1 {
			return t.Shape[0]
		}
	}
	return 0
}

// exampleShape makes the shape of an input of the one that was traced with a
// number of rows. Its leading dimension is the batch, unless another one alone
// is as long as the batch was, as in the state of a recurrent layer. A single
// row of numbers is taken as one without a batch axis; one of integers is a
// class for each row.
func exampleShape(s graph.Shape, dt graph.DType, rowCount int) graph.Shape {
	if len(s) == 0 {
		return nil
	}
	out := append(graph.Shape{}, s...)
	if len(s) == 1 && dt.IsFloat() {
		return graph.Shape{graph.Batch, s[0]}
	}
	axis := 0
	if rowCount > 1 && s[0] != rowCount {
		for i, d := range s {
			if d == rowCount && axis == 0 {
				axis = i
			}
		}
	}
	out[axis] = graph.Batch
	return out
}
