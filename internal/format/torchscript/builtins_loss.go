package torchscript

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// lossBuiltins are the losses that a policy computes of its own outputs, as a
// measure of surprise or of error.
var lossBuiltins = map[string]builtin{
	"mse_loss":       {"x y reduction", loss(func(c *call, d *graph.Value) *graph.Value { return c.in.square(d) })},
	"l1_loss":        {"x y reduction", loss(func(c *call, d *graph.Value) *graph.Value { return c.in.add(graph.OpAbs, nil, d) })},
	"smooth_l1_loss": {"x y reduction beta", loss(smoothL1)},
	"huber_loss":     {"x y reduction delta", loss(huber)},
	"kl_div":         {"x y reduction log_target", klDivergence},

	"binary_cross_entropy":             {"x y weight reduction", binaryCrossEntropy},
	"binary_cross_entropy_with_logits": {"x y weight pos_weight reduction", binaryCrossEntropyLogits},
	"nll_loss":                         {"x y weight reduction ignore_index", nllLoss},
	"nll_loss_nd":                      {"x y weight reduction ignore_index", nllLoss},
	"cross_entropy_loss":               {"x y weight reduction ignore_index label_smoothing", crossEntropy},
}

// reduction brings a loss to the form that argument i asks for: as it is, its
// mean, or its sum.
func (c *call) reduction(i int, v *graph.Value) value {
	switch c.int(i, 1) {
	case 0:
		return newTensor(v)
	case 1:
		return newTensor(c.in.reduce(graph.OpMean, v, identityPerm(len(v.Shape)), false))
	}
	return newTensor(c.in.reduce(graph.OpSum, v, identityPerm(len(v.Shape)), false))
}

// loss is a function of the difference of two tensors.
func loss(f func(c *call, d *graph.Value) *graph.Value) func(c *call) value {
	return func(c *call) value { return c.reduction(2, f(c, c.difference())) }
}

// smoothL1 is quadratic below beta, and linear above.
func smoothL1(c *call, d *graph.Value) *graph.Value {
	in, beta := c.in, c.float(3, 1)
	abs := in.add(graph.OpAbs, nil, d)
	if beta == 0 {
		return abs
	}
	near := in.with(graph.OpDiv, in.with(graph.OpMul, in.square(abs), 0.5), beta)
	return in.add(graph.OpWhere, nil, in.with(graph.OpLt, abs, beta), near, in.with(graph.OpSub, abs, 0.5*beta))
}

func huber(c *call, d *graph.Value) *graph.Value {
	in, delta := c.in, c.float(3, 1)
	abs := in.add(graph.OpAbs, nil, d)
	far := in.with(graph.OpMul, in.with(graph.OpSub, abs, 0.5*delta), delta)
	return in.add(graph.OpWhere, nil, in.with(graph.OpLe, abs, delta), in.with(graph.OpMul, in.square(abs), 0.5), far)
}

// klDivergence is y·(log y - x), 0 where y is.
func klDivergence(c *call) value {
	in := c.in
	x, y := c.value(0), c.value(1)
	if c.bool(3, false) {
		return c.reduction(2, in.add(graph.OpMul, nil, in.add(graph.OpExp, nil, y), in.add(graph.OpSub, nil, y, x)))
	}
	return c.reduction(2, in.add(graph.OpSub, nil, xlogy(in, y, y), in.add(graph.OpMul, nil, y, x)))
}

// binaryCrossEntropy keeps its logarithms above -100, as torch does.
func binaryCrossEntropy(c *call) value {
	in := c.in
	x, y := c.value(0), c.value(1)
	log := func(v *graph.Value) *graph.Value {
		return in.add(graph.OpClamp, graph.Attrs{"min": -100.0}, in.add(graph.OpLog, nil, v))
	}
	v := in.add(graph.OpMul, nil, in.with(graph.OpSub, y, 1), log(in.fromOne(x)))
	v = in.add(graph.OpSub, nil, v, in.add(graph.OpMul, nil, y, log(x)))
	return c.weighted(2, 3, v)
}

