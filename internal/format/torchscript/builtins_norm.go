package torchscript

import (
	"math"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// normBuiltins are normalisations, composed of elementary operators.
var normBuiltins = map[string]builtin{
	"layer_norm": {"x shape weight bias eps cudnn_enable", layerNorm},
	"native_layer_norm": {"x shape weight bias eps", func(c *call) value {
		c.args = append(c.args, absent{})
		return &tuple{elems: []value{layerNorm(c), nil, nil}}
	}},
	"rms_norm":      {"x shape weight eps", rmsNorm},
	"group_norm":    {"x groups weight bias eps cudnn_enabled", groupNorm},
	"instance_norm": {"x weight bias mean var use_input_stats momentum eps cudnn_enabled", instanceNorm},
	"batch_norm":    {"x weight bias mean var training momentum eps cudnn_enabled", batchNorm},
	"_batch_norm_impl_index": {"x weight bias mean var training momentum eps cudnn_enabled", func(c *call) value {
		return &tuple{elems: []value{batchNorm(c), nil, nil, nil, int64(0)}}
	}},
	"normalize": {"x p dim eps", normalize},
}

// normalise is (x - mean)/sqrt(var + eps) over axes.
func (in *interp) normalise(x *graph.Value, axes []int, eps float64) *graph.Value {
	d := in.add(graph.OpSub, nil, x, in.reduce(graph.OpMean, x, axes, true))
	v := in.reduce(graph.OpMean, in.add(graph.OpMul, nil, d, d), axes, true)
	return in.add(graph.OpMul, nil, d, in.add(graph.OpRsqrt, nil, in.add(graph.OpAdd, nil, v, in.number(eps, v))))
}

// affine is x·weight + bias, each optional.
func (in *interp) affine(x, weight, bias *graph.Value) *graph.Value {
	if weight != nil {
		x = in.add(graph.OpMul, nil, x, weight)
	}
	if bias != nil {
		x = in.add(graph.OpAdd, nil, x, bias)
	}
	return x
}

// lastAxes are the last n dimensions of x, which must be those of shape.
func (c *call) lastAxes(x *graph.Value, shape []int) []int {
	off := len(x.Shape) - len(shape)
	if off < 0 || len(shape) == 0 || !x.Shape[off:].Equal(graph.Shape(shape)) {
		c.in.errorf("%s over %v of a tensor of %v", c.name, graph.Shape(shape), x.Shape)
	}
	axes := make([]int, len(shape))
	for i := range axes {
		axes[i] = off + i
	}
	return axes
}

// lastDims tells the width of a pending input from the dimensions over which
// it is normalised.
func (c *call) lastDims(i int) (x *graph.Value, axes []int) {
	shape := c.ints(i)
	if t := c.handle(0); t.pending {
		if len(shape) != 1 {
			c.in.needShape(t)
		}
		c.in.learn(t, graph.Shape{graph.Batch, shape[0]}, nil)
	}
	x = c.value(0)
	return x, c.lastAxes(x, shape)
}

func layerNorm(c *call) value {
	x, axes := c.lastDims(1)
	y := c.in.normalise(c.wide(x), axes, c.float(4, 1e-5))
	return newTensor(c.in.cast(c.in.affine(y, c.optional(2), c.optional(3)), x.DType))
}

// wide computes normalisations of half precision in single, as torch does.
func (c *call) wide(x *graph.Value) *graph.Value {
	if x.DType == graph.Float16 || x.DType == graph.BFloat16 {
		return c.in.cast(x, graph.Float32)
	}
	return x
}

// epsilons are the distances between 1 and the next number of a type.
var epsilons = map[graph.DType]float64{
	graph.Float32: 0x1p-23, graph.Float64: 0x1p-52, graph.Float16: 0x1p-10, graph.BFloat16: 0x1p-7,
}

func rmsNorm(c *call) value {
	x, axes := c.lastDims(1)
	w := c.wide(x)
	sq := c.in.reduce(graph.OpMean, c.in.add(graph.OpMul, nil, w, w), axes, true)
	eps := c.float(3, epsilons[w.DType])
	y := c.in.add(graph.OpMul, nil, w, c.in.add(graph.OpRsqrt, nil, c.in.add(graph.OpAdd, nil, sq, c.in.number(eps, sq))))
	return newTensor(c.in.cast(c.in.affine(y, c.optional(2), nil), x.DType))
}

// perChannel gives a vector of channels, which are dimension 1, the shape in
// which it meets x.
func (in *interp) perChannel(v *graph.Value, rank int) *graph.Value {
	if v == nil || rank <= 2 {
		return v
	}
	shape := append(graph.Shape{}, v.Shape...)
	for range rank - 2 {
		shape = append(shape, 1)
	}
	return in.reshape(v, shape)
}

func groupNorm(c *call) value {
	x, groups := c.value(0), c.int(1, 1)
	if len(x.Shape) < 2 || x.Shape[1] < 0 || groups < 1 || x.Shape[1]%groups != 0 {
		c.in.errorf("group_norm of %v in %d groups", x.Shape, groups)
	}
	inner := x.Shape[1] / groups
	for _, d := range x.Shape[2:] {
		inner *= d
	}
	y := c.in.reshape(c.wide(x), graph.Shape{x.Shape[0], groups, inner})
	y = c.in.reshape(c.in.normalise(y, []int{2}, c.float(4, 1e-5)), x.Shape)
	rank := len(x.Shape)
	y = c.in.affine(y, c.in.perChannel(c.optional(2), rank), c.in.perChannel(c.optional(3), rank))
	return newTensor(c.in.cast(y, x.DType))
}

func instanceNorm(c *call) value {
	x := c.value(0)
	rank := len(x.Shape)
	if rank < 3 {
		c.in.errorf("instance_norm of %v", x.Shape)
	}
	if !c.bool(5, true) {
		c.args = []value{c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], false, c.args[6], c.args[7], c.args[8]}
		return batchNorm(c)
	}
	y := c.in.normalise(c.wide(x), identityPerm(rank)[2:], c.float(7, 1e-5))
	y = c.in.affine(y, c.in.perChannel(c.optional(1), rank), c.in.perChannel(c.optional(2), rank))
	return newTensor(c.in.cast(y, x.DType))
}

