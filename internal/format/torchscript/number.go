package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// scalar is a number of Python that depends on the data: a value of the graph
// without dimensions, i64 for an int, f64 for a float.
type scalar struct{ v *graph.Value }

// kind is the type of the number in the code.
func (s *scalar) kind() string { return numberKind(s.v.DType) }

func numberKind(dt graph.DType) string {
	switch {
	case dt == graph.Bool:
		return "bool"
	case dt.IsFloat():
		return "float"
	}
	return "int"
}

// numberTypes are the element types of numbers of Python.
var numberTypes = map[string]graph.DType{"bool": graph.Bool, "int": graph.Int64, "float": graph.Float64}

// numberIn returns the number that a tensor of one element holds: known, or a
// scalar where the data decides and rows do not share the graph.
func (in *interp) numberIn(t *tensor) value {
	if n, ok := in.numberOf(t); ok {
		return n
	}
	if in.rows == 0 {
		in.mixes("a number that depends on the data of a tensor")
	}
	v := in.read(t)
	if v.Shape.RowElements() != 1 {
		in.errorf("a tensor of %v cannot be one number", v.Shape)
	}
	return in.scalarOf(v, numberKind(v.DType))
}

// scalarOf makes a number of a kind of a value of one element.
func (in *interp) scalarOf(v *graph.Value, kind string) *scalar {
	v = in.reshape(in.use(v), graph.Shape{})
	dt := numberTypes[kind]
	if kind == "int" && v.DType.IsFloat() {
		v = in.trunc(v)
	}
	return &scalar{in.cast(v, dt)}
}

// numberValue returns a number, known or not, as a value of its type.
func (in *interp) numberValue(v value) (*graph.Value, bool) {
	switch n := v.(type) {
	case *scalar:
		return n.v, true
	case bool:
		x, _ := toInt(n)
		return in.constant(&graph.Tensor{DType: graph.Bool, Shape: graph.Shape{}, I64: []int64{x}}), true
	case int64:
		return in.constant(&graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{n}}), true
	case float64:
		return in.constant(&graph.Tensor{DType: graph.Float64, Shape: graph.Shape{}, F64: []float64{n}}), true
	}
	return nil, false
}

// beside is a scalar as an operand beside like, whose type it does not widen.
func (s *scalar) beside(in *interp, like *graph.Value) *graph.Value {
	if s.v.DType != graph.Float64 {
		return s.v
	}
	if like != nil && like.DType.IsFloat() {
		return in.cast(s.v, like.DType)
	}
	return in.cast(s.v, graph.Float32)
}

// scalarOps are the operations of Python on numbers that the data decides.
var scalarOps = map[string]graph.Op{
	"add": graph.OpAdd, "sub": graph.OpSub, "mul": graph.OpMul, "div": graph.OpDiv, "truediv": graph.OpDiv,
	"floordiv": graph.OpFloorDiv, "floor_divide": graph.OpFloorDiv, "remainder": graph.OpRemainder, "pow": graph.OpPow,
	"eq": graph.OpEq, "ne": graph.OpNe, "lt": graph.OpLt, "le": graph.OpLe, "gt": graph.OpGt, "ge": graph.OpGe,
	"min": graph.OpMinimum, "max": graph.OpMaximum, "__and__": graph.OpAnd, "__or__": graph.OpOr, "__xor__": graph.OpNe,
	"neg": graph.OpNeg, "abs": graph.OpAbs, "sqrt": graph.OpSqrt, "exp": graph.OpExp, "log": graph.OpLog, "sin": graph.OpSin,
	"cos": graph.OpCos, "tanh": graph.OpTanh, "floor": graph.OpFloor, "ceil": graph.OpCeil, "round": graph.OpRound,
}

// onScalars computes a built-in function some of whose arguments are scalars
// and none a tensor. It reports false for a function that takes them as they
// are, such as append.
func (in *interp) onScalars(name string, args []value) (value, bool) {
	switch name {
	case "int", "Int", "float", "Float", "bool", "Bool", "__not__", "__round_to_zero__":
		return in.convertScalar(name, args[0]), true
	case "__is__", "__isnot__":
		return name == "__isnot__", true // a number is not None
	}
	op, ok := scalarOps[name]
	if !ok || len(args) == 0 || len(args) > 2 {
		return nil, false
	}
	vs, kind := make([]*graph.Value, len(args)), "bool"
	for i, a := range args {
		v, ok := in.numberValue(a)
		if !ok {
			if name == "eq" || name == "ne" {
				return name == "ne", true
			}
			return nil, false
		}
		vs[i] = v
		if k := numberKind(v.DType); k == "float" || k == "int" && kind == "bool" {
			kind = k
		}
	}
	return &scalar{in.scalarOp(name, op, vs, kind)}, true
}

func (in *interp) scalarOp(name string, op graph.Op, vs []*graph.Value, kind string) *graph.Value {
	switch op {
	case graph.OpAnd, graph.OpOr, graph.OpNe:
		if name != "ne" && kind != "bool" {
			in.unsupported("torch.%s of integers that depend on data", name)
		}
	case graph.OpDiv, graph.OpPow, graph.OpSqrt, graph.OpExp, graph.OpLog, graph.OpSin, graph.OpCos, graph.OpTanh:
		kind = "float"
	case graph.OpFloor, graph.OpCeil, graph.OpRound:
		if kind != "float" {
			return vs[0]
		}
	default:
		if kind == "bool" {
			kind = "int"
		}
	}
	for i := range vs {
		vs[i] = in.cast(vs[i], numberTypes[kind])
	}
	v := in.add(op, nil, vs...)
	if op == graph.OpFloor || op == graph.OpCeil {
		return in.cast(v, graph.Int64)
	}
	return v
}

func (in *interp) convertScalar(name string, a value) value {
	v, ok := in.numberValue(a)
	if !ok {
		in.unsupported("%s of a %s", name, kindName(a))
	}
	switch name {
	case "int", "Int", "__round_to_zero__":
		return in.scalarOf(v, "int")
	case "float", "Float":
		return in.scalarOf(v, "float")
	}
	b := in.truthOf(v)
	if name == "__not__" {
		b = in.add(graph.OpNot, nil, b)
	}
	return &scalar{b}
}

// truthOf is whether a number or a tensor of one element is not zero.
func (in *interp) truthOf(v *graph.Value) *graph.Value {
	v = in.reshape(in.use(v), graph.Shape{})
	if v.DType != graph.Bool {
		v = in.add(graph.OpNe, nil, v, in.number(int64(0), v))
	}
	return v
}

// cond decides a condition: known now, or by a value when the graph runs.
func (in *interp) cond(v value, pos Position, what string) (known bool, data *graph.Value) {
	switch v := v.(type) {
	case *scalar:
		return false, in.truthOf(v.v)
	case *tensor:
		n := in.numberAt(v, pos, what)
		if s, ok := n.(*scalar); ok {
			return false, in.truthOf(s.v)
		}
		return in.truth(n, pos, what), nil
	}
	return in.truth(v, pos, what), nil
}

// numberAt is numberIn of a condition, which a refusal names.
func (in *interp) numberAt(t *tensor, pos Position, what string) value {
	if n, ok := in.numberOf(t); ok {
		return n
	}
	in.pos = pos
	if in.rows == 0 {
		in.mixes("data-dependent %s", what)
	}
	return in.numberIn(t)
}

// isNaN is a float that is not a number: math.IsNaN for a value.
func isNaN(v value) bool {
	f, ok := v.(float64)
	return ok && math.IsNaN(f)
}