// weighted is a loss times the weights of argument i, reduced by argument j.
func (c *call) weighted(i, j int, v *graph.Value) value {
	if w := c.optional(i); w != nil {
		v = c.in.add(graph.OpMul, nil, v, w)
	}
	return c.reduction(j, v)
}

func binaryCrossEntropyLogits(c *call) value {
	in := c.in
	x, y := c.value(0), c.value(1)
	log := in.add(graph.OpLogSigmoid, nil, x)
	if w := c.optional(3); w != nil {
		w = in.with(graph.OpAdd, in.add(graph.OpMul, nil, in.with(graph.OpSub, w, 1), y), 1)
		log = in.add(graph.OpMul, nil, log, w)
	}
	v := in.add(graph.OpMul, nil, in.fromOne(y), x)
	return c.weighted(2, 4, in.add(graph.OpSub, nil, v, log))
}

// ofClass is the negated entry of each row's class, reduced. A class that is to
// be ignored gives 0, and does not count for the mean.
func (c *call) ofClass(x *graph.Value) value {
	in := c.in
	if c.has(2) {
		in.unsupported("torch.%s with weights of the classes", c.name)
	}
	y := in.cast(c.integers(1), graph.Int64)
	keep := c.notIgnored(y)
	if keep != nil {
		y = in.add(graph.OpWhere, nil, keep, y, in.number(int64(0), y))
	}
	axis := 1
	if len(x.Shape) == 1 {
		axis = 0
	}
	if len(y.Shape) != len(x.Shape)-1 {
		in.errorf("%s of %v with classes %v", c.name, x.Shape, y.Shape)
	}
	at := append(append(append(graph.Shape{}, y.Shape[:axis]...), 1), y.Shape[axis:]...)
	v := in.add(graph.OpNeg, nil, in.reshape(in.gatherAt(x, axis, in.reshape(y, at)), y.Shape))
	if keep == nil {
		return c.reduction(3, v)
	}
	v = in.add(graph.OpWhere, nil, keep, v, in.cast(in.number(0.0, v), v.DType))
	if c.int(3, 1) != 1 {
		return c.reduction(3, v)
	}
	all := identityPerm(len(y.Shape))
	count := in.reduce(graph.OpSum, in.cast(keep, v.DType), all, false)
	return newTensor(in.add(graph.OpDiv, nil, in.reduce(graph.OpSum, v, all, false), count))
}

// notIgnored tells the classes that count from ignore_index; nil where all are
// known to count.
func (c *call) notIgnored(y *graph.Value) *graph.Value {
	ignored := int64(c.int(4, -100))
	if known := c.in.folded(y); known != nil && !slices.Contains(known.I64, ignored) {
		return nil
	}
	return c.in.add(graph.OpNe, nil, y, c.in.number(ignored, y))
}

func nllLoss(c *call) value { return c.ofClass(c.value(0)) }

func crossEntropy(c *call) value {
	in := c.in
	x := c.value(0)
	axis := min(1, len(x.Shape)-1)
	if axis < 0 || c.float(5, 0) != 0 {
		in.unsupported("torch.cross_entropy_loss of %v with smoothed labels", x.Shape)
	}
	log := in.add(graph.OpLogSoftmax, graph.Attrs{"axis": axis}, x)
	if y := c.value(1); y.DType.IsFloat() && len(y.Shape) == len(x.Shape) { // probabilities of the classes
		if c.has(2) || c.int(4, -100) >= 0 {
			in.unsupported("torch.cross_entropy_loss of probabilities with weights of the classes or a class to ignore")
		}
		v := in.reduce(graph.OpSum, in.add(graph.OpMul, nil, log, y), []int{axis}, false)
		return c.reduction(3, in.add(graph.OpNeg, nil, v))
	}
	return c.ofClass(log)
}
