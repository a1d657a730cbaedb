package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// reduceBuiltins reduce dimensions.
var reduceBuiltins = map[string]builtin{
	"sum":       {"x dim keepdim dtype", func(c *call) value { return c.reduced(graph.OpSum) }},
	"mean":      {"x dim keepdim dtype", func(c *call) value { return c.reduced(graph.OpMean) }},
	"amax":      {"x dim keepdim", func(c *call) value { return c.reduced(graph.OpAmax) }},
	"amin":      {"x dim keepdim", func(c *call) value { return c.reduced(graph.OpAmin) }},
	"max":       {"x dim keepdim", func(c *call) value { return extreme(c, graph.OpAmax, graph.OpMaximum) }},
	"min":       {"x dim keepdim", func(c *call) value { return extreme(c, graph.OpAmin, graph.OpMinimum) }},
	"argmax":    {"x dim keepdim", func(c *call) value { return argExtreme(c, false) }},
	"argmin":    {"x dim keepdim", func(c *call) value { return argExtreme(c, true) }},
	"all":       {"x dim keepdim", func(c *call) value { return c.logical(graph.OpAmin) }},
	"any":       {"x dim keepdim", func(c *call) value { return c.logical(graph.OpAmax) }},
	"logsumexp": {"x dim keepdim", logSumExp},
	"prod":      {"x dim keepdim dtype", func(c *call) value { return c.reduced(graph.OpProd) }},
	"cumsum":    {"x dim dtype", func(c *call) value { return c.running(graph.OpCumsum) }},
	"cumprod":   {"x dim dtype", func(c *call) value { return c.running(graph.OpCumprod) }},
	"aminmax":   {"x dim keepdim", aminmax},
	"var":       {"x dim correction keepdim unbiased", variance},
	"std":       {"x dim correction keepdim unbiased", func(c *call) value { return rootOf(c, variance(c)) }},
	"norm":      {"x p dim keepdim dtype", norm},

	"linalg_vector_norm": {"x ord dim keepdim dtype", norm},
	"linalg_norm":        {"x ord dim keepdim dtype", norm},
	"frobenius_norm": {"x dim keepdim", func(c *call) value {
		c.args = []value{c.args[0], absent{}, c.args[1], c.args[2], absent{}}
		return norm(c)
	}},
}

// axes returns the dimensions that argument i names; all where it is left out
// or empty.
func (c *call) axes(i int, x *graph.Value) []int {
	axes := append([]int(nil), c.ints(i)...)
	if len(axes) == 0 || len(x.Shape) == 0 {
		for _, a := range axes {
			c.in.axis(a, 0)
		}
		return identityPerm(len(x.Shape))
	}
	for k := range axes {
		axes[k] = c.in.axis(axes[k], len(x.Shape))
	}
	return axes
}

func (in *interp) reduce(op graph.Op, x *graph.Value, axes []int, keep bool) *graph.Value {
	if len(x.Shape) == 0 {
		axes = nil
	}
	return in.add(op, graph.Attrs{"axes": append([]int{}, axes...), "keepdim": keep}, x)
}

// reduced reduces the dimensions of argument 1, after the conversion that
// argument 3 asks for.
func (c *call) reduced(op graph.Op) value {
	x := c.value(0)
	if len(c.args) > 3 {
		x = c.in.cast(x, c.dtype(3, x.DType))
	}
	return newTensor(c.in.reduce(op, x, c.axes(1, x), c.bool(2, false)))
}

// extreme is torch.max in its forms: of all elements, of two tensors, and
// along a dimension with the positions.
func extreme(c *call, all, two graph.Op) value {
	if t, ok := c.args[1].(*tensor); ok && t.num == nil {
		return binary(two)(c)
	}
	x := c.value(0)
	if !c.has(1) {
		return newTensor(c.in.reduce(all, x, identityPerm(len(x.Shape)), false))
	}
	axis, keep := c.in.axisOf(x, c.int(1, 0)), c.bool(2, false)
	vals := newTensor(c.in.reduce(all, x, []int{axis}, keep))
	if c.name == "min" {
		x = c.in.add(graph.OpNeg, nil, x)
	}
	at := newTensor(c.in.add(graph.OpArgmax, graph.Attrs{"axis": axis, "keepdim": keep}, x))
	return &tuple{elems: []value{vals, at}, names: nil}
}

