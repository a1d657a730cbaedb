package onnx

import (
	"slices"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// indexOps take and place elements by index, and make numbers that count.
var indexOps = map[string]lowerFunc{
	"Gather": gather, "GatherND": gatherND, "GatherElements": gatherElements,
	"ScatterElements": scatterElements, "Scatter": scatterElements, "ScatterND": scatterND,
	"OneHot": oneHot, "Trilu": trilu, "Range": countTo, "NonZero": nonZero, "EyeLike": eyeLike, "Compress": compress, "Size": size,
}

// maxIndices bounds a list of indices that is worked out while lowering.
const maxIndices = 1 << 16

// sel takes elements along an axis.
func (l *lowering) sel(x torchscript.Value, axis int, index []int64) torchscript.Value {
	i := l.c.Parameter("", &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{len(index)}, I64: index})
	return l.call("index_select", x, int64(axis), i)
}

// gather takes elements along an axis.
func gather(l *lowering) []torchscript.Value {
	x := l.x(0)
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", 0), len(shape))
	if at := l.constOf(l.operand(1)); at != nil && at.Len() <= maxIndices {
		if at.DType.IsFloat() {
			l.c.Errorf("indices of %v", at.DType)
		}
		y := l.sel(x, axis, at.I64)
		return one(l.reshape(y, slices.Concat(shape[:axis], at.Shape, shape[axis+1:])))
	}
	if shape[axis] < 0 {
		l.c.Errorf("%w: a row is taken by its number", graph.ErrMixesRows)
	}
	return one(l.op(graph.OpTake, graph.Attrs{"axis": axis}, x, l.x(1)))
}

// gatherElements takes single elements along an axis.
func gatherElements(l *lowering) []torchscript.Value {
	x, at := l.x(0), l.x(1)
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", 0), len(shape))
	to := l.shape(at)
	if len(to) != len(shape) {
		l.c.Errorf("indices of %v into %v", to, shape)
	}
	for i, d := range to { // a part of the other dimensions
		switch {
		case i == axis || d == shape[i]:
		case d < 0 || shape[i] < 0:
			l.c.Unsupported("indices of %v into %v", to, shape)
		default:
			x = l.slice(x, i, 0, d, 1)
		}
	}
	return one(l.op(graph.OpGather, graph.Attrs{"axis": axis}, x, at))
}

// gatherND takes elements by indices into the dimensions behind batch_dims.
func gatherND(l *lowering) []torchscript.Value {
	x, batch := l.x(0), l.attrInt("batch_dims", 0)
	shape := l.shape(x)
	var to graph.Shape
	at := l.constOf(l.operand(1))
	if at != nil {
		to = at.Shape
	} else {
		to = l.shape(l.x(1))
	}
	if len(to) == 0 || batch < 0 || batch >= len(to) || batch >= len(shape) {
		l.c.Errorf("indices of %v with batch_dims %d", to, batch)
	}
	k := to[len(to)-1]
	if k < 1 || batch+k > len(shape) || !shape[batch:batch+k].Fixed() || !to[batch:].Fixed() {
		l.c.Unsupported("indices into %d dimensions of %v", k, shape)
	}
	rest := shape[batch+k:]
	result := slices.Concat(to[:len(to)-1], rest)
	flat := l.reshape(x, slices.Concat(shape[:batch], graph.Shape{shape[batch : batch+k].RowElements()}, rest))
	if batch == 0 && at != nil && at.Len() <= maxIndices {
		return one(l.reshape(l.sel(flat, 0, l.flatIndices(at, shape[:k])), result))
	}
	index := l.flatIndex(l.x(1), shape[batch:batch+k])
	if batch == 0 {
		return one(l.reshape(l.op(graph.OpTake, graph.Attrs{"axis": 0}, flat, index), result))
	}
	// The rest becomes one dimension, for which each index is repeated.
	lead, count, wide := to[:batch], to[batch:len(to)-1].RowElements(), rest.RowElements()
	if !rest.Fixed() || !lead.Equal(shape[:batch]) {
		l.c.Unsupported("indices of %v into %v with batch_dims %d", to, shape, batch)
	}
	flat = l.reshape(x, slices.Concat(lead, graph.Shape{shape[batch : batch+k].RowElements(), wide}))
	index = l.reshape(index, slices.Concat(lead, graph.Shape{count, 1}))
	index = l.op(graph.OpExpand, graph.Attrs{"shape": []int(slices.Concat(lead, graph.Shape{count, wide}))}, index)
	return one(l.reshape(l.op(graph.OpGather, graph.Attrs{"axis": batch}, flat, index), result))
}

