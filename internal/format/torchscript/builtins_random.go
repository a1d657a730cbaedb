package torchscript

import (
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// randomBuiltins draw from the normal distribution, and from others by way of
// it: a draw put through the distribution function of the normal distribution
// is one between 0 and 1. They are draws of the same distribution as those of
// torch, not the same draws.
var randomBuiltins = map[string]builtin{
	"randn_like": {"x dtype", func(c *call) value { x := c.value(0); return newTensor(c.in.normal(x.Shape, c.dtype(1, x.DType))) }},
	"randn":      {"size dtype", func(c *call) value { return newTensor(c.in.normal(c.dims(0), c.dtype(1, graph.Float32))) }},
	"normal":     {"mean std size dtype", normal},
	"normal_":    {"x mean std", normalInPlace},

	"rand_like":    {"x dtype", func(c *call) value { x := c.value(0); return newTensor(c.in.uniform(x.Shape, c.dtype(1, x.DType))) }},
	"rand":         {"size dtype", func(c *call) value { return newTensor(c.in.uniform(c.dims(0), c.dtype(1, graph.Float32))) }},
	"uniform_":     {"x from to", uniformInPlace},
	"exponential_": {"x lambd", exponentialInPlace},
	"bernoulli":    {"x p", bernoulli},
	"bernoulli_":   {"x p", bernoulliInPlace},
	"multinomial":  {"x n replacement", multinomial},
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

// uniform draws between 0 and 1, which itself is not drawn.
func (in *interp) uniform(shape graph.Shape, dt graph.DType) *graph.Value {
	u := ndtr(in, in.normal(shape, dt))
	return in.add(graph.OpClamp, graph.Attrs{"min": 0.0, "max": 1 - 1.0/(1<<24)}, u)
}

func uniformInPlace(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	lo, hi := c.float(1, 0), c.float(2, 1)
	u := c.in.uniform(x.Shape, x.DType)
	c.in.assignTo(t, c.in.with(graph.OpAdd, c.in.with(graph.OpMul, u, hi-lo), lo))
	return t
}

// exponential draws -log(1-u).
func (in *interp) exponential(shape graph.Shape, dt graph.DType) *graph.Value {
	return in.add(graph.OpNeg, nil, in.add(graph.OpLog, nil, in.fromOne(in.uniform(shape, dt))))
}

func exponentialInPlace(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	c.in.assignTo(t, c.in.with(graph.OpDiv, c.in.exponential(x.Shape, x.DType), c.float(1, 1)))
	return t
}

// below is 1 with probability p in the shape of x, else 0.
func (in *interp) below(shape graph.Shape, p *graph.Value, dt graph.DType) *graph.Value {
	return in.cast(in.add(graph.OpLt, nil, in.uniform(shape, graph.Float32), p), dt)
}

func bernoulli(c *call) value {
	x := c.value(0)
	p := x
	if c.has(1) {
		p = c.in.number(c.float(1, 0.5), x)
	}
	return newTensor(c.in.below(x.Shape, p, x.DType))
}

func bernoulliInPlace(c *call) value {
	t := c.handle(0)
	x := c.in.read(t)
	p := c.in.scalarTensor(0.5, graph.Float32)
	if c.has(1) {
		p = c.operand(1, p)
	}
	c.in.assignTo(t, c.in.below(x.Shape, p, x.DType))
	return t
}

// multinomial draws positions by their weights: the greatest of w/e with e
// from the exponential distribution. Without replacement the k greatest of one
// draw are k draws in order.
func multinomial(c *call) value {
	in := c.in
	w, n := c.value(0), c.int(1, 1)
	last := len(w.Shape) - 1
	if last < 0 || last > 1 || w.Shape[last] < 0 || n < 1 || n > maxRunning || !w.DType.IsFloat() {
		in.errorf("multinomial of %d out of %v", n, w.Shape)
	}
	if n > 1 && c.bool(2, false) {
		shape := append(append(graph.Shape{}, w.Shape[:last]...), n, w.Shape[last])
		up := in.reshape(w, append(append(graph.Shape{}, w.Shape[:last]...), 1, w.Shape[last]))
		key := in.add(graph.OpDiv, nil, up, in.waiting(shape, w.DType))
		return newTensor(in.add(graph.OpArgmax, graph.Attrs{"axis": last + 1, "keepdim": false}, key))
	}
	if n > w.Shape[last] {
		in.errorf("multinomial of %d out of %v without replacement", n, w.Shape)
	}
	key := in.add(graph.OpDiv, nil, w, in.waiting(w.Shape, w.DType))
	if n == 1 {
		return newTensor(in.add(graph.OpArgmax, graph.Attrs{"axis": last, "keepdim": true}, key))
	}
	at := in.add(graph.OpArgsort, graph.Attrs{"axis": last, "descending": true}, key)
	return newTensor(in.slice(at, last, 0, n, 1))
}

// waiting is a draw from the exponential distribution that is never 0, by
// which a weight of 0 can be divided.
func (in *interp) waiting(shape graph.Shape, dt graph.DType) *graph.Value {
	return in.with(graph.OpMaximum, in.exponential(shape, dt), 1e-30)
}
