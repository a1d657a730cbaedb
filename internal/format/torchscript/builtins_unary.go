package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// unaryBuiltins are functions of one operand, element by element.
var unaryBuiltins = map[string]builtin{
	"exp":        {"x", unary(graph.OpExp)},
	"expm1":      {"x", unary(graph.OpExpm1)},
	"log":        {"x", unary(graph.OpLog)},
	"log1p":      {"x", unary(graph.OpLog1p)},
	"sqrt":       {"x", unary(graph.OpSqrt)},
	"rsqrt":      {"x", unary(graph.OpRsqrt)},
	"reciprocal": {"x", unary(graph.OpReciprocal)},
	"abs":        {"x", unary(graph.OpAbs)},
	"absolute":   {"x", unary(graph.OpAbs)},
	"neg":        {"x", unary(graph.OpNeg)},
	"negative":   {"x", unary(graph.OpNeg)},
	"sign":       {"x", unary(graph.OpSign)},
	"sgn":        {"x", unary(graph.OpSign)},
	"floor":      {"x", unary(graph.OpFloor)},
	"ceil":       {"x", unary(graph.OpCeil)},
	"sin":        {"x", unary(graph.OpSin)},
	"cos":        {"x", unary(graph.OpCos)},
	"erf":        {"x", unary(graph.OpErf)},

	"frac":     {"x", composed(func(in *interp, x *graph.Value) *graph.Value { return in.add(graph.OpSub, nil, x, in.trunc(x)) })},
	"square":   {"x", composed(func(in *interp, x *graph.Value) *graph.Value { return in.add(graph.OpMul, nil, x, x) })},
	"positive": {"x", composed(func(_ *interp, x *graph.Value) *graph.Value { return x })},
	"exp2":     {"x", scaledInput(graph.OpExp, math.Ln2)},
	"log2":     {"x", scaledOutput(graph.OpLog, 1/math.Ln2)},
	"log10":    {"x", scaledOutput(graph.OpLog, 1/math.Ln10)},
	"deg2rad":  {"x", scaledOutput("", math.Pi/180)},
	"rad2deg":  {"x", scaledOutput("", 180/math.Pi)},

	"isnan": {"x", composed(func(in *interp, x *graph.Value) *graph.Value { return in.add(graph.OpNe, nil, x, x) })},
	"isinf": {"x", composed(func(in *interp, x *graph.Value) *graph.Value {
		return in.add(graph.OpEq, nil, in.add(graph.OpAbs, nil, x), in.number(math.Inf(1), x))
	})},
	"isfinite": {"x", composed(func(in *interp, x *graph.Value) *graph.Value {
		return in.add(graph.OpLt, nil, in.add(graph.OpAbs, nil, x), in.number(math.Inf(1), x))
	})},
	"nan_to_num": {"x nan posinf neginf", nanToNum},

	"clamp":     {"x min max", clamp},
	"clip":      {"x min max", clamp},
	"clamp_min": {"x min", clampMin},
	"clamp_max": {"x max", clampMax},
	"hardtanh":  {"x min_val max_val", func(c *call) value { return c.clampTo(c.float(1, -1), c.float(2, 1)) }},
	"relu6":     {"x", func(c *call) value { return c.clampTo(0, 6) }},
}

// mapped computes f of argument 0; a pending input stays pending.
func (c *call) mapped(f func(x *graph.Value) *graph.Value) value {
	t := c.handle(0)
	if t.pending {
		return c.in.stillPending(t)
	}
	return newTensor(f(c.in.read(t)))
}

func unary(op graph.Op) func(c *call) value {
	return func(c *call) value {
		return c.mapped(func(x *graph.Value) *graph.Value { return c.in.add(op, nil, x) })
	}
}

func composed(f func(in *interp, x *graph.Value) *graph.Value) func(c *call) value {
	return func(c *call) value {
		return c.mapped(func(x *graph.Value) *graph.Value { return f(c.in, x) })
	}
}

func scaledInput(op graph.Op, k float64) func(c *call) value {
	return composed(func(in *interp, x *graph.Value) *graph.Value {
		return in.add(op, nil, in.add(graph.OpMul, nil, x, in.number(k, x)))
	})
}

func scaledOutput(op graph.Op, k float64) func(c *call) value {
	return composed(func(in *interp, x *graph.Value) *graph.Value {
		if op != "" {
			x = in.add(op, nil, x)
		}
		return in.add(graph.OpMul, nil, x, in.number(k, x))
	})
}

// clampTo clamps a floating point tensor between two numbers.
func (c *call) clampTo(lo, hi float64) value {
	return c.mapped(func(x *graph.Value) *graph.Value {
		return c.in.add(graph.OpClamp, graph.Attrs{"min": lo, "max": hi}, x)
	})
}

// clamp takes bounds that are numbers or tensors, each optional.
func clamp(c *call) value {
	for _, i := range []int{1, 2} {
		if t, ok := c.args[i].(*tensor); ok && t.num == nil {
			return clampByTensors(c)
		}
	}
	attrs := graph.Attrs{}
	if c.has(1) {
		attrs["min"] = c.float(1, 0)
	}
	if c.has(2) {
		attrs["max"] = c.float(2, 0)
	}
	if len(attrs) == 0 {
		c.in.errorf("%s without a bound", c.name)
	}
	return c.mapped(func(x *graph.Value) *graph.Value { return c.in.clampBy(x, attrs) })
}

// clampBy clamps x. Bounds that are no integers make integers floating point,
// as in torch.
func (in *interp) clampBy(x *graph.Value, attrs graph.Attrs) *graph.Value {
	if !x.DType.IsFloat() {
		for _, b := range attrs {
			if f := b.(float64); f != math.Trunc(f) {
				x = in.cast(x, graph.Float32)
				break
			}
		}
	}
	return in.add(graph.OpClamp, attrs, x)
}

func clampByTensors(c *call) value {
	x := c.value(0)
	if c.has(1) {
		x = c.in.add(graph.OpMaximum, nil, x, c.operand(1, x))
	}
	if c.has(2) {
		x = c.in.add(graph.OpMinimum, nil, x, c.operand(2, x))
	}
	return newTensor(x)
}

func clampMin(c *call) value {
	c.args = []value{c.args[0], c.args[1], absent{}}
	return clamp(c)
}

func clampMax(c *call) value {
	c.args = []value{c.args[0], absent{}, c.args[1]}
	return clamp(c)
}

// maxFinite are the greatest finite numbers of the floating point types.
var maxFinite = map[graph.DType]float64{
	graph.Float32: math.MaxFloat32, graph.Float64: math.MaxFloat64, graph.Float16: 65504, graph.BFloat16: 0x1.fep127,
}

func nanToNum(c *call) value {
	return c.mapped(func(x *graph.Value) *graph.Value {
		most, ok := maxFinite[x.DType]
		if !ok {
			return x
		}
		zero := c.in.number(c.float(1, 0), x)
		v := c.in.add(graph.OpWhere, nil, c.in.add(graph.OpNe, nil, x, x), zero, x)
		for _, b := range []struct{ inf, is float64 }{{math.Inf(1), c.float(2, most)}, {math.Inf(-1), c.float(3, -most)}} {
			at := c.in.add(graph.OpEq, nil, v, c.in.number(b.inf, v))
			v = c.in.add(graph.OpWhere, nil, at, c.in.number(b.is, v), v)
		}
		return c.in.cast(v, x.DType)
	})
}