// flatIndices are constant indices into dimensions as positions in row-major
// order.
func (l *lowering) flatIndices(at *graph.Tensor, dims graph.Shape) []int64 {
	if at.DType.IsFloat() || at.Len() > maxIndices {
		l.c.Unsupported("indices of %v%v", at.DType, at.Shape)
	}
	k := len(dims)
	flat := make([]int64, at.Len()/k)
	for i := range flat {
		for j, d := range dims {
			n := at.I64[i*k+j]
			if n < 0 {
				n += int64(d)
			}
			if n < 0 || n >= int64(d) {
				l.c.Errorf("index %d of a dimension of %d", n, d)
			}
			flat[i] = flat[i]*int64(d) + n
		}
	}
	return flat
}

// flatIndex is flatIndices for indices of the data. A part that is out of
// range makes the whole one so.
func (l *lowering) flatIndex(at torchscript.Value, dims graph.Shape) torchscript.Value {
	at = l.as(at, graph.Int64)
	to := l.shape(at)
	axis := len(to) - 1
	var flat, outside torchscript.Value
	for j, d := range dims {
		part := l.reshape(l.slice(at, axis, j, j+1, 1), to[:axis])
		low := l.op(graph.OpLt, nil, part, int64(0))
		part = l.op(graph.OpWhere, nil, low, l.op(graph.OpAdd, nil, part, int64(d)), part)
		bad := l.op(graph.OpOr, nil, l.op(graph.OpLt, nil, part, int64(0)), l.op(graph.OpGe, nil, part, int64(d)))
		if j == 0 {
			flat, outside = part, bad
			continue
		}
		flat = l.op(graph.OpAdd, nil, l.op(graph.OpMul, nil, flat, int64(d)), part)
		outside = l.op(graph.OpOr, nil, outside, bad)
	}
	return l.op(graph.OpWhere, nil, outside, int64(dims.RowElements()), flat)
}

// oneHot gives each index a vector of the depth, of the numbers off and on.
func oneHot(l *lowering) []torchscript.Value {
	x, values := l.x(0), l.operand(2)
	depth := l.number(1)
	shape := l.shape(x)
	axis := l.axisOf(l.attrInt("axis", -1), len(shape)+1)
	if !(depth >= 1 && depth <= graph.MaxRowElements) {
		l.c.Errorf("a depth of %v", depth)
	}
	if l.isFloat(x) {
		x = l.as(x, graph.Int64)
	}
	wide := slices.Insert(slices.Clone(shape), axis, int(depth))
	x = l.reshape(x, slices.Insert(slices.Clone(shape), axis, 1))
	x = l.op(graph.OpWhere, nil, l.op(graph.OpLt, nil, x, int64(0)), l.op(graph.OpAdd, nil, x, int64(depth)), x)
	hot := l.op(graph.OpEq, nil, x, l.count(wide, axis))
	v := l.tensorOf(values)
	if !l.shape(v).Equal(graph.Shape{2}) {
		l.c.Errorf("values of %v", l.shape(v))
	}
	off, on := l.reshape(l.slice(v, 0, 0, 1, 1), graph.Shape{}), l.reshape(l.slice(v, 0, 1, 2, 1), graph.Shape{})
	return one(l.op(graph.OpWhere, nil, hot, on, off))
}

// trilu keeps a triangle of matrices.
func trilu(l *lowering) []torchscript.Value {
	x := l.x(0)
	k := 0
	if l.has(1) {
		k = int(l.number(1))
	}
	shape := l.shape(x)
	if len(shape) < 2 || !shape[len(shape)-2:].Fixed() {
		l.c.Errorf("x of shape %v", shape)
	}
	rows, cols := shape[len(shape)-2], shape[len(shape)-1]
	if rows*cols > maxIndices*16 {
		l.c.Errorf("%w: matrices of %v", torchscript.ErrLimit, shape)
	}
	mask := &graph.Tensor{DType: graph.Bool, Shape: graph.Shape{rows, cols}, I64: make([]int64, rows*cols)}
	upper := l.attrInt("upper", 1) != 0
	for i := range mask.I64 {
		r, c := i/cols, i%cols
		if upper && c-r >= k || !upper && c-r <= k {
			mask.I64[i] = 1
		}
	}
	zero := l.op(graph.OpCast, graph.Attrs{"dtype": l.dtype(x)}, l.c.Parameter("", &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{}, I64: []int64{0}}))
	return one(l.op(graph.OpWhere, nil, l.c.Parameter("", mask), x, zero))
}

