package onnx

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// mathOps are arithmetic, comparisons, logic and functions of one operand.
var mathOps = map[string]lowerFunc{
	"Add": plain(graph.OpAdd), "Sub": plain(graph.OpSub), "Mul": plain(graph.OpMul), "Div": divide, "Pow": power, "Mod": modulo,
	"Min": variadic(graph.OpMinimum), "Max": variadic(graph.OpMaximum), "Sum": variadic(graph.OpAdd), "Mean": average,

	"Equal": plain(graph.OpEq), "Less": plain(graph.OpLt), "LessOrEqual": plain(graph.OpLe), "Greater": plain(graph.OpGt), "GreaterOrEqual": plain(graph.OpGe),
	"And": plain(graph.OpAnd), "Or": plain(graph.OpOr), "Xor": plain(graph.OpNe), "Not": plain(graph.OpNot), "Where": plain(graph.OpWhere),
	"IsNaN": func(l *lowering) []torchscript.Value { return one(l.op(graph.OpNe, nil, l.x(0), l.x(0))) },

	"Exp": plain(graph.OpExp), "Log": plain(graph.OpLog), "Sqrt": plain(graph.OpSqrt), "Abs": plain(graph.OpAbs), "Neg": plain(graph.OpNeg),
	"Sign": plain(graph.OpSign), "Floor": plain(graph.OpFloor), "Ceil": plain(graph.OpCeil), "Round": plain(graph.OpRound), "Sin": plain(graph.OpSin),
	"Cos": plain(graph.OpCos), "Erf": plain(graph.OpErf), "Reciprocal": plain(graph.OpReciprocal),
	"Tan": plain(graph.OpTan), "Asin": plain(graph.OpAsin), "Acos": plain(graph.OpAcos), "Atan": plain(graph.OpAtan), "Sinh": plain(graph.OpSinh),
	"Cosh": plain(graph.OpCosh), "Asinh": plain(graph.OpAsinh), "Acosh": plain(graph.OpAcosh), "Atanh": plain(graph.OpAtanh), "IsInf": isInf,

	"Clip": clamp, "Cast": cast, "CastLike": castLike, "RandomNormalLike": normalLike, "RandomNormal": normal,
}

// operands are the numbers of operands of operators that are one node.
var operands = map[graph.Op]int{
	graph.OpAdd: 2, graph.OpSub: 2, graph.OpMul: 2, graph.OpDiv: 2, graph.OpEq: 2, graph.OpNe: 2, graph.OpLt: 2, graph.OpLe: 2, graph.OpGt: 2,
	graph.OpGe: 2, graph.OpAnd: 2, graph.OpOr: 2, graph.OpWhere: 3,
}

// plain is an operator that is one node.
func plain(op graph.Op) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		in := make([]torchscript.Value, max(operands[op], 1))
		for i := range in {
			in[i] = l.x(i)
		}
		return one(l.op(op, nil, in...))
	}
}

// variadic combines all operands.
func variadic(op graph.Op) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		y := l.x(0)
		for i := 1; i < len(l.in); i++ {
			y = l.op(op, nil, y, l.x(i))
		}
		return one(y)
	}
}

func average(l *lowering) []torchscript.Value {
	sum := variadic(graph.OpAdd)(l)[0]
	return one(l.op(graph.OpMul, nil, sum, 1/float64(len(l.in))))
}

// divide truncates integers.
func divide(l *lowering) []torchscript.Value {
	x, y := l.x(0), l.x(1)
	if l.isFloat(x) {
		return one(l.op(graph.OpDiv, nil, x, y))
	}
	return one(l.c.Call("div", []torchscript.Value{x, y}, map[string]torchscript.Value{"rounding_mode": "trunc"}))
}

// modulo has the sign of the divisor, or of the dividend as in C.
func modulo(l *lowering) []torchscript.Value {
	if l.attrInt("fmod", 0) != 0 {
		return one(l.op(graph.OpFmod, nil, l.x(0), l.x(1)))
	}
	return one(l.op(graph.OpRemainder, nil, l.x(0), l.x(1)))
}

