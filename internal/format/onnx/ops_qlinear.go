package onnx

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// quantizedGemm is alpha·A'·B' + C of integers, each with scale and zero point;
// C is in the units of the product. Without a scale for the result that is
// floating point.
func quantizedGemm(l *lowering) []torchscript.Value {
	a := l.whole(0, 2, -1)
	if l.attrInt("transA", 0) != 0 {
		a = l.permute(a, []int{1, 0})
	}
	turned := l.attrInt("transB", 0) != 0
	outs := 1
	if turned {
		outs = 0
	}
	b := l.whole(3, 5, outs)
	if turned {
		b = l.permute(b, []int{1, 0})
	}
	y := l.call("matmul", a, b)
	if c := l.maybe(6); c != nil {
		y = l.op(graph.OpAdd, nil, y, l.as(c, graph.Float32))
	}
	each := l.x(4)
	if s := l.shape(each); s.Fixed() && s.RowElements() == 1 {
		each = l.reshape(each, graph.Shape{})
	}
	scale := l.op(graph.OpMul, nil, l.spread(l.x(1), -1, nil), each)
	if alpha := l.attrFloat("alpha", 1); alpha != 1 {
		scale = l.op(graph.OpMul, nil, scale, alpha)
	}
	if !l.has(7) {
		return one(l.op(graph.OpMul, nil, y, scale))
	}
	return l.requantized(y, l.op(graph.OpDiv, nil, scale, l.spread(l.x(7), -1, nil)), 8)
}

// quantizedOne is a function of one operand with scale and zero point, and
// those of the result.
func quantizedOne(f func(l *lowering, x torchscript.Value) torchscript.Value) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		y := f(l, l.op(graph.OpMul, nil, l.whole(0, 2, -1), l.spread(l.x(1), -1, nil)))
		return l.requantized(y, l.op(graph.OpReciprocal, nil, l.spread(l.x(3), -1, nil)), 4)
	}
}

func sigmoidOf(l *lowering, x torchscript.Value) torchscript.Value {
	return l.op(graph.OpSigmoid, nil, x)
}

func leakyReluOf(l *lowering, x torchscript.Value) torchscript.Value {
	return l.op(graph.OpLeakyRelu, graph.Attrs{"alpha": l.attrFloat("alpha", 0.01)}, x)
}

// softmaxOf is that of the operator set that the attribute names, along the
// last axis.
func softmaxOf(l *lowering, x torchscript.Value) torchscript.Value {
	rank := len(l.shape(x))
	axis := l.axisOf(l.attrInt("axis", -1), rank)
	if l.attrInt("opset", 13) < 13 && axis != rank-1 {
		l.c.Unsupported("a softmax over several axes")
	}
	return l.op(graph.OpSoftmax, graph.Attrs{"axis": axis}, x)
}

// meanOf is the mean of each channel, which stays as a dimension of 1.
func meanOf(l *lowering, x torchscript.Value) torchscript.Value {
	rank := len(l.shape(x))
	if rank < 3 || l.attrInt("channels_last", 0) != 0 {
		l.c.Unsupported("a pool over %v with the channels last", l.shape(x))
	}
	axes := everyAxis(l.shape(x))[2:]
	return l.op(graph.OpMean, graph.Attrs{"axes": axes, "keepdim": true}, x)
}

// quantizedConcat has scale and zero point of the result, then each part with
// its own.
func quantizedConcat(l *lowering) []torchscript.Value {
	var parts []torchscript.Value
	for k := 2; k+2 < len(l.in); k += 3 {
		parts = append(parts, l.op(graph.OpMul, nil, l.whole(k, k+2, -1), l.spread(l.x(k+1), -1, nil)))
	}
	if len(parts) == 0 {
		l.c.Errorf("nothing to join")
	}
	axis := l.axisOf(l.attrInt("axis", 1), len(l.shape(parts[0])))
	y := l.op(graph.OpConcat, graph.Attrs{"axis": axis}, parts...)
	return l.requantized(y, l.op(graph.OpReciprocal, nil, l.spread(l.x(0), -1, nil)), 1)
}
