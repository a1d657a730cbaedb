package onnx

import (
	"maps"
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// encodeFunc writes the nodes of one operator and names its results.
type encodeFunc func(e *encoder, n *graph.Node) error

// encoders is the table of operators of the graph.
var encoders = map[graph.Op]encodeFunc{}

func init() {
	for _, group := range []map[graph.Op]encodeFunc{encodeArithmetic, encodeFunctions, encodeActivations, encodeLayers, encodeShapes, encodeControl} {
		maps.Copy(encoders, group)
	}
}

// single is an operator of one result, which f names.
func single(f func(e *encoder, n *graph.Node) string) encodeFunc {
	return func(e *encoder, n *graph.Node) error {
		e.shared.names[n.Out[0]] = f(e, n)
		return nil
	}
}

// as is a value in another element type. A float becomes a small integer by
// way of i64, so that what is out of range wraps everywhere.
func (e *encoder) as(name string, from, to graph.DType) string {
	if from == to {
		return name
	}
	if from.IsFloat() && to.IsInt() && to != graph.Int64 {
		name = e.as(name, from, graph.Int64)
	}
	return e.node("Cast", []encodedAttr{{"to", int(dtypeNumbers[to])}}, name)
}

// operand is operand k in an element type.
func (e *encoder) operand(n *graph.Node, k int, dt graph.DType) string {
	return e.as(e.name(n.In[k]), n.In[k].DType, dt)
}

// operands are all operands in an element type.
func (e *encoder) operands(n *graph.Node, dt graph.DType) []string {
	names := make([]string, len(n.In))
	for k := range n.In {
		names[k] = e.operand(n, k, dt)
	}
	return names
}

// result is a value as the node's result has it.
func (e *encoder) result(n *graph.Node, name string, from graph.DType) string {
	return e.as(name, from, n.Out[0].DType)
}

// wide is the type in which numbers of a type are computed.
func wide(dt graph.DType) graph.DType {
	switch {
	case dt == graph.Float64:
		return graph.Float64
	case dt.IsFloat():
		return graph.Float32
	default:
		return graph.Int64
	}
}

// meet is the type in which two operands meet, by torch's promotion: values
// without dimensions count only where their category is higher.
func meet(in []*graph.Value) graph.DType {
	var dim, zero graph.DType
	for _, v := range in {
		to := &dim
		if len(v.Shape) == 0 {
			to = &zero
		}
		if *to == graph.Invalid {
			*to = v.DType
		} else {
			*to = graph.Promote(*to, v.DType)
		}
	}
	switch {
	case dim == graph.Invalid:
		return zero
	case zero == graph.Invalid || category(zero) < category(dim):
		return dim
	case category(zero) == category(dim):
		return dim
	default:
		return graph.Promote(dim, zero)
	}
}

func category(dt graph.DType) int {
	switch {
	case dt == graph.Bool:
		return 0
	case dt.IsFloat():
		return 2
	default:
		return 1
	}
}

// encodeArithmetic are operators of two operands that broadcast.
var encodeArithmetic = map[graph.Op]encodeFunc{
	graph.OpAdd: arithmetic("Add", "Or"), graph.OpSub: arithmetic("Sub", ""), graph.OpMul: arithmetic("Mul", "And"),
	graph.OpPow: arithmetic("Pow", ""), graph.OpMinimum: arithmetic("Min", "And"), graph.OpMaximum: arithmetic("Max", "Or"),
	graph.OpDiv: single(func(e *encoder, n *graph.Node) string {
		dt := wide(n.Out[0].DType)
		return e.result(n, e.node("Div", nil, e.operands(n, dt)...), dt)
	}),
	graph.OpAtan2: single(encodeAtan2), graph.OpFmod: single(encodeFmod), graph.OpRemainder: single(encodeRemainder), graph.OpFloorDiv: single(encodeFloorDiv),

	graph.OpEq: compare("Equal"), graph.OpLt: compare("Less"), graph.OpLe: compare("LessOrEqual"), graph.OpGt: compare("Greater"), graph.OpGe: compare("GreaterOrEqual"),
	graph.OpNe: single(func(e *encoder, n *graph.Node) string { return e.node("Not", nil, compared(e, n, "Equal")) }),

	graph.OpAnd: logic("And"), graph.OpOr: logic("Or"), graph.OpNot: logic("Not"),
	graph.OpWhere: single(func(e *encoder, n *graph.Node) string {
		dt := n.Out[0].DType
		c, a, b := e.name(n.In[0]), e.operand(n, 1, wide(dt)), e.operand(n, 2, wide(dt))
		return e.result(n, e.node("Where", nil, c, a, b), wide(dt))
	}),
}

// arithmetic is one node, another for booleans.
func arithmetic(op, booleans string) encodeFunc {
	return single(func(e *encoder, n *graph.Node) string {
		if n.Out[0].DType == graph.Bool {
			return e.node(booleans, nil, e.operands(n, graph.Bool)...)
		}
		dt := wide(n.Out[0].DType)
		return e.result(n, e.node(op, nil, e.operands(n, dt)...), dt)
	})
}

func compared(e *encoder, n *graph.Node, op string) string {
	return e.node(op, nil, e.operands(n, wide(meet(n.In)))...)
}

func compare(op string) encodeFunc {
	return single(func(e *encoder, n *graph.Node) string { return compared(e, n, op) })
}

func logic(op string) encodeFunc {
	return single(func(e *encoder, n *graph.Node) string { return e.node(op, nil, e.operands(n, graph.Bool)...) })
}

// encodeAtan2 is the angle of (x, y). A zero has no sign here.
func encodeAtan2(e *encoder, n *graph.Node) string {
	dt := graph.Float32 // ONNX Runtime has no other arctangent
	y, x := e.operand(n, 0, dt), e.operand(n, 1, dt)
	zero, pi, half := e.number(dt, 0), e.number(dt, math.Pi), e.number(dt, math.Pi/2)
	right := e.node("Atan", nil, e.node("Div", nil, y, x))
	up := e.node("GreaterOrEqual", nil, y, zero)
	left := e.node("Where", nil, up, e.node("Add", nil, right, pi), e.node("Sub", nil, right, pi))
	beside := e.node("Where", nil, e.node("Greater", nil, x, zero), right, left)
	down := e.node("Where", nil, e.node("Less", nil, y, zero), e.node("Neg", nil, half), y)
	axis := e.node("Where", nil, e.node("Greater", nil, y, zero), half, down)
	return e.result(n, e.node("Where", nil, e.node("Equal", nil, x, zero), axis, beside), dt)
}

// divisor is the type and the operands of a division with remainder. An
// integer is not divided by 0: then there is 1 in its place, and zero names
// where.
func (e *encoder) divisor(n *graph.Node) (dt graph.DType, a, b, zero string) {
	dt = wide(n.Out[0].DType)
	a, b = e.operand(n, 0, dt), e.operand(n, 1, dt)
	if dt == graph.Int64 {
		zero = e.node("Equal", nil, b, e.number(dt, 0))
		b = e.node("Where", nil, zero, e.number(dt, 1), b)
	}
	return dt, a, b, zero
}

// divided is the result of a division with remainder, 0 where the divisor was.
func (e *encoder) divided(n *graph.Node, y, zero string, dt graph.DType) string {
	if zero != "" {
		y = e.node("Where", nil, zero, e.number(dt, 0), y)
	}
	return e.result(n, y, dt)
}

func encodeFmod(e *encoder, n *graph.Node) string {
	dt, a, b, zero := e.divisor(n)
	return e.divided(n, e.node("Mod", []encodedAttr{{"fmod", 1}}, a, b), zero, dt)
}

// modulo is the remainder with the sign of the divisor.
func (e *encoder) modulo(a, b string, dt graph.DType) string {
	if dt == graph.Int64 {
		return e.node("Mod", nil, a, b)
	}
	zero := e.number(dt, 0)
	r := e.node("Mod", []encodedAttr{{"fmod", 1}}, a, b)
	other := e.node("Xor", nil, e.node("Less", nil, r, zero), e.node("Less", nil, b, zero))
	other = e.node("And", nil, other, e.node("Not", nil, e.node("Equal", nil, r, zero)))
	return e.node("Where", nil, other, e.node("Add", nil, r, b), r)
}

func encodeRemainder(e *encoder, n *graph.Node) string {
	dt, a, b, zero := e.divisor(n)
	return e.divided(n, e.modulo(a, b, dt), zero, dt)
}

func encodeFloorDiv(e *encoder, n *graph.Node) string {
	dt, a, b, zero := e.divisor(n)
	if dt != graph.Int64 {
		return e.result(n, e.node("Floor", nil, e.node("Div", nil, a, b)), dt)
	}
	return e.divided(n, e.node("Div", nil, e.node("Sub", nil, a, e.modulo(a, b, dt)), b), zero, dt)
}

// encodeFunctions are functions of one operand.
var encodeFunctions = map[graph.Op]encodeFunc{
	graph.OpExp: floating("Exp"), graph.OpLog: floating("Log"), graph.OpSqrt: floating("Sqrt"), graph.OpReciprocal: floating("Reciprocal"),
	graph.OpSin: floating("Sin"), graph.OpCos: floating("Cos"), graph.OpTanh: floating("Tanh"), graph.OpSigmoid: floating("Sigmoid"),
	graph.OpTan: floating32("Tan"), graph.OpAsin: floating32("Asin"), graph.OpAcos: floating32("Acos"), graph.OpAtan: floating32("Atan"),
	graph.OpSinh: floating32("Sinh"), graph.OpCosh: floating32("Cosh"), graph.OpAsinh: floating32("Asinh"), graph.OpAcosh: floating32("Acosh"),
	graph.OpAtanh: floating32("Atanh"), graph.OpErf: floating32("Erf"),
	graph.OpRsqrt: single(func(e *encoder, n *graph.Node) string {
		dt := wide(n.Out[0].DType)
		return e.result(n, e.node("Reciprocal", nil, e.node("Sqrt", nil, e.operand(n, 0, dt))), dt)
	}),
	graph.OpExpm1: single(encodeExpm1), graph.OpLog1p: single(encodeLog1p),

	graph.OpAbs: number("Abs"), graph.OpNeg: number("Neg"), graph.OpSign: single(encodeSign),
	graph.OpFloor: rounding("Floor"), graph.OpCeil: rounding("Ceil"), graph.OpRound: rounding("Round"),
	graph.OpTrunc: single(func(e *encoder, n *graph.Node) string {
		dt := wide(n.Out[0].DType)
		x := e.operand(n, 0, dt)
		if dt == graph.Int64 {
			return e.node("Identity", nil, e.name(n.In[0]))
		}
		negative := e.node("Less", nil, x, e.number(dt, 0))
		return e.result(n, e.node("Where", nil, negative, e.node("Ceil", nil, x), e.node("Floor", nil, x)), dt)
	}),
	graph.OpClamp: single(encodeClamp),
	graph.OpCast: single(func(e *encoder, n *graph.Node) string {
		if n.In[0].DType == n.Out[0].DType {
			return e.node("Identity", nil, e.name(n.In[0]))
		}
		return e.operand(n, 0, n.Out[0].DType)
	}),
}

// floating is a function whose result is floating point.
func floating(op string) encodeFunc {
	return single(func(e *encoder, n *graph.Node) string {
		dt := wide(n.Out[0].DType)
		return e.result(n, e.node(op, nil, e.operand(n, 0, dt)), dt)
	})
}

// floating32 is a function that ONNX Runtime has in single precision only.
func floating32(op string) encodeFunc {
	return single(func(e *encoder, n *graph.Node) string {
		return e.result(n, e.node(op, nil, e.operand(n, 0, graph.Float32)), graph.Float32)
	})
}

// number is a function that keeps integers.
func number(op string) encodeFunc {
	return single(func(e *encoder, n *graph.Node) string {
		dt := wide(n.Out[0].DType)
		return e.result(n, e.node(op, nil, e.operand(n, 0, dt)), dt)
	})
}

// rounding changes no integer.
func rounding(op string) encodeFunc {
	return single(func(e *encoder, n *graph.Node) string {
		dt := wide(n.Out[0].DType)
		if dt == graph.Int64 {
			return e.node("Identity", nil, e.name(n.In[0]))
		}
		return e.result(n, e.node(op, nil, e.operand(n, 0, dt)), dt)
	})
}

// encodeExpm1 keeps small numbers: exp(x)-1 = tanh(x/2)·(exp(x)+1).
func encodeExpm1(e *encoder, n *graph.Node) string {
	dt := wide(n.Out[0].DType)
	x := e.operand(n, 0, dt)
	t := e.node("Tanh", nil, e.node("Mul", nil, x, e.number(dt, 0.5)))
	return e.result(n, e.node("Mul", nil, t, e.node("Add", nil, e.node("Exp", nil, x), e.number(dt, 1))), dt)
}

// encodeLog1p is log(1+x) in double precision, and x itself where that would
// lose it.
func encodeLog1p(e *encoder, n *graph.Node) string {
	dt := graph.Float64
	x := e.operand(n, 0, dt)
	small := e.node("Less", nil, e.node("Abs", nil, x), e.number(dt, 1e-8))
	y := e.node("Log", nil, e.node("Add", nil, x, e.number(dt, 1)))
	return e.result(n, e.node("Where", nil, small, x, y), dt)
}

// encodeSign is 0 for NaN, which Sign of ONNX need not be.
func encodeSign(e *encoder, n *graph.Node) string {
	dt := wide(n.Out[0].DType)
	x, zero := e.operand(n, 0, dt), e.number(dt, 0)
	up := e.as(e.node("Greater", nil, x, zero), graph.Bool, dt)
	down := e.as(e.node("Less", nil, x, zero), graph.Bool, dt)
	return e.result(n, e.node("Sub", nil, up, down), dt)
}

// encodeClamp is Clip, in which NaN stays NaN and the upper bound wins as in
// torch. Bounds of integers beyond i64 are cut to it.
func encodeClamp(e *encoder, n *graph.Node) string {
	dt := wide(n.Out[0].DType)
	in := []string{e.operand(n, 0, dt)}
	for _, name := range []string{"min", "max"} {
		if !n.Attrs.Has(name) {
			in = append(in, "")
			continue
		}
		b := n.Attrs.Float(name)
		if dt == graph.Int64 {
			t := &graph.Tensor{DType: dt, Shape: graph.Shape{}, I64: []int64{saturated(b)}}
			in = append(in, e.constant(t))
			continue
		}
		in = append(in, e.number(dt, b))
	}
	for in[len(in)-1] == "" {
		in = in[:len(in)-1]
	}
	if len(in) == 1 {
		return e.node("Identity", nil, e.name(n.In[0]))
	}
	return e.result(n, e.node("Clip", nil, in...), dt)
}

func saturated(x float64) int64 {
	switch {
	case x >= math.MaxInt64:
		return math.MaxInt64
	case x <= math.MinInt64:
		return math.MinInt64
	}
	return int64(x)
}
