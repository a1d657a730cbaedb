package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// mathBuiltins are further functions of one or two operands, element by
// element.
var mathBuiltins = map[string]builtin{
	"tan": {"x", unary(graph.OpTan)}, "asin": {"x", unary(graph.OpAsin)}, "arcsin": {"x", unary(graph.OpAsin)},
	"acos": {"x", unary(graph.OpAcos)}, "arccos": {"x", unary(graph.OpAcos)}, "atan": {"x", unary(graph.OpAtan)}, "arctan": {"x", unary(graph.OpAtan)},
	"sinh": {"x", unary(graph.OpSinh)}, "cosh": {"x", unary(graph.OpCosh)}, "asinh": {"x", unary(graph.OpAsinh)}, "arcsinh": {"x", unary(graph.OpAsinh)},
	"acosh": {"x", unary(graph.OpAcosh)}, "arccosh": {"x", unary(graph.OpAcosh)}, "atanh": {"x", unary(graph.OpAtanh)}, "arctanh": {"x", unary(graph.OpAtanh)},
	"trunc": {"x", unary(graph.OpTrunc)}, "fix": {"x", unary(graph.OpTrunc)},

	"atan2": {"x y", binary(graph.OpAtan2)}, "arctan2": {"x y", binary(graph.OpAtan2)}, "fmod": {"x y", binary(graph.OpFmod)},
	"hypot":       {"x y", pairwise(hypot)},
	"logaddexp":   {"x y", pairwise(logAddExp)},
	"xlogy":       {"x y", pairwise(xlogy)},
	"copysign":    {"x y", pairwise(copySign)},
	"heaviside":   {"x y", pairwise(heaviside)},
	"fmax":        {"x y", pairwise(func(in *interp, x, y *graph.Value) *graph.Value { return in.ignoringNaN(graph.OpMaximum, x, y) })},
	"fmin":        {"x y", pairwise(func(in *interp, x, y *graph.Value) *graph.Value { return in.ignoringNaN(graph.OpMinimum, x, y) })},
	"float_power": {"x y", floatPower},
	"isclose":     {"x y rtol atol equal_nan", isClose},

	"erfc":    {"x", composed(func(in *interp, x *graph.Value) *graph.Value { return in.fromOne(in.add(graph.OpErf, nil, x)) })},
	"erfinv":  {"x", inDouble(erfInv)},
	"lgamma":  {"x", inDouble(lgamma)},
	"digamma": {"x", inDouble(digamma)},
	"logit":   {"x eps", logit},
	"sinc":    {"x", composed(sinc)},
	"signbit": {"x", composed(signBit)},
	"isposinf": {"x", composed(func(in *interp, x *graph.Value) *graph.Value {
		return in.add(graph.OpEq, nil, x, in.number(math.Inf(1), x))
	})},
	"isneginf": {"x", composed(func(in *interp, x *graph.Value) *graph.Value {
		return in.add(graph.OpEq, nil, x, in.number(math.Inf(-1), x))
	})},
	"round": {"x decimals", round},

	"fake_quantize_per_tensor_affine": {"x scale zero_point quant_min quant_max", fakeQuantize},

	"special_entr":  {"x", composed(entr)},
	"special_ndtr":  {"x", composed(ndtr)},
	"special_xlogy": {"x y", pairwise(xlogy)},
	"special_round": {"x decimals", round},
}

func init() {
	for _, name := range []string{
		"exp2", "expm1", "log1p", "erf", "erfc", "erfinv", "digamma", "logit", "sinc", "logsumexp",
	} {
		for _, group := range []map[string]builtin{mathBuiltins, unaryBuiltins, reduceBuiltins} {
			if b, ok := group[name]; ok {
				register(tensorBuiltins, map[string]builtin{"special_" + name: b})
			}
		}
	}
	register(tensorBuiltins, map[string]builtin{"special_gammaln": mathBuiltins["lgamma"], "special_psi": mathBuiltins["digamma"]})
}

func pairwise(f func(in *interp, x, y *graph.Value) *graph.Value) func(c *call) value {
	return func(c *call) value {
		return c.elementwise(0, 1, func(x, y *graph.Value) *graph.Value { return f(c.in, x, y) })
	}
}

// inDouble computes in f64 what loses digits on the way.
func inDouble(f func(in *interp, x *graph.Value) *graph.Value) func(c *call) value {
	return composed(func(in *interp, x *graph.Value) *graph.Value {
		dt := x.DType
		if !dt.IsFloat() {
			dt = graph.Float32
		}
		return in.cast(f(in, in.cast(x, graph.Float64)), dt)
	})
}