func argExtreme(c *call, least bool) value {
	x := c.value(0)
	if least {
		x = c.in.add(graph.OpNeg, nil, x)
	}
	if !c.has(1) {
		if !x.Shape.Fixed() {
			c.in.mixes("torch.%s over the rows of a batch", c.name)
		}
		x = c.in.reshape(x, graph.Shape{x.Shape.RowElements()})
		return newTensor(c.in.add(graph.OpArgmax, graph.Attrs{"axis": 0, "keepdim": false}, x))
	}
	return newTensor(c.in.add(graph.OpArgmax, graph.Attrs{"axis": c.in.axisOf(x, c.int(1, 0)), "keepdim": c.bool(2, false)}, x))
}

// running is a sum or product of the elements up to each one.
func (c *call) running(op graph.Op) value {
	x := c.value(0)
	return newTensor(c.in.add(op, graph.Attrs{"axis": c.in.axisOf(x, c.int(1, 0))}, c.in.cast(x, c.dtype(2, x.DType))))
}

func aminmax(c *call) value {
	x := c.value(0)
	axes, keep := c.axes(1, x), c.bool(2, false)
	return &tuple{elems: []value{newTensor(c.in.reduce(graph.OpAmin, x, axes, keep)), newTensor(c.in.reduce(graph.OpAmax, x, axes, keep))}}
}

// logical is all or any: the least or greatest of truth values.
func (c *call) logical(op graph.Op) value {
	x := c.in.cast(c.value(0), graph.Bool)
	v := c.in.reduce(op, c.in.cast(x, graph.Int64), c.axes(1, x), c.bool(2, false))
	return newTensor(c.in.cast(v, graph.Bool))
}

// logSumExp is m + log(sum(exp(x - m))) with m the greatest element.
func logSumExp(c *call) value {
	x := c.value(0)
	axes := c.axes(1, x)
	m := c.in.reduce(graph.OpAmax, x, axes, true)
	e := c.in.add(graph.OpExp, nil, c.in.add(graph.OpSub, nil, x, m))
	s := c.in.reduce(graph.OpSum, e, axes, true)
	v := c.in.add(graph.OpAdd, nil, c.in.add(graph.OpLog, nil, s), m)
	if !c.bool(2, false) {
		v = c.in.reshape(v, without(v.Shape, axes))
	}
	return newTensor(v)
}

// without drops dimensions of a shape.
func without(s graph.Shape, axes []int) graph.Shape {
	drop := map[int]bool{}
	for _, a := range axes {
		drop[a] = true
	}
	out := graph.Shape{}
	for i, d := range s {
		if !drop[i] {
			out = append(out, d)
		}
	}
	return out
}

// elementsOf returns the number of elements along dimensions.
func (c *call) elementsOf(x *graph.Value, axes []int) int {
	n := 1
	for _, a := range axes {
		if x.Shape[a] < 0 {
			c.in.mixes("torch.%s over the rows of a batch", c.name)
		}
		n *= x.Shape[a]
	}
	return n
}

// variance takes its older form (dim, unbiased, keepdim), its newer one
// (dim, correction=, keepdim=) and the one of all elements (unbiased).
func variance(c *call) value {
	x := c.value(0)
	correction, dims := 1.0, c.args[1]
	if unbiased, ok := dims.(bool); ok {
		c.args[1] = absent{}
		correction = map[bool]float64{true: 1, false: 0}[unbiased]
	}
	switch v := c.args[2].(type) {
	case bool:
		correction = map[bool]float64{true: 1, false: 0}[v]
	case int64, float64:
		correction, _ = toFloat(v)
	}
	if u, ok := c.args[4].(bool); ok && !u {
		correction = 0
	}
	axes := c.axes(1, x)
	n := float64(c.elementsOf(x, axes))
	d := c.in.add(graph.OpSub, nil, x, c.in.reduce(graph.OpMean, x, axes, true))
	sum := c.in.reduce(graph.OpSum, c.in.add(graph.OpMul, nil, d, d), axes, c.bool(3, false))
	return newTensor(c.in.add(graph.OpDiv, nil, sum, c.in.number(math.Max(n-correction, 0), sum)))
}

func rootOf(c *call, v value) value {
	return newTensor(c.in.add(graph.OpSqrt, nil, v.(*tensor).v))
}

// norm is the vector norm of order p.
func norm(c *call) value {
	x := c.value(0)
	x = c.in.cast(x, c.dtype(4, x.DType))
	p := 2.0
	if c.has(1) {
		if s, ok := c.args[1].(string); ok {
			if s != "fro" {
				c.in.unsupported("torch.norm of order %q", s)
			}
		} else {
			p = c.float(1, 2)
		}
	}
	if c.name == "linalg_norm" && c.has(1) && len(c.ints(2)) != 1 && len(x.Shape) != 1 {
		c.in.unsupported("the norm of a matrix")
	}
	axes, keep := c.axes(2, x), c.bool(3, false)
	return newTensor(c.in.length(x, axes, p, keep))
}
