package graph

import "math"

// Functions of one operand that are defined for every number.
var unarySpecs = map[Op]spec{
	OpExp:        function(math.Exp),
	OpExpm1:      function(math.Expm1),
	OpLog:        function(math.Log),
	OpLog1p:      function(math.Log1p),
	OpSqrt:       function(math.Sqrt),
	OpRsqrt:      function(func(x float64) float64 { return 1 / math.Sqrt(x) }),
	OpReciprocal: function(func(x float64) float64 { return 1 / x }),
	OpSin:        function(math.Sin),
	OpCos:        function(math.Cos),
	OpTan:        function(math.Tan),
	OpAsin:       function(math.Asin),
	OpAcos:       function(math.Acos),
	OpAtan:       function(math.Atan),
	OpSinh:       function(math.Sinh),
	OpCosh:       function(math.Cosh),
	OpAsinh:      function(math.Asinh),
	OpAcosh:      function(math.Acosh),
	OpAtanh:      function(math.Atanh),
	OpErf:        function(math.Erf),

	OpAbs:   number(math.Abs, func(x int64) int64 { return max(x, -x) }),
	OpNeg:   number(func(x float64) float64 { return -x }, func(x int64) int64 { return -x }),
	OpSign:  number(sign, func(x int64) int64 { return truth(x > 0) - truth(x < 0) }),
	OpFloor: number(math.Floor, func(x int64) int64 { return x }),
	OpCeil:  number(math.Ceil, func(x int64) int64 { return x }),
	OpRound: number(math.RoundToEven, func(x int64) int64 { return x }),
	OpTrunc: number(math.Trunc, func(x int64) int64 { return x }),

	OpClamp: {min: 1, max: 1, infer: inferClamp, eval: evalClamp, attrs: []attr{
		{name: "min", kind: kindFloat, optional: true},
		{name: "max", kind: kindFloat, optional: true},
	}},
	OpCast: {min: 1, max: 1, infer: inferCast, eval: evalCast, attrs: []attr{
		{name: "dtype", kind: kindDType},
	}},
}

// function is an operator whose result is floating point: f32 for integers.
func function(f func(x float64) float64) spec {
	return spec{
		min: 1, max: 1,
		infer: func(n *Node) ([]typ, error) { return one(floated(n.In[0].DType), n.In[0].Shape) },
		eval:  func(c *evalCall) { evalUnary(c, f) },
	}
}

// number is an operator that keeps the type and takes no booleans.
func number(f func(x float64) float64, i func(x int64) int64) spec {
	return spec{min: 1, max: 1, infer: inferNumber, eval: func(c *evalCall) {
		if c.in[0].DType.IsFloat() {
			evalUnary(c, f)
			return
		}
		for k, x := range c.in[0].I64 {
			c.out[0].setInt(k, i(x))
		}
	}}
}

func inferNumber(n *Node) ([]typ, error) {
	if n.In[0].DType == Bool {
		return nil, n.fail(ErrDType, "not defined for booleans")
	}
	return one(n.In[0].DType, n.In[0].Shape)
}

func evalUnary(c *evalCall, f func(x float64) float64) {
	x, out := c.in[0], c.out[0]
	for i := range out.Len() {
		out.set(i, f(x.At(i)))
	}
}

// sign is -1, 0 or 1, and 0 for NaN as in torch.
func sign(x float64) float64 { return float64(truth(x > 0) - truth(x < 0)) }

// inferClamp keeps the type. The bounds of an integer must be integers; none
// may be NaN. Where min is above max the result is max, as in torch.
func inferClamp(n *Node) ([]typ, error) {
	for _, name := range []string{"min", "max"} {
		if !n.Attrs.Has(name) {
			continue
		}
		b := n.Attrs.Float(name)
		if math.IsNaN(b) {
			return nil, n.fail(ErrAttribute, "%s is NaN", name)
		}
		if !n.In[0].DType.IsFloat() && b != math.Trunc(b) {
			return nil, n.fail(ErrAttribute, "%s is %v, but the operand has integers; cast it first", name, b)
		}
	}
	return inferNumber(n)
}

func evalClamp(c *evalCall) {
	lo, hi := c.n.Attrs.ClampBounds()
	if !c.in[0].DType.IsFloat() {
		for i, x := range c.in[0].I64 {
			if math.IsInf(lo, 1) || float64(x) < lo {
				x = truncate(lo)
			}
			if math.IsInf(hi, -1) || float64(x) > hi {
				x = truncate(hi)
			}
			c.out[0].setInt(i, x)
		}
		return
	}
	meet := computeType(c.in[0].DType)
	lo, hi = roundTo(meet, lo), roundTo(meet, hi)
	evalUnary(c, func(x float64) float64 { return min(max(x, lo), hi) })
}

// inferCast: any type to any type that exists.
func inferCast(n *Node) ([]typ, error) {
	dt := n.Attrs.DType("dtype")
	if dt.Bytes() == 0 {
		return nil, n.fail(ErrAttribute, "dtype %v does not exist", dt)
	}
	return one(dt, n.In[0].Shape)
}

func evalCast(c *evalCall) {
	for i := range c.out[0].Len() {
		c.out[0].copyFrom(i, c.in[0], i)
	}
}