// with is x op k.
func (in *interp) with(op graph.Op, x *graph.Value, k float64) *graph.Value {
	return in.add(op, nil, x, in.number(k, x))
}

// fromOne is 1 - x.
func (in *interp) fromOne(x *graph.Value) *graph.Value {
	return in.add(graph.OpSub, nil, in.number(1.0, x), x)
}

func (in *interp) square(x *graph.Value) *graph.Value { return in.add(graph.OpMul, nil, x, x) }

// hypot is sqrt(x² + y²), scaled by the greater of the two.
func hypot(in *interp, x, y *graph.Value) *graph.Value {
	x, y = in.add(graph.OpAbs, nil, x), in.add(graph.OpAbs, nil, y)
	most := in.add(graph.OpMaximum, nil, x, y)
	none := in.with(graph.OpEq, most, 0)
	scale := in.add(graph.OpWhere, nil, none, in.number(1.0, most), most)
	sum := in.add(graph.OpAdd, nil, in.square(in.add(graph.OpDiv, nil, x, scale)), in.square(in.add(graph.OpDiv, nil, y, scale)))
	return in.add(graph.OpMul, nil, scale, in.add(graph.OpSqrt, nil, sum))
}

// logAddExp is m + log(1 + exp(-|x-y|)) with m the greater.
func logAddExp(in *interp, x, y *graph.Value) *graph.Value {
	most := in.add(graph.OpMaximum, nil, x, y)
	d := in.add(graph.OpNeg, nil, in.add(graph.OpAbs, nil, in.add(graph.OpSub, nil, x, y)))
	v := in.add(graph.OpAdd, nil, most, in.add(graph.OpLog1p, nil, in.add(graph.OpExp, nil, d)))
	same := in.add(graph.OpEq, nil, x, y) // infinities of one sign have no difference
	return in.add(graph.OpWhere, nil, same, in.with(graph.OpAdd, most, math.Ln2), v)
}

// xlogy is x·log(y), and 0 where x is 0 and y a number.
func xlogy(in *interp, x, y *graph.Value) *graph.Value {
	v := in.add(graph.OpMul, nil, x, in.add(graph.OpLog, nil, y))
	zero := in.add(graph.OpAnd, nil, in.with(graph.OpEq, x, 0), in.add(graph.OpEq, nil, y, y))
	return in.add(graph.OpWhere, nil, zero, in.number(0.0, v), v)
}

// signBit tells -0 by its reciprocal.
func signBit(in *interp, x *graph.Value) *graph.Value {
	under := in.add(graph.OpLt, nil, x, in.number(int64(0), x))
	if !x.DType.IsFloat() {
		return under
	}
	return in.add(graph.OpOr, nil, under, in.with(graph.OpLt, in.add(graph.OpReciprocal, nil, x), 0))
}

func copySign(in *interp, x, y *graph.Value) *graph.Value {
	v := in.add(graph.OpAbs, nil, x)
	return in.add(graph.OpWhere, nil, signBit(in, y), in.add(graph.OpNeg, nil, v), v)
}

func heaviside(in *interp, x, y *graph.Value) *graph.Value {
	over := in.cast(in.with(graph.OpGt, x, 0), x.DType)
	v := in.add(graph.OpWhere, nil, in.with(graph.OpEq, x, 0), y, over)
	return in.add(graph.OpWhere, nil, in.add(graph.OpNe, nil, x, x), in.number(0.0, v), v)
}

// ignoringNaN is the greater or lesser of two, of which NaN is neither.
func (in *interp) ignoringNaN(op graph.Op, x, y *graph.Value) *graph.Value {
	v := in.add(op, nil, x, y)
	v = in.add(graph.OpWhere, nil, in.add(graph.OpNe, nil, x, x), y, v)
	return in.add(graph.OpWhere, nil, in.add(graph.OpNe, nil, y, y), x, v)
}

func floatPower(c *call) value {
	return c.elementwise(0, 1, func(x, y *graph.Value) *graph.Value {
		return c.in.add(graph.OpPow, nil, c.in.cast(x, graph.Float64), c.in.cast(y, graph.Float64))
	})
}

// isClose is |x-y| <= atol + rtol·|y|, or equality.
func isClose(c *call) value {
	rtol, atol, nan := c.float(2, 1e-5), c.float(3, 1e-8), c.bool(4, false)
	return c.elementwise(0, 1, func(x, y *graph.Value) *graph.Value {
		in := c.in
		d := in.add(graph.OpAbs, nil, in.add(graph.OpSub, nil, x, y))
		near := in.add(graph.OpLe, nil, d, in.with(graph.OpAdd, in.with(graph.OpMul, in.add(graph.OpAbs, nil, y), rtol), atol))
		near = in.add(graph.OpAnd, nil, near, in.with(graph.OpLt, d, math.Inf(1)))
		near = in.add(graph.OpOr, nil, near, in.add(graph.OpEq, nil, x, y))
		if nan {
			both := in.add(graph.OpAnd, nil, in.add(graph.OpNe, nil, x, x), in.add(graph.OpNe, nil, y, y))
			near = in.add(graph.OpOr, nil, near, both)
		}
		return near
	})
}

