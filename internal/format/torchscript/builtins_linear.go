package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// linearBuiltins are products of matrices.
var linearBuiltins = map[string]builtin{
	"linear":       {"x weight bias", linear},
	"addmm":        {"bias x y beta alpha", addmm},
	"addmv":        {"bias x y beta alpha", addmm},
	"baddbmm":      {"bias x y beta alpha", addmm},
	"matmul":       {"x y", func(c *call) value { return c.product(0, 1) }},
	"mm":           {"x y", func(c *call) value { return c.product(0, 1) }},
	"bmm":          {"x y", func(c *call) value { return c.product(0, 1) }},
	"mv":           {"x y", func(c *call) value { return c.product(0, 1) }},
	"dot":          {"x y", func(c *call) value { return c.product(0, 1) }},
	"vdot":         {"x y", func(c *call) value { return c.product(0, 1) }},
	"inner":        {"x y", inner},
	"outer":        {"x y", outer},
	"einsum":       {"equation operands path", einsum},
	"bilinear":     {"x y weight bias", bilinear},
	"_weight_norm": {"v g dim", weightNorm},
}

// sameType makes an operand that is an input of unknown type have the type of
// the weights: torch takes no other.
func (c *call) sameType(i int, w *graph.Value) *graph.Value {
	t := c.handle(i)
	x := c.in.read(t)
	if x.DType != w.DType && t.slot != nil && t.slot.dtype == graph.Invalid {
		c.in.learn(t, t.slot.shape, w)
	}
	return x
}

// linear tells the width of a pending input.
func linear(c *call) value {
	w := c.value(1)
	if t := c.handle(0); t.pending {
		if len(w.Shape) != 2 || w.Shape[1] < 0 {
			c.in.needShape(t)
		}
		c.in.learn(t, graph.Shape{graph.Batch, w.Shape[1]}, w)
	}
	x := c.sameType(0, w)
	if b := c.optional(2); b != nil && len(w.Shape) == 2 && w.Shape.Fixed() {
		return newTensor(c.in.add(graph.OpLinear, nil, x, w, b))
	}
	var y *graph.Value
	if len(w.Shape) == 2 && w.Shape.Fixed() {
		y = c.in.add(graph.OpLinear, nil, x, w)
	} else {
		y = c.in.matmul(x, c.in.swap(w, -2, -1))
	}
	if b := c.optional(2); b != nil {
		y = c.in.add(graph.OpAdd, nil, y, b)
	}
	return newTensor(y)
}

// product is torch.matmul, which tells the width of a pending input.
func (c *call) product(i, j int) value {
	y := c.value(j)
	if t := c.handle(i); t.pending {
		if len(y.Shape) != 2 || y.Shape[0] < 0 {
			c.in.needShape(t)
		}
		c.in.learn(t, graph.Shape{graph.Batch, y.Shape[0]}, y)
	}
	return newTensor(c.in.matmul(c.sameType(i, y), y))
}

// matmul is the product by torch's rules: vectors get a dimension that is
// taken away again.
func (in *interp) matmul(x, y *graph.Value) *graph.Value {
	if len(x.Shape) == 0 || len(y.Shape) == 0 {
		in.errorf("matmul of a tensor without dimensions")
	}
	dropRow, dropCol := false, false
	if len(x.Shape) == 1 {
		x = in.reshape(x, graph.Shape{1, x.Shape[0]})
		dropRow = true
	}
	if len(y.Shape) == 1 {
		y = in.reshape(y, graph.Shape{y.Shape[0], 1})
		dropCol = true
	}
	v := in.add(graph.OpMatMul, nil, x, y)
	n := len(v.Shape)
	shape := append(graph.Shape{}, v.Shape[:n-2]...)
	if !dropRow {
		shape = append(shape, v.Shape[n-2])
	}
	if !dropCol {
		shape = append(shape, v.Shape[n-1])
	}
	return in.reshape(v, shape)
}

// addmm is beta·bias + alpha·(x·y).
func addmm(c *call) value {
	p := c.product(1, 2).(*tensor).v
	if a := c.float(4, 1); a != 1 {
		p = c.in.add(graph.OpMul, nil, p, c.in.number(a, p))
	}
	beta := c.float(3, 1)
	if beta == 0 {
		return newTensor(p)
	}
	b := c.value(0)
	if beta != 1 {
		b = c.in.add(graph.OpMul, nil, b, c.in.number(beta, b))
	}
	return newTensor(c.in.add(graph.OpAdd, nil, b, p))
}

func inner(c *call) value {
	x, y := c.value(0), c.value(1)
	if len(y.Shape) > 2 {
		c.in.unsupported("torch.inner of %d dimensions", len(y.Shape))
	}
	if len(y.Shape) == 2 {
		y = c.in.swap(y, 0, 1)
	}
	return newTensor(c.in.matmul(x, y))
}

func outer(c *call) value {
	x, y := c.value(0), c.value(1)
	if len(x.Shape) != 1 || len(y.Shape) != 1 {
		c.in.errorf("outer of %v and %v", x.Shape, y.Shape)
	}
	return newTensor(c.in.add(graph.OpMul, nil, c.in.reshape(x, graph.Shape{x.Shape[0], 1}), y))
}

// bilinear is x·W·y + b for each output.
func bilinear(c *call) value {
	x, y, w := c.value(0), c.value(1), c.value(2)
	if len(w.Shape) != 3 || len(x.Shape) == 0 || len(y.Shape) == 0 {
		c.in.errorf("bilinear of %v, %v and a weight of %v", x.Shape, y.Shape, w.Shape)
	}
	// [...,1,I] · [O,I,J] -> [...,O,1,J], times y, summed over J.
	lead := append(graph.Shape{}, x.Shape[:len(x.Shape)-1]...)
	xr := c.in.reshape(x, append(append(graph.Shape{}, lead...), 1, 1, x.Shape[len(x.Shape)-1]))
	p := c.in.add(graph.OpMatMul, nil, xr, w)
	p = c.in.reshape(p, append(append(graph.Shape{}, lead...), w.Shape[0], w.Shape[2]))
	yr := c.in.reshape(y, append(append(graph.Shape{}, lead...), 1, y.Shape[len(y.Shape)-1]))
	p = c.in.add(graph.OpMul, nil, p, yr)
	v := c.in.add(graph.OpSum, graph.Attrs{"axes": []int{-1}, "keepdim": false}, p)
	if b := c.optional(3); b != nil {
		v = c.in.add(graph.OpAdd, nil, v, b)
	}
	return newTensor(v)
}

// weightNorm is v·(g/|v|), the norm over all dimensions but dim.
func weightNorm(c *call) value {
	v, g := c.value(0), c.value(1)
	dim := c.int(2, 0)
	var axes []int
	for i := range v.Shape {
		if dim == -1 || i != c.in.axisOf(v, dim) {
			axes = append(axes, i)
		}
	}
	sum := c.in.add(graph.OpSum, graph.Attrs{"axes": axes, "keepdim": true}, c.in.add(graph.OpMul, nil, v, v))
	norm := c.in.add(graph.OpSqrt, nil, sum)
	return newTensor(c.in.add(graph.OpMul, nil, v, c.in.add(graph.OpDiv, nil, g, norm)))
}
