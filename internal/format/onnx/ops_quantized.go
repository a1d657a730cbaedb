package onnx

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// quantizedOps compute with small integers. The integers are whole floating
// point numbers here, which sums of products stay as long as they are below
// 2^24 in the plan.
var quantizedOps = map[string]lowerFunc{
	"DynamicQuantizeLinear": dynamicQuantize, "MatMulInteger": matMulInteger, "ConvInteger": convInteger,
	"QLinearMatMul": quantizedMatMul, "QLinearConv": quantizedConv,
}

// whole is operand k without its zero point, operand zero, as floating point
// numbers. A vector of zero points lies along an axis.
func (l *lowering) whole(k, zero, axis int) torchscript.Value {
	x := l.x(k)
	if l.isFloat(x) {
		l.c.Errorf("operand %d is %v, integers were expected", k+1, l.dtype(x))
	}
	y := l.as(x, graph.Float32)
	if !l.has(zero) {
		return y
	}
	return l.op(graph.OpSub, nil, y, l.as(l.spread(l.x(zero), axis, l.shape(x)), graph.Float32))
}

// spread gives a vector the dimensions of a shape, its own at an axis.
func (l *lowering) spread(v torchscript.Value, axis int, shape graph.Shape) torchscript.Value {
	own := l.shape(v)
	if len(own) == 0 || own.Fixed() && own.RowElements() == 1 {
		return l.reshape(v, graph.Shape{})
	}
	if axis < 0 || axis >= len(shape) || len(own) != 1 || own[0] != shape[axis] {
		l.c.Unsupported("a scale or zero point of %v for %v", own, shape)
	}
	to := graph.Shape{own[0]}
	for range len(shape) - 1 - axis {
		to = append(to, 1)
	}
	return l.reshape(v, to)
}

// requantized is y·scale rounded to even, moved by the zero point of operand k
// and cut to its type.
func (l *lowering) requantized(y, scale torchscript.Value, k int) []torchscript.Value {
	zero := l.x(k)
	dt := l.dtype(zero)
	if dt != graph.Uint8 && dt != graph.Int8 {
		l.c.Unsupported("numbers of type %v", dt)
	}
	lo, hi := integerRange(dt)
	y = l.op(graph.OpRound, nil, l.op(graph.OpMul, nil, y, scale))
	y = l.op(graph.OpAdd, nil, y, l.as(l.reshape(zero, graph.Shape{}), graph.Float32))
	return one(l.as(l.op(graph.OpClamp, graph.Attrs{"min": float64(lo), "max": float64(hi)}, y), dt))
}

// dynamicQuantize takes scale and zero point of what x holds: of one row, since
// that of several would mix them.
func dynamicQuantize(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	if !shape.Fixed() {
		l.c.Errorf("%w: the scale of all rows", graph.ErrMixesRows)
	}
	attrs := graph.Attrs{"axes": everyAxis(shape), "keepdim": false}
	low := l.op(graph.OpMinimum, nil, l.op(graph.OpAmin, attrs, x), 0.0)
	high := l.op(graph.OpMaximum, nil, l.op(graph.OpAmax, attrs, x), 0.0)
	scale := l.op(graph.OpDiv, nil, l.op(graph.OpSub, nil, high, low), 255.0)
	// Zeros alone have no range: any scale gives zeros for them.
	scale = l.op(graph.OpWhere, nil, l.op(graph.OpEq, nil, scale, 0.0), 1.0, scale)
	cut := graph.Attrs{"min": 0.0, "max": 255.0}
	zero := l.op(graph.OpRound, nil, l.op(graph.OpClamp, cut, l.op(graph.OpNeg, nil, l.op(graph.OpDiv, nil, low, scale))))
	y := l.op(graph.OpAdd, nil, l.op(graph.OpRound, nil, l.op(graph.OpDiv, nil, x, scale)), zero)
	return []torchscript.Value{l.as(l.op(graph.OpClamp, cut, y), graph.Uint8), scale, l.as(zero, graph.Uint8)}
}

// everyAxis are the axes of a shape.
func everyAxis(shape graph.Shape) []int {
	axes := make([]int, len(shape))
	for i := range axes {
		axes[i] = i
	}
	return axes
}

func matMulInteger(l *lowering) []torchscript.Value {
	a := l.whole(0, 2, len(l.shape(l.x(0)))-2)
	b := l.whole(1, 3, len(l.shape(l.x(1)))-1)
	return one(l.as(l.call("matmul", a, b), graph.Int32))
}

// quantizedMatMul has a, its scale and zero point, those of b, and scale and
// zero point of the result.
func quantizedMatMul(l *lowering) []torchscript.Value {
	rank := len(l.shape(l.x(3)))
	y := l.call("matmul", l.whole(0, 2, -1), l.whole(3, 5, rank-1))
	scale := l.op(graph.OpMul, nil, l.spread(l.x(1), -1, nil), l.spread(l.x(4), rank-1, l.shape(l.x(3))))
	if s := l.shape(scale); len(s) > 1 {
		scale = l.reshape(scale, graph.Shape{s.RowElements()})
	}
	return l.requantized(y, l.op(graph.OpDiv, nil, scale, l.spread(l.x(6), -1, nil)), 7)
}

// wholeConv is the convolution of integers x and w.
func (l *lowering) wholeConv(x, w, bias torchscript.Value) torchscript.Value {
	ws := l.shape(w)
	if len(ws) < 3 || len(ws) != len(l.shape(x)) {
		l.c.Errorf("x of %v and a weight of %v", l.shape(x), ws)
	}
	win := l.window(x, ws[2:])
	if !slices.Equal(win.kernel, []int(ws[2:])) {
		l.c.Errorf("kernel_shape %v of a weight of %v", win.kernel, ws)
	}
	x = l.even(x, &win, 0)
	return l.call(convNames[len(win.kernel)], x, w, bias, list(win.strides), list(win.lo), list(win.dilations), int64(l.attrInt("group", 1)))
}

func convInteger(l *lowering) []torchscript.Value {
	return one(l.as(l.wholeConv(l.whole(0, 2, -1), l.whole(1, 3, 0), nil), graph.Int32))
}

// quantizedConv has the operands of quantizedMatMul, and a bias in the units of
// the product.
func quantizedConv(l *lowering) []torchscript.Value {
	var bias torchscript.Value
	if l.has(8) {
		bias = l.as(l.x(8), graph.Float32)
	}
	y := l.wholeConv(l.whole(0, 2, -1), l.whole(3, 5, 0), bias)
	each := l.x(4)
	if s := l.shape(each); s.Fixed() && s.RowElements() > 1 {
		each = l.spread(each, 1, l.shape(y))
	} else {
		each = l.spread(each, -1, nil)
	}
	scale := l.op(graph.OpMul, nil, l.spread(l.x(1), -1, nil), each)
	return l.requantized(y, l.op(graph.OpDiv, nil, scale, l.spread(l.x(6), -1, nil)), 7)
}