// logit is log(x/(1-x)) of x kept within eps of both ends.
func logit(c *call) value {
	return c.mapped(func(x *graph.Value) *graph.Value {
		if eps := c.float(1, -1); eps >= 0 {
			x = c.in.add(graph.OpClamp, graph.Attrs{"min": eps, "max": 1 - eps}, x)
		}
		return c.in.add(graph.OpLog, nil, c.in.add(graph.OpDiv, nil, x, c.in.fromOne(x)))
	})
}

// sinc is sin(πx)/(πx), and 1 at 0.
func sinc(in *interp, x *graph.Value) *graph.Value {
	y := in.with(graph.OpMul, x, math.Pi)
	v := in.add(graph.OpDiv, nil, in.add(graph.OpSin, nil, y), y)
	return in.add(graph.OpWhere, nil, in.with(graph.OpEq, x, 0), in.number(1.0, v), v)
}

// round rounds half to even, to a number of decimals.
func round(c *call) value {
	d := c.int(1, 0)
	if d == 0 {
		return unary(graph.OpRound)(c)
	}
	k := math.Pow(10, math.Abs(float64(d)))
	return c.mapped(func(x *graph.Value) *graph.Value {
		in := c.in
		if d < 0 {
			return in.with(graph.OpMul, in.add(graph.OpRound, nil, in.with(graph.OpDiv, x, k)), k)
		}
		return in.with(graph.OpDiv, in.add(graph.OpRound, nil, in.with(graph.OpMul, x, k)), k)
	})
}

// fakeQuantize rounds to the steps that a quantised network has.
func fakeQuantize(c *call) value {
	scale, zero := c.float(1, 1), c.float(2, 0)
	lo, hi := c.float(3, -128), c.float(4, 127)
	return c.mapped(func(x *graph.Value) *graph.Value {
		in := c.in
		q := in.with(graph.OpAdd, in.add(graph.OpRound, nil, in.with(graph.OpMul, x, 1/scale)), zero)
		q = in.add(graph.OpClamp, graph.Attrs{"min": lo, "max": hi}, q)
		return in.with(graph.OpMul, in.with(graph.OpSub, q, zero), scale)
	})
}

// entr is -x·log(x), 0 at 0 and minus infinity below.
func entr(in *interp, x *graph.Value) *graph.Value {
	v := in.add(graph.OpNeg, nil, in.add(graph.OpMul, nil, x, in.add(graph.OpLog, nil, x)))
	v = in.add(graph.OpWhere, nil, in.with(graph.OpEq, x, 0), in.number(0.0, v), v)
	return in.add(graph.OpWhere, nil, in.with(graph.OpLt, x, 0), in.number(math.Inf(-1), v), v)
}

// ndtr is the distribution function of the normal distribution.
func ndtr(in *interp, x *graph.Value) *graph.Value {
	return in.with(graph.OpMul, in.with(graph.OpAdd, in.add(graph.OpErf, nil, in.with(graph.OpMul, x, math.Sqrt2/2)), 1), 0.5)
}

// erfInv begins with Winitzki's approximation (2008) and refines it by three
// of Newton's steps on erf(y) = x.
func erfInv(in *interp, x *graph.Value) *graph.Value {
	const a = 0.147
	l := in.add(graph.OpLog1p, nil, in.add(graph.OpNeg, nil, in.square(x)))
	b := in.with(graph.OpAdd, in.with(graph.OpMul, l, 0.5), 2/(math.Pi*a))
	root := in.add(graph.OpSqrt, nil, in.add(graph.OpSub, nil, in.square(b), in.with(graph.OpMul, l, 1/a)))
	y := in.add(graph.OpMul, nil, in.add(graph.OpSign, nil, x), in.add(graph.OpSqrt, nil, in.add(graph.OpSub, nil, root, b)))
	for range 3 {
		d := in.add(graph.OpSub, nil, in.add(graph.OpErf, nil, y), x)
		slope := in.with(graph.OpMul, in.add(graph.OpExp, nil, in.add(graph.OpNeg, nil, in.square(y))), 2/math.Sqrt(math.Pi))
		y = in.add(graph.OpSub, nil, y, in.add(graph.OpDiv, nil, d, slope))
	}
	ends := in.with(graph.OpGe, in.add(graph.OpAbs, nil, x), 1)
	far := in.add(graph.OpDiv, nil, in.add(graph.OpSign, nil, x), in.with(graph.OpSub, in.number(1.0, x), 1))
	y = in.add(graph.OpWhere, nil, ends, far, y)
	beyond := in.with(graph.OpGt, in.add(graph.OpAbs, nil, x), 1)
	return in.add(graph.OpWhere, nil, beyond, in.number(math.NaN(), y), y)
}

