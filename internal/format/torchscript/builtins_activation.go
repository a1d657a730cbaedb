package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// activationBuiltins are the activations, and what is the identity unless the
// module is in training.
var activationBuiltins = map[string]builtin{
	"relu":          {"x", unary(graph.OpRelu)},
	"tanh":          {"x", unary(graph.OpTanh)},
	"sigmoid":       {"x", unary(graph.OpSigmoid)},
	"special_expit": {"x", unary(graph.OpSigmoid)},
	"silu":          {"x", unary(graph.OpSilu)},
	"mish":          {"x", unary(graph.OpMish)},
	"selu":          {"x", unary(graph.OpSelu)},
	"softsign":      {"x", unary(graph.OpSoftsign)},
	"hardswish":     {"x", unary(graph.OpHardswish)},
	"hardsigmoid":   {"x", unary(graph.OpHardsigmoid)},
	"log_sigmoid":   {"x", unary(graph.OpLogSigmoid)},
	"elu":           {"x alpha scale input_scale", elu},
	"celu":          {"x alpha", func(c *call) value { return c.withAlpha(graph.OpCelu, 1) }},
	"leaky_relu":    {"x negative_slope", func(c *call) value { return c.withAlpha(graph.OpLeakyRelu, 0.01) }},
	"prelu":         {"x weight", prelu},
	"_prelu_kernel": {"x weight", prelu},
	"rrelu":         {"x lower upper training", rrelu},
	"gelu":          {"x approximate", gelu},
	"softplus":      {"x beta threshold", softplus},
	"threshold":     {"x threshold v", threshold},
	"hardshrink":    {"x lambd", hardshrink},
	"softshrink":    {"x lambd", softshrink},
	"glu":           {"x dim", glu},
	"softmax":       {"x dim dtype half_to_float", func(c *call) value { return softmax(c, graph.OpSoftmax) }},
	"_softmax": {"x dim half_to_float", func(c *call) value {
		c.args = append(c.args[:2:2], absent{}, absent{})
		return softmax(c, graph.OpSoftmax)
	}},
	"log_softmax":         {"x dim dtype half_to_float", func(c *call) value { return softmax(c, graph.OpLogSoftmax) }},
	"special_softmax":     {"x dim dtype", func(c *call) value { return softmax(c, graph.OpSoftmax) }},
	"special_log_softmax": {"x dim dtype", func(c *call) value { return softmax(c, graph.OpLogSoftmax) }},

	"dropout":               {"x p train", dropout},
	"native_dropout":        {"x p train", func(c *call) value { return &tuple{elems: []value{dropout(c), nil}} }},
	"feature_dropout":       {"x p train", dropout},
	"alpha_dropout":         {"x p train", dropout},
	"feature_alpha_dropout": {"x p train", dropout},
}

func (c *call) withAlpha(op graph.Op, def float64) value {
	alpha := c.float(1, def)
	return c.mapped(func(x *graph.Value) *graph.Value { return c.in.add(op, graph.Attrs{"alpha": alpha}, x) })
}

// elu has three numbers: scale·(max(0,x) + min(0, alpha·(exp(input_scale·x)-1))).
func elu(c *call) value {
	if c.float(2, 1) != 1 || c.float(3, 1) != 1 {
		c.in.unsupported("torch.elu with a scale")
	}
	return c.withAlpha(graph.OpElu, 1)
}

func gelu(c *call) value {
	kind := c.str(1, "none")
	return c.mapped(func(x *graph.Value) *graph.Value {
		return c.in.add(graph.OpGelu, graph.Attrs{"approximate": kind}, x)
	})
}

func softplus(c *call) value {
	attrs := graph.Attrs{"beta": c.float(1, 1), "threshold": c.float(2, 20)}
	return c.mapped(func(x *graph.Value) *graph.Value { return c.in.add(graph.OpSoftplus, attrs, x) })
}

// prelu is leaky_relu with a slope for each channel, which is dimension 1.
func prelu(c *call) value {
	x, w := c.value(0), c.value(1)
	if len(w.Shape) == 1 && w.Shape[0] != 1 && len(x.Shape) > 2 {
		shape := graph.Shape{w.Shape[0]}
		for range len(x.Shape) - 2 {
			shape = append(shape, 1)
		}
		w = c.in.reshape(w, shape)
	}
	zero := c.in.number(float64(0), x)
	over := c.in.add(graph.OpGt, nil, x, zero)
	return newTensor(c.in.add(graph.OpWhere, nil, over, x, c.in.add(graph.OpMul, nil, w, x)))
}

// rrelu has the middle of its slopes when it is not in training.
func rrelu(c *call) value {
	if c.bool(3, false) {
		c.in.unsupported("torch.rrelu in training: save the module after eval()")
	}
	alpha := (c.float(1, 1.0/8) + c.float(2, 1.0/3)) / 2
	return c.mapped(func(x *graph.Value) *graph.Value {
		return c.in.add(graph.OpLeakyRelu, graph.Attrs{"alpha": alpha}, x)
	})
}

func threshold(c *call) value {
	return c.mapped(func(x *graph.Value) *graph.Value {
		// torch tests x <= threshold, so that NaN stays.
		under := c.in.add(graph.OpLe, nil, x, c.operand(1, x))
		return c.in.cast(c.in.add(graph.OpWhere, nil, under, c.operand(2, x), x), x.DType)
	})
}

func hardshrink(c *call) value {
	lambda := c.float(1, 0.5)
	return c.mapped(func(x *graph.Value) *graph.Value {
		ge := c.in.add(graph.OpGe, nil, x, c.in.number(-lambda, x))
		le := c.in.add(graph.OpLe, nil, x, c.in.number(lambda, x))
		within := c.in.add(graph.OpAnd, nil, ge, le)
		return c.in.cast(c.in.add(graph.OpWhere, nil, within, c.in.number(float64(0), x), x), x.DType)
	})
}

// softshrink is x - clamp(x, -lambda, lambda).
func softshrink(c *call) value {
	lambda := c.float(1, 0.5)
	return c.mapped(func(x *graph.Value) *graph.Value {
		return c.in.add(graph.OpSub, nil, x, c.in.add(graph.OpClamp, graph.Attrs{"min": -lambda, "max": lambda}, x))
	})
}

// glu is the first half of a dimension times the sigmoid of the second.
func glu(c *call) value {
	x := c.value(0)
	axis := c.in.axisOf(x, c.int(1, -1))
	n := x.Shape[axis]
	if n < 0 || n%2 != 0 {
		c.in.errorf("glu: dimension %d of %v cannot be halved", axis, x.Shape)
	}
	a, b := c.in.slice(x, axis, 0, n/2, 1), c.in.slice(x, axis, n/2, n, 1)
	return newTensor(c.in.add(graph.OpMul, nil, a, c.in.add(graph.OpSigmoid, nil, b)))
}

func softmax(c *call, op graph.Op) value {
	x := c.value(0)
	x = c.in.cast(x, c.dtype(2, x.DType))
	if len(x.Shape) == 0 {
		x = c.in.reshape(x, graph.Shape{1})
		return newTensor(c.in.reshape(c.in.add(op, graph.Attrs{"axis": 0}, x), graph.Shape{}))
	}
	return newTensor(c.in.add(op, graph.Attrs{"axis": c.in.axisOf(x, c.int(1, -1))}, x))
}

// dropout is the identity outside training.
func dropout(c *call) value {
	if c.bool(2, true) && c.float(1, 0.5) != 0 {
		c.in.unsupported("torch.%s in training: save the module after eval()", c.name)
	}
	return c.handle(0)
}
