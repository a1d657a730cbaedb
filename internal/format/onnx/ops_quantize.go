package onnx

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// quantizeOps go to small integers and back.
var quantizeOps = map[string]lowerFunc{"QuantizeLinear": quantize, "DequantizeLinear": dequantize}

// along gives a vector the dimensions of x, its own at the axis of the node.
func (l *lowering) along(v torchscript.Value, shape graph.Shape) torchscript.Value {
	own := l.shape(v)
	if len(own) == 0 || own.RowElements() == 1 {
		return l.reshape(v, graph.Shape{})
	}
	axis := l.axisOf(l.attrInt("axis", 1), len(shape))
	if len(own) != 1 || l.attrInt("block_size", 0) != 0 || own[0] != shape[axis] {
		l.c.Unsupported("a scale of %v for %v", own, shape)
	}
	to := graph.Shape{own[0]}
	for range len(shape) - 1 - axis {
		to = append(to, 1)
	}
	return l.reshape(v, to)
}

// dequantize is (x - zero)·scale.
func dequantize(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	scale := l.along(l.x(1), shape)
	y := l.as(x, graph.Int64)
	if l.has(2) {
		y = l.op(graph.OpSub, nil, y, l.as(l.along(l.x(2), shape), graph.Int64))
	}
	return one(l.op(graph.OpMul, nil, l.as(y, l.dtype(scale)), scale))
}

// quantize is x/scale rounded to even, moved by zero and cut to the type.
func quantize(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	dt := graph.Uint8
	if l.has(2) {
		dt = l.dtype(l.x(2))
	} else if to := l.attrInt("output_dtype", 0); to != 0 {
		dt = l.namedType(to)
	}
	if dt != graph.Uint8 && dt != graph.Int8 && dt != graph.Int16 {
		l.c.Unsupported("numbers of type %v", dt)
	}
	lo, hi := integerRange(dt)
	scale := l.along(l.x(1), shape)
	y := l.op(graph.OpRound, nil, l.op(graph.OpDiv, nil, l.as(x, l.dtype(scale)), scale))
	if l.has(2) {
		y = l.op(graph.OpAdd, nil, y, l.as(l.along(l.x(2), shape), l.dtype(y)))
	}
	return one(l.as(l.op(graph.OpClamp, graph.Attrs{"min": float64(lo), "max": float64(hi)}, y), dt))
}