// gammaShift is the argument from which the series of Stirling is exact to
// double precision.
const gammaShift = 9

// lgamma is Stirling's series (NIST DLMF 5.11.1) beyond gammaShift, brought
// there by the recurrence, and the reflection (5.5.3) below 1/2.
func lgamma(in *interp, x *graph.Value) *graph.Value {
	small := in.with(graph.OpLt, x, 0.5)
	z := in.add(graph.OpWhere, nil, small, in.fromOne(x), x)
	p := z
	for k := 1; k < gammaShift; k++ {
		p = in.add(graph.OpMul, nil, p, in.with(graph.OpAdd, z, float64(k)))
	}
	w := in.with(graph.OpAdd, z, gammaShift)
	inv := in.add(graph.OpReciprocal, nil, w)
	sq := in.square(inv)
	series := in.with(graph.OpMul, sq, -1.0/1680)
	for _, k := range []float64{1.0 / 1260, -1.0 / 360, 1.0 / 12} {
		series = in.with(graph.OpAdd, series, k)
		if k != 1.0/12 {
			series = in.add(graph.OpMul, nil, series, sq)
		}
	}
	series = in.add(graph.OpMul, nil, series, inv)
	v := in.add(graph.OpMul, nil, in.with(graph.OpSub, w, 0.5), in.add(graph.OpLog, nil, w))
	v = in.with(graph.OpAdd, in.add(graph.OpSub, nil, v, w), math.Log(2*math.Pi)/2)
	v = in.add(graph.OpSub, nil, in.add(graph.OpAdd, nil, v, series), in.add(graph.OpLog, nil, p))
	sin := in.add(graph.OpAbs, nil, in.add(graph.OpSin, nil, in.with(graph.OpMul, x, math.Pi)))
	mirrored := in.add(graph.OpSub, nil, in.with(graph.OpSub, in.add(graph.OpNeg, nil, in.add(graph.OpLog, nil, sin)), -math.Log(math.Pi)), v)
	whole := in.add(graph.OpAnd, nil, in.with(graph.OpLe, x, 0), in.add(graph.OpEq, nil, x, in.add(graph.OpFloor, nil, x)))
	v = in.add(graph.OpWhere, nil, small, mirrored, v)
	return in.add(graph.OpWhere, nil, whole, in.number(math.Inf(1), v), v)
}

// digamma is the asymptotic series (NIST DLMF 5.11.2), brought there by the
// recurrence, and the reflection (5.5.4) below 1/2.
func digamma(in *interp, x *graph.Value) *graph.Value {
	small := in.with(graph.OpLt, x, 0.5)
	z := in.add(graph.OpWhere, nil, small, in.fromOne(x), x)
	sum := in.add(graph.OpReciprocal, nil, z)
	for k := 1; k < gammaShift; k++ {
		sum = in.add(graph.OpAdd, nil, sum, in.add(graph.OpReciprocal, nil, in.with(graph.OpAdd, z, float64(k))))
	}
	w := in.with(graph.OpAdd, z, gammaShift)
	inv := in.add(graph.OpReciprocal, nil, w)
	sq := in.square(inv)
	series := in.with(graph.OpMul, sq, -1.0/240)
	for _, k := range []float64{1.0 / 252, -1.0 / 120, 1.0 / 12} {
		series = in.add(graph.OpMul, nil, in.with(graph.OpAdd, series, k), sq)
	}
	v := in.add(graph.OpSub, nil, in.add(graph.OpLog, nil, w), in.with(graph.OpMul, inv, 0.5))
	v = in.add(graph.OpSub, nil, in.add(graph.OpSub, nil, v, series), sum)
	turn := in.with(graph.OpMul, x, math.Pi)
	cot := in.add(graph.OpDiv, nil, in.add(graph.OpCos, nil, turn), in.add(graph.OpSin, nil, turn))
	mirrored := in.add(graph.OpSub, nil, v, in.with(graph.OpMul, cot, math.Pi))
	return in.add(graph.OpWhere, nil, small, mirrored, v)
}