// isInf may look for one of the two infinities alone.
func isInf(l *lowering) []torchscript.Value {
	x := l.x(0)
	down, up := l.attrInt("detect_negative", 1) != 0, l.attrInt("detect_positive", 1) != 0
	switch {
	case down && up:
		return one(l.op(graph.OpEq, nil, l.op(graph.OpAbs, nil, x), math.Inf(1)))
	case down:
		return one(l.op(graph.OpEq, nil, x, math.Inf(-1)))
	case up:
		return one(l.op(graph.OpEq, nil, x, math.Inf(1)))
	}
	return one(l.op(graph.OpLt, nil, l.op(graph.OpAbs, nil, x), 0.0)) // nothing is
}

// power has the type of its base.
func power(l *lowering) []torchscript.Value {
	x, y := l.x(0), l.x(1)
	return one(l.as(l.op(graph.OpPow, nil, x, y), l.dtype(x)))
}

func (l *lowering) as(x torchscript.Value, dt graph.DType) torchscript.Value {
	if l.dtype(x) == dt {
		return x
	}
	return l.op(graph.OpCast, graph.Attrs{"dtype": dt}, x)
}

// clamp has its bounds in attributes, later in operands.
func clamp(l *lowering) []torchscript.Value {
	x := l.x(0)
	attrs := graph.Attrs{}
	for i, name := range []string{"min", "max"} {
		if a, ok := l.attr(name); ok {
			attrs[name] = a.f
			continue
		}
		switch {
		case !l.has(i + 1):
		case l.in[i+1].t == nil:
			b := l.number(i + 1)
			if math.IsNaN(b) {
				l.c.Unsupported("a bound that is NaN")
			}
			attrs[name] = b
		default:
			return clampByData(l, x)
		}
	}
	if len(attrs) == 0 {
		return one(x)
	}
	return one(l.op(graph.OpClamp, attrs, x))
}

func clampByData(l *lowering, x torchscript.Value) []torchscript.Value {
	if b := l.maybe(1); b != nil {
		x = l.op(graph.OpMaximum, nil, x, b)
	}
	if b := l.maybe(2); b != nil {
		x = l.op(graph.OpMinimum, nil, x, b)
	}
	return one(x)
}

func cast(l *lowering) []torchscript.Value {
	return one(l.as(l.x(0), l.namedType(l.attrInt("to", 0))))
}

func castLike(l *lowering) []torchscript.Value { return one(l.as(l.x(0), l.dtype(l.x(1)))) }

func normalLike(l *lowering) []torchscript.Value {
	x := l.x(0)
	if to := l.attrInt("dtype", 0); to != 0 {
		x = l.as(x, l.namedType(to))
	}
	return one(l.draw(x))
}

// normal draws in a shape that the node names. In a model that was made for
// one row, the first 1 is the number of rows.
func normal(l *lowering) []torchscript.Value {
	shape := l.attrInts("shape")
	if l.widened && len(shape) > 0 && shape[0] == 1 {
		shape[0] = graph.Batch
	}
	zero := l.as(l.c.Parameter("", &graph.Tensor{DType: graph.Float32, Shape: graph.Shape{}, F32: []float32{0}}), l.namedType(l.attrInt("dtype", 1)))
	return one(l.draw(l.op(graph.OpExpand, graph.Attrs{"shape": shape}, zero)))
}

// draw makes a draw in the shape and type of x.
func (l *lowering) draw(x torchscript.Value) torchscript.Value {
	y := l.call("randn_like", x)
	if s := l.attrFloat("scale", 1); s != 1 {
		y = l.op(graph.OpMul, nil, y, s)
	}
	if m := l.attrFloat("mean", 0); m != 0 {
		y = l.op(graph.OpAdd, nil, y, m)
	}
	return y
}

// namedType is an element type by its number in ONNX.
func (l *lowering) namedType(n int) graph.DType {
	dt, err := dtypeOf(int64(n))
	if err != nil {
		l.c.Unsupported("%v", err)
	}
	return dt
}
