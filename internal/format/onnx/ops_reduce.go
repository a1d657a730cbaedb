package onnx

import (
	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// reduceOps put together the elements along axes.
var reduceOps = map[string]lowerFunc{
	"ReduceSum": reduce(graph.OpSum), "ReduceMean": reduce(graph.OpMean), "ReduceMax": reduce(graph.OpAmax), "ReduceMin": reduce(graph.OpAmin),
	"ReduceSumSquare": reduceSumSquare, "ReduceL1": reduceL1, "ReduceL2": reduceL2,
	"ArgMax": argExtreme(false), "ArgMin": argExtreme(true),
}

func reduce(op graph.Op) lowerFunc {
	return func(l *lowering) []torchscript.Value { return one(l.reduceTo(op, l.x(0))) }
}

// reduceTo reduces x by the axes of the node: none are all of them, unless the
// node says that none are none.
func (l *lowering) reduceTo(op graph.Op, x torchscript.Value) torchscript.Value {
	axes, _ := l.intsOf("axes", 1)
	rank := len(l.shape(x))
	if len(axes) == 0 {
		if l.attrInt("noop_with_empty_axes", 0) != 0 {
			return x
		}
		for i := range rank {
			axes = append(axes, i)
		}
	}
	for i, a := range axes {
		axes[i] = l.axisOf(a, rank)
	}
	y := l.op(op, graph.Attrs{"axes": axes, "keepdim": l.attrInt("keepdims", 1) != 0}, x)
	return l.as(y, l.dtype(x)) // sums of integers keep their type
}

func reduceSumSquare(l *lowering) []torchscript.Value {
	x := l.x(0)
	return one(l.reduceTo(graph.OpSum, l.op(graph.OpMul, nil, x, x)))
}

func reduceL1(l *lowering) []torchscript.Value {
	return one(l.reduceTo(graph.OpSum, l.op(graph.OpAbs, nil, l.x(0))))
}

func reduceL2(l *lowering) []torchscript.Value {
	return one(l.op(graph.OpSqrt, nil, reduceSumSquare(l)[0]))
}

func argExtreme(least bool) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		if l.attrInt("select_last_index", 0) != 0 {
			l.c.Unsupported("select_last_index=1")
		}
		x := l.x(0)
		if least {
			x = l.op(graph.OpNeg, nil, x)
		}
		axis := l.axisOf(l.attrInt("axis", 0), len(l.shape(x)))
		return one(l.op(graph.OpArgmax, graph.Attrs{"axis": axis, "keepdim": l.attrInt("keepdims", 1) != 0}, x))
	}
}