// countTo counts from a number to another, all of which are known.
func countTo(l *lowering) []torchscript.Value {
	start, limit, delta := l.constant(0), l.constant(1), l.constant(2)
	if start.Len() != 1 || limit.Len() != 1 || delta.Len() != 1 || delta.At(0) == 0 {
		l.c.Errorf("from %v to %v by %v", start.Shape, limit.Shape, delta.Shape)
	}
	t := &graph.Tensor{DType: start.DType, Shape: graph.Shape{0}}
	steps := (limit.At(0) - start.At(0)) / delta.At(0)
	if !(steps < maxIndices) {
		l.c.Errorf("%w: a range of %v numbers", torchscript.ErrLimit, steps)
	}
	n := 0
	for ; float64(n) < steps; n++ {
		x := start.At(0) + float64(n)*delta.At(0)
		switch {
		case t.DType == graph.Float64:
			t.F64 = append(t.F64, x)
		case t.DType.IsFloat():
			t.F32 = append(t.F32, float32(x))
		default:
			t.I64 = append(t.I64, start.I64[0]+int64(n)*delta.I64[0])
		}
	}
	t.Shape[0] = n
	return one(t)
}

// nonZero are the positions of what is not 0, of a constant.
func nonZero(l *lowering) []torchscript.Value {
	x := l.constant(0)
	if x.Len() > maxIndices || len(x.Shape) == 0 {
		l.c.Unsupported("the positions in %v", x.Shape)
	}
	var found []int
	for i := range x.Len() {
		if x.At(i) != 0 {
			found = append(found, i)
		}
	}
	t := &graph.Tensor{DType: graph.Int64, Shape: graph.Shape{len(x.Shape), len(found)}, I64: make([]int64, 0, len(x.Shape)*len(found))}
	inner := x.Len()
	for _, d := range x.Shape {
		inner /= max(d, 1)
		for _, i := range found {
			t.I64 = append(t.I64, int64(i/inner%d))
		}
	}
	return one(t)
}

// eyeLike is a matrix with ones on a diagonal.
func eyeLike(l *lowering) []torchscript.Value {
	var shape graph.Shape
	var dt graph.DType
	if c := l.constOf(l.operand(0)); c != nil {
		shape, dt = c.Shape, c.DType
	} else {
		shape, dt = l.shape(l.x(0)), l.dtype(l.x(0))
	}
	if to := l.attrInt("dtype", 0); to != 0 {
		dt = l.namedType(to)
	}
	if len(shape) != 2 || !shape.Fixed() || shape.RowElements() > maxIndices {
		l.c.Unsupported("a matrix of %v", shape)
	}
	t := &graph.Tensor{DType: graph.Int64, Shape: shape, I64: make([]int64, shape.RowElements())}
	k := l.attrInt("k", 0)
	for r := range shape[0] {
		if c := r + k; c >= 0 && c < shape[1] {
			t.I64[r*shape[1]+c] = 1
		}
	}
	return one(l.as(l.c.Parameter("", t), dt))
}

// compress keeps what a constant list of booleans says.
func compress(l *lowering) []torchscript.Value {
	x, keep := l.x(0), l.constant(1)
	axis := 0
	if _, ok := l.attr("axis"); ok {
		axis = l.axisOf(l.attrInt("axis", 0), len(l.shape(x)))
	} else {
		x = l.reshape(x, graph.Shape{l.shape(x).RowElements()})
	}
	var index []int64
	for i := range keep.Len() {
		if keep.At(i) != 0 {
			index = append(index, int64(i))
		}
	}
	return one(l.sel(x, axis, index))
}

// size is the number of elements.
func size(l *lowering) []torchscript.Value {
	var shape graph.Shape
	if v := l.operand(0); v.c != nil {
		shape = v.c.Shape
	} else {
		shape = l.shape(l.x(0))
	}
	n := dimNum(1)
	for _, d := range shape {
		var ok bool
		if n, ok = product(n, dimNum(d)); !ok {
			l.c.Errorf("a size of %v", shape)
		}
	}
	return one(value{s: &static{nums: []num{n}, scalar: true, dtype: graph.Int64}})
}
