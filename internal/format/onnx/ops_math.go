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
	"Tan": func(l *lowering) []torchscript.Value { return one(l.call("tan", l.x(0))) },

	"Clip": clamp, "Cast": cast, "CastLike": castLike, "RandomNormalLike": normalLike,
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

func modulo(l *lowering) []torchscript.Value {
	if l.attrInt("fmod", 0) != 0 {
		l.c.Unsupported("fmod=1")
	}
	return one(l.call("remainder", l.x(0), l.x(1)))
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
	dt, err := dtypeOf(int64(l.attrInt("to", 0)))
	if err != nil {
		l.c.Unsupported("a cast to %v", err)
	}
	return one(l.as(l.x(0), dt))
}

func castLike(l *lowering) []torchscript.Value { return one(l.as(l.x(0), l.dtype(l.x(1)))) }

func normalLike(l *lowering) []torchscript.Value {
	y := l.call("randn_like", l.x(0))
	if s := l.attrFloat("scale", 1); s != 1 {
		y = l.op(graph.OpMul, nil, y, s)
	}
	if m := l.attrFloat("mean", 0); m != 0 {
		y = l.op(graph.OpAdd, nil, y, m)
	}
	return one(y)
}
