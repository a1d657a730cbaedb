package onnx

import (
	"math"
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// reduceOps put together the elements along axes.
var reduceOps = map[string]lowerFunc{
	"ReduceSum": reduce(graph.OpSum), "ReduceMean": reduce(graph.OpMean), "ReduceMax": reduce(graph.OpAmax), "ReduceMin": reduce(graph.OpAmin),
	"ReduceProd": reduce(graph.OpProd), "ReduceSumSquare": reduceSumSquare, "ReduceL1": reduceL1, "ReduceL2": reduceL2,
	"ReduceLogSum": reduceLogSum, "ReduceLogSumExp": reduceLogSumExp, "CumSum": cumSum, "TopK": topK, "Hardmax": hardmax,
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
		axes = nil
		for i := range rank {
			axes = append(axes, i)
		}
	}
	for i, a := range axes {
		axes[i] = l.axisOf(a, rank)
	}
	if op == graph.OpAmax || op == graph.OpAmin {
		if y := l.extremeOfNothing(op, x, axes); y != nil {
			return y
		}
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

// extremeOfNothing is the greatest or least element of an empty axis: the
// least or greatest number of the type. It is nil where no axis is empty.
func (l *lowering) extremeOfNothing(op graph.Op, x torchscript.Value, axes []int) torchscript.Value {
	shape := slices.Clone(l.shape(x))
	empty := false
	for _, a := range axes {
		empty = empty || shape[a] == 0
		shape[a] = 1
	}
	if !empty {
		return nil
	}
	if l.attrInt("keepdims", 1) == 0 {
		for i := range slices.Backward(shape) {
			if slices.Contains(axes, i) {
				shape = slices.Delete(shape, i, i+1)
			}
		}
	}
	dt := l.dtype(x)
	t := &graph.Tensor{DType: dt, Shape: graph.Shape{}}
	least, most := math.Inf(-1), math.Inf(1)
	if !dt.IsFloat() {
		lo, hi := integerRange(dt)
		t.I64 = []int64{hi}
		if op == graph.OpAmax {
			t.I64[0] = lo
		}
	} else {
		if op == graph.OpAmin {
			least = most
		}
		t = constantOf(dt, least)
	}
	return l.op(graph.OpExpand, graph.Attrs{"shape": []int(shape)}, l.c.Parameter("", t))
}

// constantOf is a number of a floating point type, without dimensions.
func constantOf(dt graph.DType, x float64) *graph.Tensor {
	t := &graph.Tensor{DType: dt, Shape: graph.Shape{}}
	if dt == graph.Float64 {
		t.F64 = []float64{x}
	} else {
		t.F32 = []float32{float32(x)}
	}
	return t
}

func reduceLogSum(l *lowering) []torchscript.Value {
	return one(l.op(graph.OpLog, nil, l.reduceTo(graph.OpSum, l.x(0))))
}

// reduceLogSumExp takes the greatest element off first, as long as it is
// finite.
func reduceLogSumExp(l *lowering) []torchscript.Value {
	x := l.x(0)
	axes, _ := l.intsOf("axes", 1)
	shape := l.shape(x)
	if len(axes) == 0 {
		if l.attrInt("noop_with_empty_axes", 0) != 0 {
			return one(x)
		}
		axes = nil
		for i := range shape {
			axes = append(axes, i)
		}
	}
	for i, a := range axes {
		if axes[i] = l.axisOf(a, len(shape)); shape[axes[i]] == 0 {
			return one(l.op(graph.OpLog, nil, l.reduceTo(graph.OpSum, x)))
		}
	}
	if !l.isFloat(x) {
		return one(l.op(graph.OpLog, nil, l.reduceTo(graph.OpSum, l.op(graph.OpExp, nil, x))))
	}
	top := l.op(graph.OpAmax, graph.Attrs{"axes": slices.Clone(axes), "keepdim": true}, x)
	finite := l.op(graph.OpLt, nil, l.op(graph.OpAbs, nil, top), math.Inf(1))
	top = l.op(graph.OpWhere, nil, finite, top, l.op(graph.OpMul, nil, l.op(graph.OpCast, graph.Attrs{"dtype": l.dtype(x)}, finite), 0.0))
	sum := l.op(graph.OpSum, graph.Attrs{"axes": slices.Clone(axes), "keepdim": true}, l.op(graph.OpExp, nil, l.op(graph.OpSub, nil, x, top)))
	y := l.op(graph.OpAdd, nil, l.op(graph.OpLog, nil, sum), top)
	if l.attrInt("keepdims", 1) == 0 {
		y = l.op(graph.OpSum, graph.Attrs{"axes": slices.Clone(axes), "keepdim": false}, y)
	}
	return one(y)
}

// cumSum may leave out each element itself, and go backwards.
func cumSum(l *lowering) []torchscript.Value {
	x := l.x(0)
	axis := l.axisOf(int(l.number(1)), len(l.shape(x)))
	backwards := l.attrInt("reverse", 0) != 0
	if backwards {
		x = l.flip(x, axis)
	}
	y := l.op(graph.OpCumsum, graph.Attrs{"axis": axis}, x)
	if l.attrInt("exclusive", 0) != 0 {
		y = l.op(graph.OpSub, nil, y, x)
	}
	if backwards {
		y = l.flip(y, axis)
	}
	return one(l.as(y, l.dtype(x)))
}

// flip turns an axis round.
func (l *lowering) flip(x torchscript.Value, axis int) torchscript.Value {
	n := l.shape(x)[axis]
	if n < 0 {
		l.c.Unsupported("the rows of a batch in another order")
	}
	index := make([]int64, n)
	for i := range index {
		index[i] = int64(n - 1 - i)
	}
	return l.sel(x, axis, index)
}

// topK are the greatest or least elements, and their positions.
func topK(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", -1), len(shape))
	k := l.attrInt("k", 0)
	if l.has(1) {
		k = int(l.number(1))
	}
	if shape[axis] < 0 {
		l.c.Errorf("%w: the first of the rows of a batch", graph.ErrMixesRows)
	}
	if k < 0 || k > shape[axis] {
		l.c.Errorf("the first %d of %d", k, shape[axis])
	}
	at := l.op(graph.OpArgsort, graph.Attrs{"axis": axis, "descending": l.attrInt("largest", 1) != 0}, x)
	at = l.slice(at, axis, 0, k, 1)
	return []torchscript.Value{l.op(graph.OpGather, graph.Attrs{"axis": axis}, x, at), at}
}

// hardmax is 1 for the first of the greatest elements. Before operator set 13
// it took all dimensions from the axis on together.
func hardmax(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", -1), len(shape))
	if l.opset < 13 {
		axis = l.axisOf(l.attrInt("axis", 1), len(shape))
		if axis != len(shape)-1 {
			l.c.Unsupported("axis %d of %d dimensions", axis, len(shape))
		}
	}
	best := l.op(graph.OpArgmax, graph.Attrs{"axis": axis, "keepdim": true}, x)
	return one(l.as(l.op(graph.OpEq, nil, best, l.count(shape, axis)), l.dtype(x)))
}

// count is 0, 1, 2 ... along an axis of a shape, whose other dimensions are 1.
func (l *lowering) count(shape graph.Shape, axis int) torchscript.Value {
	n := shape[axis]
	if n < 0 {
		l.c.Errorf("%w: a position among the rows of a batch", graph.ErrMixesRows)
	}
	t := &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{n}, I64: make([]int64, n)}
	for range len(shape) - 1 - axis {
		t.Shape = append(t.Shape, 1)
	}
	for i := range t.I64 {
		t.I64[i] = int64(i)
	}
	return l.c.Parameter("", t)
}

func argExtreme(least bool) lowerFunc {
	return func(l *lowering) []torchscript.Value {
		x := l.x(0)
		if least {
			x = l.op(graph.OpNeg, nil, x)
		}
		axis := l.axisOf(l.attrInt("axis", 0), len(l.shape(x)))
		last := l.attrInt("select_last_index", 0) != 0
		if last {
			x = l.flip(x, axis)
		}
		y := l.op(graph.OpArgmax, graph.Attrs{"axis": axis, "keepdim": l.attrInt("keepdims", 1) != 0}, x)
		if last {
			y = l.op(graph.OpSub, nil, int64(l.shape(x)[axis]-1), y)
		}
		return one(y)
	}
}
