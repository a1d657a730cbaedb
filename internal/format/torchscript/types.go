package torchscript

import (
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// openType is the element type of an input that nothing tells: float32, unless
// the code asks whether it is another.
type openType struct{ of *slot }

// closed takes an open type for float32, as every observation is.
func closed(v value) value {
	if _, open := v.(openType); open {
		return dtypeCode(graph.Float32)
	}
	return v
}

// decideTypes closes open types that are compared. Between types of floating
// point the code comes to the same for what is taken for one; whether an input
// is of integers or of booleans, it must be told.
func (in *interp) decideTypes(a, b value) (value, value) {
	for _, p := range [2][2]value{{a, b}, {b, a}} {
		t, open := p[0].(openType)
		if !open {
			continue
		}
		if n, ok := p[1].(int64); ok && !dtypes[n].IsFloat() {
			in.askType(t.of)
		}
	}
	return closed(a), closed(b)
}

// askType ends this attempt: the code asks for the type of an input that
// nothing tells. The layers of torch ask it of masks.
func (in *interp) askType(s *slot) {
	if strings.HasPrefix(in.pos.File, "code/__torch__/torch/nn/") {
		in.learnType(s, graph.Bool)
	}
	in.fail(&NeedTypeError{Input: s.name, Pos: in.pos})
}

// learnType ends this attempt with the element type of an input.
func (in *interp) learnType(s *slot, dt graph.DType) {
	shape := s.batch
	if s.v == nil {
		shape = s.shape
	}
	panic(&restart{s.name, slotHint{shape: shape, dtype: dt, ranked: s.ranked}})
}

// untyped returns the input of unknown type that t is a part of, else nil.
func (in *interp) untyped(t *tensor) *slot {
	switch {
	case t.pending && t.slot.dtype == graph.Invalid && !t.slot.floating && !t.cast:
		return t.slot
	case t.pending || t.num != nil || t.rowNumbers:
		return nil
	}
	return in.source(in.read(t), partOps)
}

// elementType is x.dtype.
func elementType(c *call) value {
	if s := c.in.untyped(c.handle(0)); s != nil {
		return openType{s}
	}
	return dtypeCode(c.in.dtypeOf(c.handle(0)))
}

// isFloating is x.is_floating_point().
func isFloating(c *call) value {
	if s := c.in.untyped(c.handle(0)); s != nil {
		c.in.askType(s)
	}
	return c.in.dtypeOf(c.handle(0)).IsFloat()
}

// partOps choose or arrange elements.
var partOps = []graph.Op{
	graph.OpReshape, graph.OpTranspose, graph.OpExpand, graph.OpSlice, graph.OpConcat, graph.OpTake, graph.OpGather,
}

// integerOps give integers of integers.
var integerOps = append(slices.Clone(partOps), graph.OpWhere,
	graph.OpAdd, graph.OpSub, graph.OpMul, graph.OpNeg, graph.OpAbs, graph.OpSign, graph.OpMinimum, graph.OpMaximum, graph.OpClamp,
	graph.OpRemainder, graph.OpFloorDiv, graph.OpAmax, graph.OpAmin, graph.OpSum)

// source returns an input of unknown type of which v is made by nothing but
// some operators, else nil.
func (in *interp) source(v *graph.Value, ops []graph.Op) *slot {
	seen := map[*graph.Value]bool{}
	for walk := []*graph.Value{v}; len(walk) > 0; {
		v, walk = walk[len(walk)-1], walk[:len(walk)-1]
		if seen[v] {
			continue
		}
		seen[v] = true
		in.cost(1)
		for _, s := range in.slots {
			if s.v == v && s.dtype == graph.Invalid && !s.floating {
				return s
			}
		}
		if v.Def != nil && slices.Contains(ops, v.Def.Op) {
			walk = append(walk, v.Def.In...)
		} else if outer, captured := in.captures(v); captured {
			walk = append(walk, outer)
		}
	}
	return nil
}

// captures returns the value of the scope around it for which v stands in its
// own.
func (in *interp) captures(v *graph.Value) (*graph.Value, bool) {
	outer, ok := in.home(v).from[v]
	return outer, ok
}

// wantIntegers ends this attempt where a value of floating point numbers comes
// of an input of a type that is not known: it must have been one of integers.
func (in *interp) wantIntegers(v *graph.Value) {
	if s := in.source(v, integerOps); s != nil {
		in.learnType(s, graph.Int64)
	}
}

// wantBooleans does the same for what must have been booleans.
func (in *interp) wantBooleans(v *graph.Value) {
	if s := in.source(v, partOps); s != nil {
		in.learnType(s, graph.Bool)
	}
}

// booleans returns a mask. An input of unknown type must have been one of
// booleans; bytes are the masks of old.
func (c *call) booleans(i int) *graph.Value {
	v := c.value(i)
	if v.DType == graph.Bool {
		return v
	}
	c.in.wantBooleans(v)
	if v.DType != graph.Uint8 {
		c.in.errorf("%s with a mask of %v, booleans are needed", c.name, v.DType)
	}
	return c.in.cast(v, graph.Bool)
}

// typeOfIndices finds out the types of inputs that x is indexed by, where they
// are not known: booleans where the one index has the shape of x, or says of
// each row whether it is written; else integers.
func (in *interp) typeOfIndices(x *tensor, s subscripts, written bool) {
	for _, t := range s.idx {
		if t.rowNumbers || t.num != nil {
			continue
		}
		v := in.read(t)
		if !v.DType.IsFloat() {
			continue
		}
		shape, n := in.read(x).Shape, len(v.Shape)
		if len(s.idx) == 1 && s.dims[0] == 0 && n > 0 && n <= len(shape) && shape[:n].Equal(v.Shape) {
			if n > 1 || written && (shape[0] == graph.Batch || shape[0] == in.rows) {
				in.wantBooleans(v)
			}
		}
		in.wantIntegers(v)
		in.errorf("an index of %v, integers or booleans are needed", v.DType)
	}
}
