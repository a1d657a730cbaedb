package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// randomBuiltins draw from the normal distribution. Other distributions have
// no operator.
var randomBuiltins = map[string]builtin{
	"randn_like": {"x dtype", func(c *call) value { x := c.value(0); return newTensor(c.in.normal(x.Shape, c.dtype(1, x.DType))) }},
	"randn":      {"size dtype", func(c *call) value { return newTensor(c.in.normal(c.dims(0), c.dtype(1, graph.Float32))) }},
	"normal":     {"mean std size dtype", normal},
	"normal_":    {"x mean std", normalInPlace},
}

// normal draws a tensor of a shape: each row of the batch has its own draws.
func (in *interp) normal(shape graph.Shape, dt graph.DType) *graph.Value {
	for _, d := range shape {
		if d == inferDim {
			in.errorf("a draw with a dimension of -1")
		}
	}
	if !dt.IsFloat() {
		in.errorf("a draw of %v", dt)
	}
	like := in.expandTo(in.scalarTensor(int64(0), dt), append(graph.Shape{}, shape...))
	in.streams++
	return in.add(graph.OpNormal, graph.Attrs{"stream": in.streams - 1}, like)
}

// normal is torch.normal(mean, std), either of which may be a tensor, or with
// a size.
func normal(c *call) value {
	if c.has(2) {
		n := c.in.normal(c.dims(2), c.dtype(3, graph.Float32))
		n = c.in.add(graph.OpMul, nil, n, c.in.number(c.float(1, 1), n))
		return newTensor(c.in.add(graph.OpAdd, nil, n, c.in.number(c.float(0, 0), n)))
	}
	if _, ok := c.args[1].(absent); ok {
		c.args[1] = 1.0
	}
	mean, std := c.pair(0, 1)
	shape, ok := graph.Broadcast(mean.Shape, std.Shape)
	if !ok {
		c.in.errorf("normal with a mean of %v and a deviation of %v", mean.Shape, std.Shape)
	}
	n := c.in.normal(shape, graph.Promote(mean.DType, std.DType))
	return newTensor(c.in.add(graph.OpAdd, nil, mean, c.in.add(graph.OpMul, nil, std, n)))
}

// normalInPlace fills a tensor with draws.
func normalInPlace(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	n := c.in.normal(x.Shape, x.DType)
	if s := c.float(2, 1); s != 1 {
		n = c.in.add(graph.OpMul, nil, n, c.in.number(s, n))
	}
	if m := c.float(1, 0); m != 0 {
		n = c.in.add(graph.OpAdd, nil, n, c.in.number(m, n))
	}
	c.in.assignTo(t, n)
	return t
}
