package onnx

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// normOps are normalisations, with the statistics of training.
var normOps = map[string]lowerFunc{
	"BatchNormalization":    batchNorm,
	"LayerNormalization":    layerNorm,
	"RMSNormalization":      rmsNorm,
	"GroupNormalization":    groupNorm,
	"InstanceNormalization": instanceNorm,
	"LpNormalization":       lpNorm, "SimplifiedLayerNormalization": rmsNorm, "MeanVarianceNormalization": meanVarianceNorm, "LRN": responseNorm,
}

// batchNorm uses the statistics of training. Before operator set 9 an
// attribute asked for one for each element of a channel.
func batchNorm(l *lowering) []torchscript.Value {
	if l.attrInt("training_mode", 0) != 0 || l.attrInt("spatial", 1) != 1 || l.opset < 7 {
		l.c.Unsupported("training_mode=1 or spatial=0: export the model after eval()")
	}
	return one(l.call("batch_norm", l.x(0), l.x(1), l.x(2), l.x(3), l.x(4), false, 0.1, l.attrFloat("epsilon", 1e-5), false))
}

// lastShape are the dimensions from the axis of the node on.
func (l *lowering) lastShape(x torchscript.Value) []torchscript.Value {
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", -1), len(shape))
	for _, d := range shape[axis:] {
		if d < 0 {
			l.c.Unsupported("a normalisation over the rows of a batch")
		}
	}
	return list(slices.Clone(shape[axis:]))
}

// layerNorm may give its mean and the inverse of its deviation too.
func layerNorm(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape, last := l.shape(x), l.lastShape(x)
	scale, bias := l.maybe(1), l.maybe(2)
	epsilon := l.attrFloat("epsilon", 1e-5)
	var axes []int
	for i := range last {
		axes = append(axes, len(shape)-len(last)+i)
	}
	plain := scale != nil && l.shape(scale).Equal(shape[axes[0]:]) && (bias == nil || l.shape(bias).Equal(shape[axes[0]:]))
	if plain && len(l.n.out) == 1 {
		return one(l.call("layer_norm", x, last, scale, bias, epsilon, false))
	}
	mean := l.op(graph.OpMean, graph.Attrs{"axes": slices.Clone(axes), "keepdim": true}, x)
	d := l.op(graph.OpSub, nil, x, mean)
	variance := l.op(graph.OpMean, graph.Attrs{"axes": slices.Clone(axes), "keepdim": true}, l.op(graph.OpMul, nil, d, d))
	inverse := l.op(graph.OpRsqrt, nil, l.op(graph.OpAdd, nil, variance, epsilon))
	y := l.op(graph.OpMul, nil, d, inverse)
	if scale != nil {
		y = l.op(graph.OpMul, nil, y, scale)
	}
	if bias != nil {
		y = l.op(graph.OpAdd, nil, y, bias)
	}
	return []torchscript.Value{y, mean, inverse}
}

// rmsNorm is also SimplifiedLayerNormalization, as ONNX Runtime had it before
// RMSNormalization was an operator of ONNX.
func rmsNorm(l *lowering) []torchscript.Value {
	x := l.x(0)
	last := l.lastShape(x)
	y := l.call("rms_norm", x, last, nil, l.attrFloat("epsilon", 1e-5))
	return one(l.op(graph.OpMul, nil, y, l.x(1)))
}

// groupNorm has a scale for each channel, before operator set 21 for each
// group.
func groupNorm(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	groups := l.attrInt("num_groups", 0)
	if len(shape) < 2 || groups < 1 || shape[1]%groups != 0 {
		l.c.Errorf("%d groups of %v", groups, shape)
	}
	each := func(k int) torchscript.Value {
		v := l.x(k)
		if l.opset >= 21 || l.shape(v).Equal(shape[1:2]) {
			return v
		}
		wide := []int{groups, shape[1] / groups}
		v = l.op(graph.OpExpand, graph.Attrs{"shape": wide}, l.reshape(v, graph.Shape{groups, 1}))
		return l.reshape(v, graph.Shape{shape[1]})
	}
	return one(l.call("group_norm", x, int64(groups), each(1), each(2), l.attrFloat("epsilon", 1e-5), false))
}

func instanceNorm(l *lowering) []torchscript.Value {
	return one(l.call("instance_norm", l.x(0), l.x(1), l.x(2), nil, nil, true, 0.1, l.attrFloat("epsilon", 1e-5), false))
}

// lpNorm divides by the norm along an axis; nothing is divided by 0.
func lpNorm(l *lowering) []torchscript.Value {
	x := l.x(0)
	axis := l.axisOf(l.attrInt("axis", -1), len(l.shape(x)))
	p := float64(l.attrInt("p", 2))
	norm := l.root(l.op(graph.OpSum, graph.Attrs{"axes": []int{axis}, "keepdim": true}, l.powered(x, p)), p)
	none := l.op(graph.OpEq, nil, norm, 0.0)
	y := l.op(graph.OpDiv, nil, x, l.op(graph.OpWhere, nil, none, 1.0, norm))
	return one(l.op(graph.OpWhere, nil, none, l.op(graph.OpMul, nil, x, 0.0), y))
}

// meanVarianceNorm makes the mean 0 and the variance 1 along axes.
func meanVarianceNorm(l *lowering) []torchscript.Value {
	x := l.x(0)
	axes := []int{0, 2, 3}
	if _, ok := l.attr("axes"); ok {
		axes = l.attrInts("axes")
	}
	for i, a := range axes {
		axes[i] = l.axisOf(a, len(l.shape(x)))
	}
	d := l.op(graph.OpSub, nil, x, l.op(graph.OpMean, graph.Attrs{"axes": slices.Clone(axes), "keepdim": true}, x))
	variance := l.op(graph.OpMean, graph.Attrs{"axes": slices.Clone(axes), "keepdim": true}, l.op(graph.OpMul, nil, d, d))
	return one(l.op(graph.OpDiv, nil, d, l.op(graph.OpAdd, nil, l.op(graph.OpSqrt, nil, variance), 1e-9)))
}

// responseNorm divides by the squares of the channels around each.
func responseNorm(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	size := l.attrInt("size", 0)
	if len(shape) < 2 || shape[1] < 1 || size < 1 || size > maxWindow {
		l.c.Errorf("a window of %d channels of %v", size, shape)
	}
	before, after := (size-1)/2, size-1-(size-1)/2
	squares := l.op(graph.OpMul, nil, x, x)
	wide := slices.Clone(shape)
	for k, count := range []int{before, after} {
		if wide[1] = count; count == 0 {
			continue
		}
		none := l.op(graph.OpExpand, graph.Attrs{"shape": slices.Clone([]int(wide))}, l.c.Parameter("", constantOf(l.dtype(x), 0)))
		if k == 0 {
			squares = l.op(graph.OpConcat, graph.Attrs{"axis": 1}, none, squares)
		} else {
			squares = l.op(graph.OpConcat, graph.Attrs{"axis": 1}, squares, none)
		}
	}
	var sum torchscript.Value
	for k := range size {
		part := l.slice(squares, 1, k, k+shape[1], 1)
		if sum != nil {
			part = l.op(graph.OpAdd, nil, sum, part)
		}
		sum = part
	}
	sum = l.op(graph.OpMul, nil, sum, l.attrFloat("alpha", 1e-4)/float64(size))
	sum = l.op(graph.OpPow, nil, l.op(graph.OpAdd, nil, sum, l.attrFloat("bias", 1)), l.attrFloat("beta", 0.75))
	return one(l.op(graph.OpDiv, nil, x, sum))
}