// batchNorm uses the statistics of training: with constant weights it is one
// product and one sum for each channel.
func batchNorm(c *call) value {
	if c.bool(5, false) {
		c.in.unsupported("torch.batch_norm in training: save the module after eval()")
	}
	mean, variance := c.optional(3), c.optional(4)
	if mean == nil || variance == nil {
		c.in.mixes("torch.batch_norm without running statistics: rows of the batch would be mixed")
	}
	if t := c.handle(0); t.pending {
		t.slot.flat = true
		t.slot.described = "[B," + format(int64(mean.Shape.RowElements())) + ",...]"
		c.in.learn(t, graph.Shape{graph.Batch, mean.Shape.RowElements()}, nil)
	}
	x := c.value(0)
	if len(x.Shape) < 2 {
		c.in.errorf("batch_norm of %v", x.Shape)
	}
	weight, bias := c.optional(1), c.optional(2)
	scale, shift, ok := foldBatchNorm(weight, bias, mean, variance, c.float(7, 1e-5))
	if !ok {
		rank := len(x.Shape)
		d := c.in.add(graph.OpSub, nil, x, c.in.perChannel(mean, rank))
		v := c.in.add(graph.OpRsqrt, nil, c.in.add(graph.OpAdd, nil, variance, c.in.number(c.float(7, 1e-5), variance)))
		y := c.in.add(graph.OpMul, nil, d, c.in.perChannel(v, rank))
		return newTensor(c.in.cast(c.in.affine(y, c.in.perChannel(weight, rank), c.in.perChannel(bias, rank)), x.DType))
	}
	rank := len(x.Shape)
	y := c.in.affine(c.wide(x), c.in.perChannel(c.in.constant(scale), rank), c.in.perChannel(c.in.constant(shift), rank))
	return newTensor(c.in.cast(y, x.DType))
}

// foldBatchNorm computes scale = weight/sqrt(var+eps) and shift = bias -
// mean·scale in double precision, and rounds once.
func foldBatchNorm(weight, bias, mean, variance *graph.Value, eps float64) (scale, shift *graph.Tensor, ok bool) {
	n := mean.Shape.RowElements()
	for _, v := range []*graph.Value{weight, bias, mean, variance} {
		if v != nil && (v.Const == nil || v.Const.Len() != n || len(v.Shape) != 1) {
			return nil, nil, false
		}
	}
	double := mean.DType == graph.Float64
	newVector := func() *graph.Tensor {
		if double {
			return &graph.Tensor{DType: graph.Float64, Shape: graph.Shape{n}, F64: make([]float64, n)}
		}
		return &graph.Tensor{DType: graph.Float32, Shape: graph.Shape{n}, F32: make([]float32, n)}
	}
	set := func(t *graph.Tensor, i int, v float64) {
		if double {
			t.F64[i] = v
		} else {
			t.F32[i] = float32(v)
		}
	}
	scale, shift = newVector(), newVector()
	for i := range n {
		w, b := 1.0, 0.0
		if weight != nil {
			w = weight.Const.At(i)
		}
		if bias != nil {
			b = bias.Const.At(i)
		}
		s := w / math.Sqrt(variance.Const.At(i)+eps)
		set(scale, i, s)
		set(shift, i, b-mean.Const.At(i)*s)
	}
	return scale, shift, true
}

// normalize is x / max(norm(x), eps).
func normalize(c *call) value {
	x := c.value(0)
	eps := c.float(3, 1e-12)
	n := norm(&call{in: c.in, name: "norm", args: []value{c.handle(0), c.args[1], int64(c.int(2, 1)), true, absent{}}}).(*tensor).v
	return newTensor(c.in.add(graph.OpDiv, nil, x, c.in.add(graph.OpClamp, graph.Attrs{"min": eps}, n)))
}
